"""Whole images for training and measuring: by the reader that restoration uses, whatever the kind of file."""

import io

import numpy as np
import pytest
import pyvips
from PIL import Image

from mambairv2.images.errors import ImageError
from mambairv2.images.pixels import read_image, to_channels
from mambairv2.images.reading import open_picture
from mambairv2.training.data.image_cache import open_cache
from stand_in import pixels as wave

DEEP = (np.arange(48).reshape(4, 4, 3) * 1000).astype(np.uint16)


def written(path, pixels, **options):
    interpretation = {"uint16": {1: "grey16", 3: "rgb16"}}.get(str(pixels.dtype), {1: "b-w", 2: "b-w"})
    image = pyvips.Image.new_from_array(pixels)
    image.copy(interpretation=interpretation.get(image.bands, "srgb")).write_to_file(str(path), **options)
    return path


def test_the_orientation_of_exif_is_applied(tmp_path):
    upright = wave(20, 31, 3)
    picture = Image.fromarray(np.rot90(upright))  # turned a quarter to the left; 6: turn it to the right to see it
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), upright)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_and_floats_are_rounded_alike(tmp_path, channels):
    deep = DEEP[..., :channels]
    expected = np.rint(deep / 65535 * 255).astype(np.uint8)
    np.testing.assert_array_equal(read_image(written(tmp_path / "deep.png", deep)), expected)
    floats = (deep / 65535).astype(np.float32)
    np.testing.assert_array_equal(read_image(written(tmp_path / "deep.tif", floats)), expected)


def test_all_values_of_eight_bits_stay(tmp_path):
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None]
    np.testing.assert_array_equal(read_image(written(tmp_path / "every.png", every)), every)


def test_alpha_is_dropped(tmp_path):
    clear = wave(5, 6, 4)
    path = written(tmp_path / "clear.png", clear)
    np.testing.assert_array_equal(read_image(path), clear[..., :3])
    assert read_image(path, 1).shape == (5, 6, 1)
    assert read_image(written(tmp_path / "grey.png", wave(5, 6, 2))).shape == (5, 6, 1)


def test_a_palette_is_looked_up(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], np.uint8).repeat(8, 0).repeat(8, 1)
    Image.fromarray(colours).quantize(4).save(tmp_path / "few.png")
    Image.fromarray(colours).quantize(4).save(tmp_path / "few.gif")
    for name in ("few.png", "few.gif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), colours)


def test_cmyk_becomes_the_colours_that_restoration_sees(tmp_path):
    inks = np.full((8, 8, 4), (200, 30, 0, 10), np.uint8)
    Image.fromarray(inks, "CMYK").save(tmp_path / "ink.jpg", quality=100, subsampling=0)
    seen = open_picture(tmp_path / "ink.jpg").region(slice(0, 8), slice(0, 8))
    pixels = read_image(tmp_path / "ink.jpg")
    np.testing.assert_array_equal(pixels, (seen * 255).round().astype(np.uint8).transpose(1, 2, 0))
    assert pixels[0, 0, 0] < 80 < 120 < pixels[0, 0, 2]  # much cyan: little red


def test_a_tall_image_is_whole(tmp_path):
    tall = wave(600, 7, 3)
    np.testing.assert_array_equal(read_image(written(tmp_path / "tall.png", tall)), tall)


@pytest.mark.parametrize("suffix", ["bmp", "ppm", "pgm", "pbm"])
def test_formats_that_libvips_lacks_are_read(tmp_path, suffix):
    colours = wave(6, 5, 3 if suffix in ("bmp", "ppm") else 1)
    image = Image.fromarray(colours.squeeze())
    image = image.convert("1") if suffix == "pbm" else image
    image.save(tmp_path / f"a.{suffix}")
    expected = np.asarray(image).astype(np.uint8) * (255 if suffix == "pbm" else 1)
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), expected.reshape(colours.shape))


def test_an_animation_is_refused(tmp_path):
    frames = [Image.fromarray(wave(6, 6, 3, seed=seed)) for seed in (0, 1)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="holds 2 pages or frames; save the one you want"):
        read_image(tmp_path / "two.gif")


def test_training_takes_what_it_can_read_and_names_the_rest(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(wave(20, 30, 3)).save(folder / "a.webp", lossless=True)
    Image.fromarray(wave(20, 30, 3)).save(folder / "b.jfif", "jpeg")
    Image.fromarray(wave(20, 30, 3)).save(folder / "c.bmp")
    buffer = io.BytesIO()
    Image.fromarray(wave(20, 30, 3)).save(buffer, "png")
    (folder / "d.png").write_bytes(buffer.getvalue()[:200])
    cache = open_cache([folder], 1, 3, cache_dir=tmp_path / "cache")
    assert [entry.file[-6:] for entry in cache.entries] == ["a.webp", "b.jfif", "/c.bmp"]
    assert "d.png: is damaged or cut short" in cache.skipped[-1]


def test_grey_and_back():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    np.testing.assert_array_equal(to_channels(colours, 1)[0, :, 0], [76, 150, 29, 255])
    assert to_channels(colours[..., :1], 3).shape == (1, 4, 3)
