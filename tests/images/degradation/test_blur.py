"""Kernels against their formulas, and what a blur leaves as it is."""

import numpy as np
import pytest

from mambairv2.images.degradation.blur import (
    Blur,
    convolve,
    disc_kernel,
    gaussian_blur,
    gaussian_kernel,
    gaussian_line,
    motion_kernel,
)

KERNELS = {
    "isotropic": np.outer(gaussian_line(1.3), gaussian_line(1.3)),
    "anisotropic": gaussian_kernel(2.0, 0.7, 0.4),
    "focus": disc_kernel(2.3),
    "motion": motion_kernel(6.0, 1.1),
}


def moments(kernel):
    """Sum, centre and covariance of a kernel, in pixels."""
    y, x = (np.arange(side) - side // 2 for side in kernel.shape)
    where = np.stack([a.ravel() for a in np.meshgrid(y, x, indexing="ij")])
    total = kernel.sum()
    mean = (where * kernel.ravel()).sum(1) / total
    return total, mean, (where * kernel.ravel()) @ where.T / total


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_sums_to_one_is_centred_and_not_negative(name):
    total, mean, _ = moments(KERNELS[name])
    assert total == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(mean, 0, atol=1e-9)
    assert KERNELS[name].min() >= 0
    assert all(side % 2 for side in KERNELS[name].shape)


def test_a_turned_gaussian_has_its_variances_along_its_axes():
    _, _, covariance = moments(gaussian_kernel(2.0, 0.8, 0.5))
    direction, normal = np.array([np.sin(0.5), np.cos(0.5)]), np.array([np.cos(0.5), -np.sin(0.5)])
    assert direction @ covariance @ direction == pytest.approx(4, rel=0.02)
    assert normal @ covariance @ normal == pytest.approx(0.64, rel=0.02)
    np.testing.assert_allclose(
        gaussian_kernel(1.1, 1.1, 0.9), np.outer(gaussian_line(1.1), gaussian_line(1.1)), atol=1e-9
    )


@pytest.mark.parametrize("radius", [0.8, 1.5, 3.2])
def test_a_disc_is_the_share_of_each_pixel_in_a_circle(radius):
    kernel = disc_kernel(radius)
    fine = (np.arange(kernel.shape[0] * 64) + 0.5) / 64 - kernel.shape[0] / 2
    shares = (fine[:, None] ** 2 + fine**2 <= radius**2).reshape(len(kernel), 64, len(kernel), 64).mean((1, 3))
    assert shares.sum() == pytest.approx(np.pi * radius**2, rel=3e-3)  # the whole circle is in the kernel
    np.testing.assert_allclose(kernel, shares / shares.sum(), atol=0.01)
    middle = kernel.shape[0] // 2
    assert kernel[middle, middle] == pytest.approx(1 / (np.pi * radius**2), rel=0.1)


@pytest.mark.parametrize("angle", [0, 0.7, np.pi / 2])
def test_a_motion_has_its_length_along_its_angle(angle):
    _, _, covariance = moments(motion_kernel(8, angle))
    along, across = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    assert along @ covariance @ along == pytest.approx(64 / 12, rel=0.15)
    assert across @ covariance @ across < 0.3


@pytest.mark.parametrize("empty", [gaussian_line(0)[None], disc_kernel(0), motion_kernel(0, 0.3)])
def test_no_width_is_no_blur(empty, image):
    np.testing.assert_array_equal(convolve(image, empty), image)


@pytest.mark.parametrize("name", KERNELS)
def test_a_blur_keeps_flat_places_and_takes_energy(name, image):
    blurred = convolve(image, KERNELS[name])
    assert blurred.dtype == np.float32
    assert blurred.shape == image.shape
    assert blurred.var() < 0.9 * image.var()
    assert blurred.mean() == pytest.approx(image.mean(), abs=0.02)
    np.testing.assert_allclose(convolve(np.full_like(image, 0.3), KERNELS[name]), 0.3, atol=1e-6)


def test_an_impulse_shows_the_kernel_and_separable_is_the_same(image):
    impulse = np.zeros((15, 15, 1), np.float32)
    impulse[7, 7] = 1
    kernel = KERNELS["anisotropic"][1:-1, 1:-1]  # 13 × 13
    np.testing.assert_allclose(convolve(impulse, kernel)[1:-1, 1:-1, 0], kernel[::-1, ::-1] / kernel.sum(), atol=1e-4)
    np.testing.assert_allclose(gaussian_blur(image, 1.3), convolve(image, KERNELS["isotropic"]), atol=2e-4)


@pytest.mark.parametrize("shape", ["isotropic", "anisotropic", "focus", "motion"])
def test_a_step_is_drawn_from_the_generator_alone(shape, image):
    step = Blur(shapes=(shape,), sigma=(0.5, 2))
    one, same, other = (step.apply(image, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("wrong", [{"sigma": (2, 1)}, {"radius": (-1, 1)}, {"shapes": ()}, {"probability": 1.5}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Blur(**wrong)
