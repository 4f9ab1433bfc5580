"""Image files out: what is kept, what a format cannot hold, and outputs whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips

from mambairv2.files import atomic
from mambairv2.images.arrays import quantise
from mambairv2.images.canvas import Canvas
from mambairv2.images.errors import ImageError
from mambairv2.images.formats import SaveOptions
from mambairv2.images.reading import from_array, open_pages, open_picture
from mambairv2.images.writing import finish, output_depth, save
from stand_in import load, picture, pixels


def _unchanged(path, target, scale=1, **options):
    """Save what is opened, as restoring does, without a network; enlarged by repetition."""
    opened = open_picture(path)
    depth = output_depth(target, [opened], scale)
    height, width = opened.size
    values = opened.region(slice(0, height), slice(0, width)).repeat(scale, 1).repeat(scale, 2)
    samples = quantise(values.transpose(1, 2, 0), depth)
    with Canvas((height * scale, width * scale), opened.channels, depth) as canvas:
        canvas.add(samples)
        image, notes = finish(canvas.image(), [opened], scale, target)
        return notes + save(image, target, SaveOptions(**options), [opened])


@pytest.mark.parametrize(
    ("channels", "dtype", "suffix", "expected"),
    [
        (1, "uint8", ".png", "uchar"),
        (2, "uint16", ".png", "ushort"),
        (4, "uint16", ".tif", "ushort"),
        (3, "float32", ".tif", "float"),
        (4, "float32", ".png", "ushort"),
        (3, "uint16", ".jpg", "uchar"),
        (4, "uint8", ".webp", "uchar"),
    ],
)
def test_depth_and_bands_are_kept_where_the_format_holds_them(tmp_path, channels, dtype, suffix, expected):
    picture(12, 9, channels, dtype).tiffsave(str(tmp_path / "in.tif"))
    notes = _unchanged(tmp_path / "in.tif", tmp_path / f"out{suffix}", scale=2)
    result = load(tmp_path / f"out{suffix}")
    assert (result.width, result.height, result.format, result.bands) == (18, 24, expected, channels)
    same = expected == {"uint8": "uchar", "uint16": "ushort", "float32": "float"}[dtype]
    assert bool(notes) == (not same)


def test_what_the_format_cannot_hold_is_told(tmp_path):
    picture(12, 9, 4, "uint16").pngsave(str(tmp_path / "in.png"))
    notes = _unchanged(tmp_path / "in.png", tmp_path / "out.jpg")
    assert notes == ("8 bits in .jpg", "no alpha in .jpg: put on white")
    assert load(tmp_path / "out.jpg").bands == 3


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_profile_and_metadata_are_kept(tmp_path, suffix):
    image = picture(12, 20, 3).icc_export(output_profile="p3").copy(xres=11.81, yres=11.81)
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Artist", "Ann Onymous (Ann Onymous, ASCII, 12 bytes)")
    image.set_type(pyvips.GValue.gint_type, "orientation", 8)
    image.set_type(pyvips.GValue.blob_type, "xmp-data", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    image.jpegsave(str(tmp_path / "in.jpg"))
    profile = load(tmp_path / "in.jpg").get("icc-profile-data")
    _unchanged(tmp_path / "in.jpg", tmp_path / f"out{suffix}", scale=2)
    result = load(tmp_path / f"out{suffix}")
    assert (result.width, result.height) == (24, 40)
    assert result.get("icc-profile-data") == profile
    assert result.get("xmp-data") == b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    if suffix != ".tif":  # libvips writes no EXIF into TIFF
        assert "Ann Onymous" in result.get("exif-ifd0-Artist")
    assert result.get("orientation") == 1
    assert not result.get_typeof("exif-ifd0-Orientation") or result.get("exif-ifd0-Orientation").startswith("1 ")
    _unchanged(tmp_path / "in.jpg", tmp_path / f"bare{suffix}", strip=True)
    bare = load(tmp_path / f"bare{suffix}")
    assert bare.get("icc-profile-data") == profile
    assert not bare.get_typeof("xmp-data")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_damaged_profile_stops_nothing(tmp_path, suffix):
    for space in ("p3", "cmyk"):
        image = picture(12, 20, 3).icc_export(output_profile=space).copy()
        profile = bytearray(image.get("icc-profile-data"))
        profile[:4] = bytes(4)  # its length
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", bytes(profile))
        image.tiffsave(str(tmp_path / "in.tif"))
        notes = _unchanged(tmp_path / "in.tif", tmp_path / f"out{suffix}", scale=2)
        assert load(tmp_path / f"out{suffix}").width == 40
        assert ("colour profile damaged: left out" in notes) == (suffix == ".png" and space == "p3")


def test_alpha_is_enlarged_within_its_range_and_edges_get_no_dark_fringe(tmp_path):
    """A white disc on transparent black must stay white when it is put on white."""
    y, x = np.mgrid[:32, :32]
    alpha = np.clip(10.5 - np.hypot(y - 15.5, x - 15.5), 0, 1)
    values = np.zeros((32, 32, 4))
    values[..., :3] = (alpha > 0)[..., None]
    values[..., 3] = alpha
    pyvips.Image.new_from_array((values * 255).astype(np.uint8)).pngsave(str(tmp_path / "in.png"))
    opened = open_picture(tmp_path / "in.png")
    large = opened.color.resize(2, kernel="cubic")  # blends neighbours as a network does
    image, _ = finish(large, [opened], 2, tmp_path / "out.png")
    assert image.bands == 4
    assert image.flatten(background=255).min() >= 254
    assert image[3].max() == 255
    assert image[3].min() == 0


@pytest.mark.parametrize(("name", "message"), [("a.bmp", "cannot write .bmp"), ("a", "a file without a suffix")])
def test_unknown_formats_are_refused(tmp_path, name, message):
    with pytest.raises(ImageError, match=message):
        output_depth(tmp_path / name, [from_array(pixels(4, 4, 3))], 2)


def test_a_side_too_long_for_the_format_is_refused_before_work(tmp_path):
    wide = from_array(np.zeros((1, 9000), np.uint8))
    with pytest.raises(ImageError, match="18000x2 is too large for"):
        output_depth(tmp_path / "a.webp", [wide], 2)
    output_depth(tmp_path / "a.png", [wide], 2)


def test_an_error_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    target = tmp_path / "a.png"
    target.write_bytes(b"the old file")
    with pytest.raises(ImageError, match=r"a\.png: cannot be written"):
        save(pyvips.Image.black(4, 4, bands=7).copy(interpretation="multiband"), target)
    monkeypatch.setattr(atomic.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ImageError, match="no space left on device"):
        save(picture(4, 4, 3), target)
    assert target.read_bytes() == b"the old file"
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_killed_process_leaves_no_half_file(tmp_path):
    script = """
