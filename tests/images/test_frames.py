"""Files of several pictures: restored whole, refused, or done with a note that says what was left out."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from corpus.encoders import eight, jpeg, pillow, scene
from mambairv2.images.errors import ImageError
from mambairv2.images.metadata.directory import Entry, Layout, pack
from mambairv2.images.reading import open_pages, open_picture

FRAMES = [Image.fromarray(eight(scene(seed=k))) for k in range(3)]


def together(format, **options):
    out = io.BytesIO()
    FRAMES[0].save(out, format, save_all=True, append_images=FRAMES[1:], **options)
    return out.getvalue()


def pages_of(pages):
    """A TIFF of RGB pages, each with the number of its role (NewSubfileType)."""
    content, place_of_link, layout = b"II*\0" + bytes(4), 4, Layout("<")
    for values, role in pages:
        height, width, _ = values.shape
        fields = {254: role, 256: width, 257: height, 259: 1, 262: 2, 273: len(content), 277: 3, 278: height}
        fields[279] = values.nbytes
        content += values.tobytes()
        entries = [Entry(tag, 4, struct.pack("<I", value)) for tag, value in fields.items()]
        entries.append(Entry(258, 3, struct.pack("<3H", 8, 8, 8)))
        at = len(content)
        content = content[:place_of_link] + struct.pack("<I", at) + content[place_of_link + 4 :]
        content += pack(entries, at, layout)
        place_of_link = at + 2 + 12 * len(entries)
    return content


def notes_of(path):
    opened = open_picture(path)
    return " ".join((*opened.notes, *opened.metadata.notes))


@pytest.mark.parametrize(
    ("format", "said"),
    [("PNG", "only the first of 3 frames of an animated PNG"), ("MPO", "2 more pictures in the file left out")],
)
def test_what_is_left_out_is_told(tmp_path, format, said):
    (tmp_path / "a").write_bytes(together(format))
    assert said in notes_of(tmp_path / "a")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_of_one_picture_nothing_is_told(tmp_path, format):
    (tmp_path / "a").write_bytes(pillow(eight(scene()), format))
    assert notes_of(tmp_path / "a") == ""


@pytest.mark.parametrize("format", ["WEBP", "GIF", "TIFF"])
def test_pages_and_frames_are_all_there(tmp_path, format):
    content = pages_of([(np.asarray(frame), 0) for frame in FRAMES]) if format == "TIFF" else together(format)
    (tmp_path / "a").write_bytes(content)
    assert len(open_pages(tmp_path / "a")) == 3


def test_a_sequence_is_named_or_told(tmp_path):
    pytest.importorskip("PIL._avif")
    frames = [Image.fromarray(np.roll(eight(scene(3, 64, 64)), 9 * k, 0)) for k in range(3)]
    out = io.BytesIO()
    frames[0].save(out, "AVIF", save_all=True, append_images=frames[1:])
    (tmp_path / "a.avif").write_bytes(out.getvalue())
    with pytest.raises(ImageError, match=r"is an? AVIF or HEIC sequence file, which is not supported"):
        open_picture(tmp_path / "a.avif")
    (tmp_path / "still.avif").write_bytes(out.getvalue().replace(b"ftypavis", b"ftypavif"))
    assert "only the still picture of a sequence" in notes_of(tmp_path / "still.avif")


@pytest.mark.parametrize(("role", "at"), [(1, 0), (1, 1), (4, 1), (5, 0)])
def test_pages_marked_as_thumbnail_or_mask_are_left_out(tmp_path, role, at):
    main = eight(scene())
    other = main[::2, ::2].copy() if role == 1 else 255 - main
    pages = [(main, 0)]
    pages.insert(at, (other, role))
    (tmp_path / "a.tif").write_bytes(pages_of(pages))
    (opened,) = open_pages(tmp_path / "a.tif")
    values = opened.region(slice(0, opened.size[0]), slice(0, opened.size[1]))
    assert np.array_equal(np.rint(values.transpose(1, 2, 0) * 255), main)
    assert "1 page marked as thumbnail or mask left out" in opened.notes
    assert len(open_pages(tmp_path / "a.tif", page=at)) == 1


def test_a_file_of_marked_pages_alone_is_restored(tmp_path):
    (tmp_path / "a.tif").write_bytes(pages_of([(eight(scene()), 1)] * 2))
    assert len(open_pages(tmp_path / "a.tif")) == 2


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_only_its_end_mark_is_whole(tmp_path, cut, progressive):
    content = jpeg(eight(scene()), progressive=progressive)
    (tmp_path / "whole.jpg").write_bytes(content)
    (tmp_path / "cut.jpg").write_bytes(content[:-cut])
    whole, short = (open_picture(tmp_path / name) for name in ("whole.jpg", "cut.jpg"))
    everything = slice(0, 24), slice(0, 36)
    assert np.array_equal(whole.region(*everything), short.region(*everything))


def test_a_picture_without_colour_is_known(tmp_path):
    grey = eight(scene(1)).repeat(3, axis=2)
    tinted = grey.copy()
    tinted[0, 0, 2] ^= 1
    for name, values, expected in (("grey", grey, True), ("tinted", tinted, False), ("rgb", eight(scene()), False)):
        (tmp_path / name).write_bytes(pillow(values, "PNG"))
        assert open_picture(tmp_path / name).is_colourless() == expected


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}])
def test_a_jpeg_that_lacks_more_than_its_end_mark_is_refused(tmp_path, options):
    noisy = np.clip(scene(3, 40, 56) + np.random.default_rng(0).normal(0, 0.1, (40, 56, 3)), 0, 1)
    content = jpeg(eight(noisy), **options)
    for cut in (4, 5, 8, 20, 100, len(content) // 3):
        (tmp_path / "a.jpg").write_bytes(content[:-cut])
        opened = None
        with pytest.raises(ImageError, match="is damaged or cut short"):
            opened = open_picture(tmp_path / "a.jpg").region(slice(0, 40), slice(0, 56))
        assert opened is None
