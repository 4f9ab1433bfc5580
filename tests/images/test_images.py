import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st

from mambairv2.files import atomic
from mambairv2.images.arrays import quantise
from mambairv2.images.canvas import Canvas
from mambairv2.images.errors import ImageError
from mambairv2.images.reading import from_array, open_picture
from mambairv2.images.writing import SaveOptions, finish, output_depth, save
from stand_in import load, picture, pixels


def whole(path, **options):
    opened = open_picture(path, **options)
    height, width = opened.size
    return opened.region(slice(0, height), slice(0, width))


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (3, "uint8"), (1, "uint16"), (3, "uint16")])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pixels_come_as_they_were_written(tmp_path, channels, dtype, suffix):
    picture(7, 30, channels, dtype).write_to_file(str(tmp_path / f"a{suffix}"))
    opened = open_picture(tmp_path / f"a{suffix}")
    assert (opened.size, opened.channels, opened.depth) == ((7, 30), channels, np.dtype(dtype))
    values = pixels(7, 30, channels, dtype).transpose(2, 0, 1)
    part = opened.region(slice(2, 6), slice(5, 30))
    assert np.array_equal(part, values[:, 2:6, 5:].astype(np.float32) / np.float32(np.iinfo(dtype).max))
    assert np.array_equal(quantise(part, opened.depth), values[:, 2:6, 5:])


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_apart(tmp_path, channels):
    picture(9, 8, channels).pngsave(str(tmp_path / "a.png"))
    opened = open_picture(tmp_path / "a.png")
    assert opened.channels == channels - 1
    assert np.array_equal(opened.alpha.numpy(), pixels(9, 8, channels)[..., -1])


def test_palette_one_bit_and_gif_open_as_colour(tmp_path):
    image = picture(20, 20, 3)
    image.pngsave(str(tmp_path / "palette.png"), palette=True)
    image[0].pngsave(str(tmp_path / "bit.png"), bitdepth=1)
    image.gifsave(str(tmp_path / "still.gif"))
    assert open_picture(tmp_path / "palette.png").channels == 3
    assert set(np.unique(whole(tmp_path / "bit.png"))) <= {0.0, 1.0}
    assert open_picture(tmp_path / "still.gif").size == (20, 20)


def test_orientation_is_applied_and_its_tag_gone(tmp_path):
    image = picture(10, 30, 3).copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)  # to be turned clockwise
    image.tiffsave(str(tmp_path / "a.tif"))
    opened = open_picture(tmp_path / "a.tif")
    assert opened.size == (30, 10)
    assert np.array_equal(whole(tmp_path / "a.tif")[0], np.rot90(pixels(10, 30, 3)[..., 0], -1) / np.float32(255))


def test_cmyk_becomes_srgb_through_its_profile(tmp_path):
    patch = (pyvips.Image.black(16, 16) + [200, 60, 40]).cast("uchar").copy(interpretation="srgb")
    patch.icc_export(output_profile="cmyk").jpegsave(str(tmp_path / "a.jpg"), Q=100)
    opened = open_picture(tmp_path / "a.jpg")
    assert opened.channels == 3
    assert opened.notes == ("CMYK converted to sRGB",)
    assert np.abs(whole(tmp_path / "a.jpg").mean((1, 2)) * 255 - [200, 60, 40]).max() < 12


def test_floats_are_taken_as_stored_or_refused(tmp_path):
    picture(5, 6, 3, "float32").tiffsave(str(tmp_path / "good.tif"))
    assert np.array_equal(whole(tmp_path / "good.tif").transpose(1, 2, 0), pixels(5, 6, 3, "float32"))
    for name, value in {"nan": np.nan, "inf": np.inf, "high": 7.5, "low": -0.2}.items():
        values = pixels(5, 6, 3, "float32")
        values[2, 3, 1] = value
        pyvips.Image.new_from_array(values).tiffsave(str(tmp_path / f"{name}.tif"))
        with pytest.raises(ImageError, match=rf"{name}\.tif: floats must lie in 0 to 1"):
            whole(tmp_path / f"{name}.tif")


