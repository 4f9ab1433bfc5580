"""The colour of fully transparent pixels: filled in from visible ones, or kept."""

import numpy as np
import pytest
from PIL import Image

from mambairv2.images.reading import open_pages


@pytest.mark.parametrize(("name", "dtype"), [("a.png", "uint8"), ("a.webp", "uint8"), ("a.tif", "uint8")])
def test_hidden_colour_is_kept_where_asked(tmp_path, name, dtype):
    values = np.zeros((12, 16, 4), dtype)
    values[:, :8] = (200, 40, 90, 255)
    values[:, 8:] = (10, 250, 30, 0)
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    Image.fromarray(values).save(tmp_path / name, **options)
    everything = slice(0, 12), slice(0, 16)
    (kept,) = open_pages(tmp_path / name, keep_hidden=True)
    (filled,) = open_pages(tmp_path / name)
    assert np.array_equal(np.rint(kept.region(*everything) * 255).transpose(1, 2, 0), values[..., :3])
    assert (np.rint(filled.region(*everything)[:, :, 8] * 255) == [[200], [40], [90]]).all()
