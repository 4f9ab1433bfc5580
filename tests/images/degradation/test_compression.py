"""Real encoding: more loss at lower quality, and colour at half the size or not."""

import numpy as np
import pytest

from mambairv2.images.degradation.compression import Jpeg, WebP, jpeg, to_pixels, webp

SMALL, LARGE = 10, 95


def pixels(channels):
    y, x = np.indices((48, 64))
    return np.stack([(128 + 100 * np.sin((x + k * y) / 9)).astype(np.uint8) for k in range(channels)], 2)


@pytest.mark.parametrize("encode", [jpeg, webp])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_really_encodes(encode, channels):
    original = pixels(channels)
    decoded = [encode(original, quality) for quality in (SMALL, 40, LARGE)]
    errors = [float(np.abs(image.astype(int) - original).mean()) for image in decoded]
    assert all(image.shape == original.shape and image.dtype == np.uint8 for image in decoded)
    assert errors[0] > errors[1] > errors[2] > 0
    with pytest.raises(ValueError, match="101"):
        encode(original, 101)


def test_jpeg_is_made_of_blocks_of_eight():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 1), np.uint8)
    whole = jpeg(image, 30)
    for top in (0, 8, 24):
        for left in (0, 16):
            part = (slice(top, top + 8), slice(left, left + 8))
            np.testing.assert_array_equal(jpeg(image[part], 30), whole[part])


def test_full_chroma_keeps_thin_colours():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 200, 200
    errors = [np.abs(jpeg(stripes, 95, chroma).astype(int) - stripes).mean() for chroma in ("4:2:0", "4:4:4")]
    assert errors[0] > 5 * errors[1]


@pytest.mark.parametrize("step", [Jpeg(quality=(20, 90), chroma=("4:2:0", "4:4:4")), WebP(quality=(20, 90))])
def test_a_step_gives_what_a_file_holds_by_the_seed_alone(step, image):
    one, same, other = (step.apply(image, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    np.testing.assert_allclose(one * 255, to_pixels(one), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "wrong"), [(Jpeg, {"quality": (0, 50)}), (Jpeg, {"chroma": ()}), (WebP, {"quality": (60, 40)})]
)
def test_values_out_of_range_are_refused(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)