def _bad(folder):
    """Files that are not one whole image, and what is said of them."""
    big = picture(200, 200, 3)
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        big.write_to_file(str(folder / f"whole{suffix}"))
        content = (folder / f"whole{suffix}").read_bytes()
        (folder / f"cut{suffix}").write_bytes(content[: len(content) // 2])
        yield f"cut{suffix}", "damaged or cut short"
    (folder / "empty.png").write_bytes(b"")
    yield "empty.png", "is empty"
    (folder / "text.jpg").write_text("Dear diary, today I renamed a text file.")
    yield "text.jpg", "is not an image"
    (folder / "folder.png").mkdir()
    yield "folder.png", "is a folder"
    yield "nowhere.png", "no such file"
    frames = picture(40, 20, 3).copy()
    frames.set_type(pyvips.GValue.gint_type, "page-height", 20)
    frames.write_to_file(str(folder / "moving.webp"))
    yield "moving.webp", "holds 2 pages or frames; choose one, --page 0 to --page 1"
    (folder / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    yield "a.svg", "is a vector drawing"
    picture(4, 4, 1).cast("int").tiffsave(str(folder / "int.tif"))
    yield "int.tif", "has samples of type"
    many = pyvips.Image.new_from_array(pixels(4, 4, 3)).bandjoin([1, 2, 3, 4]).copy(interpretation="multiband")
    many.tiffsave(str(folder / "bands.tif"))
    yield "bands.tif", "bands of colour"


def test_bad_files_get_one_line_that_names_them(tmp_path):
    for name, message in _bad(tmp_path):
        with pytest.raises(ImageError) as caught:
            whole(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_is_opened_by_its_content(tmp_path):
    picture(8, 8, 3).jpegsave(str(tmp_path / "really.jpg"))
    (tmp_path / "named.png").write_bytes((tmp_path / "really.jpg").read_bytes())
    assert open_picture(tmp_path / "named.png").size == (8, 8)
    (tmp_path / "odd[page=3].png").write_bytes((tmp_path / "really.jpg").read_bytes())
    assert open_picture(tmp_path / "odd[page=3].png").size == (8, 8)


def test_a_file_that_changed_is_read_anew(tmp_path):
    for width in (8, 9):
        picture(8, width, 3).pngsave(str(tmp_path / "a.png"))
        assert open_picture(tmp_path / "a.png").size == (8, width)


def test_one_page_can_be_chosen(tmp_path):
    frames = picture(40, 20, 3).copy()
    frames.set_type(pyvips.GValue.gint_type, "page-height", 20)
    frames.tiffsave(str(tmp_path / "a.tif"))
    second = pixels(40, 20, 3)[20:].transpose(2, 0, 1) / np.float32(255)
    assert np.array_equal(whole(tmp_path / "a.tif", page=1), second)
    with pytest.raises(ImageError, match=r"a\.tif: .*page"):
        open_picture(tmp_path / "a.tif", page=2)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    pyvips.Image.black(30000, 30000).pngsave(str(tmp_path / "bomb.png"), bitdepth=1, compression=9)
    with pytest.raises(ImageError, match="30000x30000 is over the limit of 537 megapixels"):
        open_picture(tmp_path / "bomb.png")
    assert open_picture(tmp_path / "bomb.png", max_pixels=10**9).size == (30000, 30000)


@given(cut=st.integers(0, 3000), flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_opens_or_is_an_image_error(tmp_path_factory, cut, flips):
    path = tmp_path_factory.getbasetemp() / "damaged"
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        content = bytearray(picture(12, 12, 4).write_to_buffer(suffix))
        for place, value in flips:
            content[place % len(content)] ^= value
        path.write_bytes(content[: len(content) - cut % len(content)])
        try:
            values = whole(path, max_pixels=10**6)
        except ImageError as error:
            told = str(error)
            assert "\n" not in told
        else:
            assert values.shape[0] in (1, 3)


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
        return notes + save(image, target, SaveOptions(**options))


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


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_canvas_on_disk_gives_back_what_was_added(tmp_path, monkeypatch, dtype, channels):
    monkeypatch.setattr("mambairv2.images.canvas.IN_MEMORY", 0)
    values = pixels(301, 77, channels, dtype)
    with Canvas((301, 77), channels, np.dtype(dtype), tmp_path / "a.png") as canvas:
        canvas.add(values[:100])
        canvas.add(values[100:])
        assert len(os.listdir(tmp_path)) == 1
        assert np.array_equal(canvas.image().numpy().reshape(values.shape), values)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("values", [np.zeros((4, 4, 5), np.uint8), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)])
def test_arrays_that_are_no_image_are_refused(values):
    with pytest.raises(ValueError, match="an image is"):
        from_array(values)


@pytest.mark.parametrize("options", [{"quality": 0}, {"quality": 101}, {"compression": 10}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SaveOptions(**options)
