"""Pillow's images of every mode, bytes and file objects: handled as their files are, or refused in a line."""

import io

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from mambairv2.images.errors import ImageError
from stand_in import pixels, restorer

RGB = pixels(20, 30, 3)


def of_mode(mode):
    """A picture of 30×20 in a mode of Pillow."""
    if mode == "I;16":
        return Image.fromarray(pixels(20, 30, 1, "uint16")[..., 0])
    if mode == "F":
        return Image.fromarray(pixels(20, 30, 1, "float32")[..., 0])
    if mode in ("La", "RGBa"):
        return of_mode("LA" if mode == "La" else "RGBA").convert(mode)
    if mode in ("LA", "RGBA"):
        return Image.fromarray(pixels(20, 30, len(mode)), mode)
    if mode == "PA":
        return of_mode("P").convert("PA")
    return Image.fromarray(RGB).convert(mode)


@pytest.mark.parametrize(
    ("mode", "result", "through"),
    [
        ("L", "L", "L"),
        ("LA", "LA", "LA"),
        ("RGB", "RGB", "RGB"),
        ("RGBA", "RGBA", "RGBA"),
        ("I;16", "I;16", "I;16"),
        ("F", "F", "F"),
        ("1", "L", "L"),
        ("P", "RGB", "RGB"),
        ("PA", "RGBA", "RGBA"),
        ("La", "LA", "LA"),
        ("RGBa", "RGBA", "RGBA"),
        ("YCbCr", "RGB", "RGB"),
        ("HSV", "RGB", "RGB"),
    ],
)
def test_modes_give_what_their_pixels_give(mode, result, through):
    image = of_mode(mode)
    found = restorer().restore(image)
    assert (found.mode, found.size) == (result, (60, 40))
    expected = restorer().restore(np.asarray(image.convert(through)))
    assert np.array_equal(np.asarray(found), expected)
    assert image.mode == mode  # the input is left as it is


@pytest.mark.parametrize(("mode", "result"), [("P", "RGBA"), ("RGB", "RGBA"), ("L", "LA")])
def test_declared_transparency_becomes_alpha(mode, result):
    image = Image.new(mode, (30, 20), 7 if mode != "RGB" else (7, 7, 7))
    image.paste(9 if mode != "RGB" else (9, 9, 9), (15, 0, 30, 20))
    image.info["transparency"] = 7 if mode != "RGB" else (7, 7, 7)
    found = restorer().restore(image)
    assert found.mode == result
    alpha = np.asarray(found)[..., -1]
    assert alpha[:, :24].max() == 0
    assert alpha[:, 36:].min() == 255


@pytest.mark.parametrize("profile", [True, False])
def test_cmyk_is_restored_as_its_file_is(tmp_path, profile):
    """By its colour profile, which Pillow's own conversion ignores."""
    image = Image.fromarray(RGB).convert("CMYK")
    options = {"icc_profile": cmyk_profile()} if profile else {}
    image.info.update(options)
    image.save(tmp_path / "cmyk.tif", **options)
    found = restorer().restore(image)
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), restorer().restore(tmp_path / "cmyk.tif"))
    assert "icc_profile" not in found.info  # of what it is no more


def cmyk_profile():
    image = pyvips.Image.black(4, 4, bands=3).copy(interpretation="srgb").icc_export(output_profile="cmyk")
    return bytes(image.get("icc-profile-data"))


@pytest.mark.parametrize("mode", ["LAB", "I"])
def test_modes_without_a_safe_meaning_are_refused(mode):
    with pytest.raises(ValueError, match=rf"mode {mode} is not restored; convert it to RGB or I;16 first"):
        restorer().restore(Image.new(mode, (5, 4)))


def test_the_colour_profile_is_kept():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(RGB)
    image.info.update(icc_profile=profile, gamma=0.4)
    found = restorer().restore(image)
    assert found.info == {"icc_profile": profile}


def test_a_frame_of_an_animation_and_a_lazy_file(tmp_path):
    frames = [Image.fromarray(pixels(8, 9, 3, seed=seed)) for seed in range(2)]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "two.tif") as image:
        image.seek(1)
        found = restorer().restore(image)
    assert np.array_equal(np.asarray(found), restorer().restore(np.asarray(frames[1])))


def encoded(suffix):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, suffix)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_bytes_give_the_bytes_of_a_file(tmp_path, kind, wrap):
    suffix = {"JPEG": "jpg", "TIFF": "tif"}.get(kind, kind.lower())
    (tmp_path / f"in.{suffix}").write_bytes(encoded(kind))
    restorer().restore_file(tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}")
    found = restorer().restore(wrap(encoded(kind)))
    assert type(found) is bytes
    assert found == (tmp_path / f"out.{suffix}").read_bytes()


def test_formats_that_are_not_written_come_back_as_png():
    found = restorer().restore(encoded("GIF"))
    with Image.open(io.BytesIO(found)) as image:
        assert (image.format, image.size) == ("PNG", (60, 40))


def test_file_objects_give_a_file_object(tmp_path):
    (tmp_path / "in.png").write_bytes(encoded("PNG"))
    expected = restorer().restore(encoded("PNG"))
    with open(tmp_path / "in.png", "rb") as file:
        found = restorer().restore(file)
    assert isinstance(found, io.BytesIO)
    assert (found.tell(), found.getvalue()) == (0, expected)
    assert restorer().restore(io.BytesIO(encoded("PNG"))).read() == expected


@pytest.mark.parametrize("content", [b"", b"no picture", encoded("PNG")[:80], b"<svg></svg>"])
def test_what_is_no_image_is_refused_in_a_line(content):
    with pytest.raises(ImageError, match=r"^image: [^\n]+$"):
        restorer().restore(content)
    with pytest.raises(ImageError, match=r"^image: [^\n]+$"):
        restorer().restore(io.BytesIO(content))


def test_text_files_are_refused():
    with pytest.raises(TypeError, match=r"a file object must give bytes, got str; open it in binary mode"):
        restorer().restore(io.StringIO("text"))


def test_progress_is_told_and_cancels_for_all_kinds():
    for image in (Image.fromarray(RGB), encoded("PNG"), io.BytesIO(encoded("PNG"))):
        told = []
        restorer().restore(image, lambda *counts, told=told: told.append(counts))
        assert told == [(1, 1)]
