"""The table of metadata: every kind, in and out of every format, is kept and true, or told."""

import struct
from pathlib import Path

import pytest
from PIL import Image

from corpus.encoders import eight, pillow, scene
from images.metadata.inputs import ASCII, DPI, HAS, IPTC, THUMBNAIL, write_input
from mambairv2.images.arrays import quantise
from mambairv2.images.canvas import Canvas
from mambairv2.images.formats import SaveOptions
from mambairv2.images.metadata.table import HELD, KINDS, WORDS
from mambairv2.images.reading import open_picture
from mambairv2.images.writing import finish, output_depth, save

FORMATS = tuple(HELD)


def restored(path, target, scale=2, **options):
    """Save what is opened, as restoring does, without a network; enlarged by repetition."""
    opened = open_picture(path)
    depth = output_depth(target, [opened], scale)
    height, width = opened.size
    values = opened.region(slice(0, height), slice(0, width)).repeat(scale, 1).repeat(scale, 2)
    with Canvas((height * scale, width * scale), opened.channels, depth) as canvas:
        canvas.add(quantise(values.transpose(1, 2, 0), depth))
        image, notes = finish(canvas.image(), [opened], scale, target)
        return notes + save(image, target, SaveOptions(**options), [opened])


def exif_of(image):
    return image.getexif() if image.format != "TIFF" else image.tag_v2


def dpi_of(image):
    """The resolution that the format itself tells. (Pillow says 72 or 1 dpi of some files that tell none.)"""
    unknown = image.info.get("jfif_unit") == 0 or "dpi" not in image.info
    unknown |= image.format == "TIFF" and 282 not in image.tag_v2
    return None if unknown else round(float(image.info["dpi"][0]))


def inner(image, tag):
    return image.getexif().get_ifd(tag)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("orientation", [1, 6])
def test_every_kind_is_kept_and_true_or_told(tmp_path, source, suffix, orientation):
    target = tmp_path / f"out{suffix}"
    notes = restored(write_input(tmp_path, source, orientation), target)
    width, height = (72, 48) if orientation == 1 else (48, 72)
    content = target.read_bytes()
    with Image.open(target) as image:
        image.load()
        assert image.size == (width, height)
        tags = exif_of(image)
        assert {tag: tags.get(tag) for tag in ASCII} == ASCII
        assert tags.get(274, 1) == 1
        shot = inner(image, 34665)
        assert shot[0x9003] == "2020:01:02 03:04:05"
        assert (shot[0xA002], shot[0xA003]) == (width, height)
        assert 0x9214 not in shot
        assert inner(image, 34853)[1] == "N"
        assert THUMBNAIL not in content
        assert b"All mine" in content
        assert b'tiff:Orientation="6"' not in content
        assert f'tiff:ImageWidth="{width}"'.encode() in content
        for kind in HAS[source]:
            if kind not in HELD[suffix] and kind not in ("text", "density"):
                assert any(note.startswith(WORDS[kind]) for note in notes), (kind, notes)
        assert (IPTC in content) == ("iptc" in HAS[source] & HELD[suffix])
        assert (b"gAMA" + struct.pack(">I", 100000) in content) == ("color" in HAS[source] & HELD[suffix])
        if "text" in HAS[source]:
            said = "雪の山" if source == ".png" else "Grandma, été 1958"
            assert (said.encode() in content) == ("text" in HELD[suffix])
            assert any("texts" in note for note in notes) == ("text" not in HELD[suffix])
        if "density" in HAS[source] & HELD[suffix]:
            assert dpi_of(image) == DPI
        if source == ".webp":
            assert dpi_of(image) is None
        kept = b"notes of the maker" in content
        assert kept == (suffix != ".tif" and source != ".tif")
        assert any("camera's own notes" in note for note in notes) == (suffix == ".tif" and source != ".tif")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_stripping_leaves_nothing_private(tmp_path, source, suffix):
    target = tmp_path / f"out{suffix}"
    restored(write_input(tmp_path, source), target, strip=True)
    content = target.read_bytes()
    words = [text.encode() for text in ASCII.values()]
    words += [IPTC, THUMBNAIL[:50], b"All mine", "雪の山".encode(), b"Grandma", b"notes of the maker", b"2020:01:02"]
    assert [word for word in words if word in content] == []
    with Image.open(target) as image:
        assert not image.getexif().get_ifd(34853)
        assert not image.getexif().get_ifd(34665)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_nothing_is_made_up(tmp_path, source, suffix):
    formats = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF"}
    path = tmp_path / f"in{source}"
    path.write_bytes(pillow(eight(scene()), formats[source]))
    assert restored(path, tmp_path / f"out{suffix}") == ()
    with Image.open(tmp_path / f"out{suffix}") as image:
        image.load()
        assert dpi_of(image) is None
        assert not image.getexif().get_ifd(34665)
        assert not {282, 283, 296, 531} & set(image.getexif())
        assert not image.info.get("comment")


def test_the_documents_show_the_table():
    text = (Path(__file__).parents[3] / "docs" / "metadata.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.split("## Files with")[0].splitlines() if line[:1] == "|"]
    assert rows[0][1:] == [f"`{suffix}`" for suffix in HELD]
    for kind, (_, *cells) in zip(KINDS, rows[2:], strict=True):
        for suffix, cell in zip(HELD, cells, strict=True):
            assert (cell in ("kept", "made true")) == (kind in HELD[suffix]), (kind, suffix)
