"""Noise and JPEG as training and the protocols add them."""

import numpy as np
import pytest

from mambairv2.images.degradation import jpeg, protocol_noise


def test_protocol_noise_is_the_same_for_every_image():
    flat = np.full((20, 20, 3), 128, np.uint8)
    noise = protocol_noise(flat, 25) - 128 / 255
    expected = np.random.RandomState(0).normal(0, 25 / 255, (20, 20, 3))
    np.testing.assert_allclose(noise[..., ::-1], expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_really_encodes(channels):
    y, x = np.indices((48, 64))
    pixels = np.stack([(128 + 100 * np.sin((x + k * y) / 9)).astype(np.uint8) for k in range(channels)], 2)
    errors = [float(np.abs(jpeg(pixels, q).astype(int) - pixels).mean()) for q in (10, 40, 95)]
    assert errors[0] > errors[1] > errors[2] > 0
    with pytest.raises(ValueError, match="101"):
        jpeg(pixels, 101)
