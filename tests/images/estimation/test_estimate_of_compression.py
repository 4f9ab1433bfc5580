"""Compression read from files: quality from tables of quantisation, WebP with loss or without."""

import numpy as np
import pytest
import pyvips
from PIL import Image

from mambairv2.images.estimation.compression import is_lossy_webp, jpeg_quality, scaled_table
from stand_in import picture, pixels


@pytest.mark.parametrize("quality", [1, 5, 20, 35, 49, 50, 51, 75, 90, 92, 95, 99])
def test_the_quality_of_libjpeg_is_read_back(tmp_path, quality):
    for number, save in enumerate((save_vips, save_pillow)):
        save(tmp_path / f"{number}.jpg", quality)
        # Tables of neighbouring low qualities are cut off at the same values.
        assert abs(jpeg_quality(tmp_path / f"{number}.jpg") - quality) <= (1 if quality > 5 else 4)


def save_vips(path, quality):
    picture(40, 48, 3).jpegsave(str(path), Q=quality)


def save_pillow(path, quality):
    Image.fromarray(pixels(40, 48, 3)).save(path, quality=quality, subsampling=0)


def test_tables_of_others_have_the_nearest_quality(tmp_path):
    for quality in (30, 60, 85):
        table = [round(v * 1.1) for v in scaled_table(quality)]
        natural = np.zeros(64, int)
        natural[ZIGZAG] = np.clip(table, 1, 255)
        Image.fromarray(pixels(40, 48, 3)).save(tmp_path / "own.jpg", qtables=[natural.tolist()] * 2)
        assert abs(jpeg_quality(tmp_path / "own.jpg") - quality) <= 4


ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, (i // 8) if (i // 8 + i % 8) % 2 else (i % 8)))
"""Places of a table in the order in which a file has them, row by row of 8."""


@pytest.mark.parametrize("cut", [3, 20, 40, 100])
def test_files_without_a_whole_table_have_none(tmp_path, cut):
    save_vips(tmp_path / "whole.jpg", 80)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:cut])
    assert jpeg_quality(tmp_path / "cut.jpg") is None
    picture(20, 20, 3).pngsave(str(tmp_path / "a.png"))
    assert jpeg_quality(tmp_path / "a.png") is None
    (tmp_path / "empty").write_bytes(b"")
    assert jpeg_quality(tmp_path / "empty") is None


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("lossless", [True, False])
def test_webp_with_loss_is_told_from_webp_without(tmp_path, lossless, frames, channels):
    image = pyvips.Image.arrayjoin([picture(20, 24, 3) + n for n in range(frames)], across=1).cast("uchar")
    if channels == 4:
        image = image.bandjoin(pyvips.Image.xyz(24, 20 * frames)[0] * 10).cast("uchar")
    image = image.copy(interpretation="srgb")
    if frames > 1:
        image.set_type(pyvips.GValue.gint_type, "page-height", 20)
    image.webpsave(str(tmp_path / "a.webp"), lossless=lossless)
    assert is_lossy_webp(tmp_path / "a.webp") is not lossless


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0", b"\x89PNG\r\n\x1a\n" * 9]
)
def test_what_is_no_whole_webp_is_not_lossy(tmp_path, content):
    (tmp_path / "a.webp").write_bytes(content)
    assert not is_lossy_webp(tmp_path / "a.webp")
