"""Resizing against known results, and steps that resize."""

import numpy as np
import pytest
from PIL import Image

from mambairv2.images.degradation.resizing import FILTERS, Resize, Shrink, resample
from mambairv2.images.resize import imresize

PILLOW = {"area": "BOX", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos": "LANCZOS"}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("size", [(24, 30), (12, 15), (31, 47), (96, 120)])
def test_flat_stays_flat_and_the_mean_stays(name, size, image):
    resized = resample(image, size, name)
    assert resized.shape == (*size, 3)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resample(np.full_like(image, 0.7), size, name), 0.7, atol=1e-6)
    assert resized.mean() == pytest.approx(image.mean(), abs=0.01)


SIZES = [(24, 30), (16, 20), (31, 47)]


@pytest.mark.parametrize(("name", "size"), [(n, s) for n in FILTERS for s in SIZES[: 2 if n == "area" else 3]])
def test_the_inside_is_as_pillow_makes_it(name, size, image):
    """Pillow cuts filters off at the border, where ours mirror the image; its box counts whole pixels at odd scales."""
    for channel in range(3):
        plane = Image.fromarray(image[..., channel])
        expected = np.asarray(plane.resize(size[::-1], getattr(Image.Resampling, PILLOW[name])))
        np.testing.assert_allclose(resample(image, size, name)[5:-5, 5:-5, channel], expected[5:-5, 5:-5], atol=2e-5)


def test_area_is_the_mean_of_the_overlap():
    line = np.array([0, 1, 0, 1, 1], np.float32)[None, :, None]
    np.testing.assert_allclose(resample(line, (1, 2), "area")[0, :, 0], [1 / 2.5, 2 / 2.5], atol=1e-6)


def test_bicubic_is_matlab_s_but_for_rounding(image):
    pixels = (image * 255).round().clip(0, 255).astype(np.uint8)
    ours = resample(pixels / np.float32(255), (24, 30), "bicubic") * 255
    assert np.abs(ours - imresize(pixels, 0.5)).max() <= 1.01


def test_a_resize_goes_by_its_scale_and_back(image):
    generator = np.random.default_rng(1)
    assert Resize(scale=(0.5, 0.5)).apply(image, generator).shape == (24, 30, 3)
    returned = Resize(scale=(0.4, 0.4), back=1.0).apply(image, generator)
    assert returned.shape == image.shape
    assert returned.var() < image.var()
    assert Resize(scale=(1.5, 1.5), back=0.5).apply(image, generator).shape in {(72, 90, 3), (48, 60, 3)}


def test_mixed_draws_every_filter(image):
    step = Resize(scale=(0.5, 0.5))
    kinds = {resample(image, (24, 30), name).tobytes() for name in FILTERS}
    assert {step.apply(image, np.random.default_rng(seed)).tobytes() for seed in range(40)} == kinds


@pytest.mark.parametrize(
    ("kind", "wrong"), [(Resize, {"scale": (0, 1)}), (Resize, {"back": 2}), (Shrink, {"filters": ()})]
)
def test_values_out_of_range_are_refused(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)