import os, sys, time
from pathlib import Path
from mambairv2.images import writing as encoding
from mambairv2.files import atomic
from stand_in import picture
def stall(*_):
    print("encoded", flush=True)
    time.sleep(60)
atomic.os.replace = stall
encoding.save(picture(300, 300, 3), Path(sys.argv[1]))
"""
    target = tmp_path / "a.png"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert process.stdout.readline() == "encoded\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    assert all(name.startswith(".mambairv2-") for name in os.listdir(tmp_path))


@pytest.mark.parametrize("options", [{"quality": 0}, {"quality": 101}, {"compression": 10}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SaveOptions(**options)


@pytest.mark.parametrize("source", ["png", "lossy", "lossless", "moving"])
def test_a_lossless_webp_stays_lossless(tmp_path, source):
    image = picture(32, 32, 3)
    if source == "moving":
        image = image.copy()
        image.set_type(pyvips.GValue.gint_type, "page-height", 16)
    path = tmp_path / ("in.png" if source == "png" else "in.webp")
    image.pngsave(str(path)) if source == "png" else image.webpsave(str(path), lossless=source != "lossy")
    opened = open_pages(path)
    for quality, kept in ((95, source in ("lossless", "moving")), (90, False), (100, True)):
        made, _ = finish(image, opened, 1, tmp_path / "out.webp")
        save(made, tmp_path / "out.webp", SaveOptions(quality=quality), opened)
        assert (b"VP8L" in (tmp_path / "out.webp").read_bytes()) == kept
