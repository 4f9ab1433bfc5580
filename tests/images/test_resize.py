import numpy as np
import pytest

from mambairv2.images.resize import imresize


@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 1 / 2, 2, 3, 4])
def test_flat_stays_flat_and_sizes_round_up(scale):
    out = imresize(np.full((7, 13, 3), 201, np.uint8), scale)
    assert out.shape == (int(np.ceil(7 * scale)), int(np.ceil(13 * scale)), 3)
    assert (out == 201).all()


def test_scale_one_is_the_identity_and_one_pixel_grows():
    image = np.random.default_rng(0).integers(0, 256, (9, 5), np.uint8)
    np.testing.assert_array_equal(imresize(image, 1), image)
    np.testing.assert_array_equal(imresize(np.full((1, 1), 7, np.uint8), 4), np.full((4, 4), 7, np.uint8))


def test_halves_round_up():
    image = np.zeros((16, 16), np.uint8)
    image[:, 7:] = [128, 2, 1, 1, 1, 1, 1, 1, 1]
    taps = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256  # the eight weights of a halving, exact in binary
    sums = np.array([image[0, 2 * k - 3 : 2 * k + 5] @ taps for k in range(2, 6)])
    np.testing.assert_array_equal(imresize(image, 0.5)[3, 2:6], np.floor(sums.clip(0, 255) + 0.5))


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)])
def test_wrong_input_names_what_it_got(image):
    with pytest.raises(ValueError, match=str(image.dtype)):
        imresize(image, 2)
