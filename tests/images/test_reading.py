"""Image files in: what is read comes as it was written, and a file that is not one whole image is told in one line."""

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st

from mambairv2.images.arrays import quantise
from mambairv2.images.errors import ImageError, damaged
from mambairv2.images.reading import from_array, open_picture
from stand_in import picture, pixels


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


@pytest.mark.parametrize("values", [np.zeros((4, 4, 5), np.uint8), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)])
def test_arrays_that_are_no_image_are_refused(values):
    with pytest.raises(ValueError, match="an image is"):
        from_array(values)


def test_lack_of_memory_is_not_taken_for_damage(tmp_path):
    error = pyvips.Error("unable to read", "glib: Error creating thread: Resource temporarily unavailable\n")
    with pytest.raises(MemoryError, match=r"not enough memory .*Error creating thread"):
        damaged(tmp_path / "a.png", error)
