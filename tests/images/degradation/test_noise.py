"""Moments of noise, and the noise of the protocols."""

import numpy as np
import pytest

from mambairv2.images.degradation.noise import Noise, add_gaussian, add_poisson, protocol_noise


def flat(value, side=200):
    return np.full((side, side, 3), value, np.float32)


def test_protocol_noise_is_the_same_for_every_image():
    image = np.full((20, 20, 3), 128, np.uint8)
    noise = protocol_noise(image, 25) - 128 / 255
    expected = np.random.RandomState(0).normal(0, 25 / 255, (20, 20, 3))
    np.testing.assert_allclose(noise[..., ::-1], expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [2, 8, 40])
def test_gaussian_noise_has_its_moments(sigma):
    noise = (add_gaussian(flat(0.5), sigma, np.random.default_rng(0)) - 0.5) * 255
    assert noise.mean() == pytest.approx(0, abs=sigma / 50)
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert np.mean(noise**4) / noise.var() ** 2 == pytest.approx(3, abs=0.15)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("value", [0.1, 0.5, 1.0])
def test_poisson_noise_grows_with_the_light(value):
    noise = (add_poisson(flat(value), 10, np.random.default_rng(0)) - value) * 255
    assert noise.mean() == pytest.approx(0, abs=0.2)
    assert noise.std() == pytest.approx(10 * np.sqrt(value), rel=0.02)


def test_poisson_counts_photons():
    dark = add_poisson(flat(0.02), 50, np.random.default_rng(0))
    counts = dark * (255 / 50) ** 2
    np.testing.assert_allclose(counts, counts.round(), atol=1e-4)
    np.testing.assert_array_equal(add_poisson(flat(0.3), 0, np.random.default_rng(0)), flat(0.3))
    np.testing.assert_array_equal(add_poisson(flat(0), 50, np.random.default_rng(0)), flat(0))


@pytest.mark.parametrize("add", [add_gaussian, add_poisson])
def test_grey_noise_is_the_same_in_all_channels(add):
    image = flat(0.5, 32) * np.array([0.5, 1, 1.5], np.float32)
    noise = add(image, 10, np.random.default_rng(0), grey=True) - image
    np.testing.assert_allclose(noise, noise[..., :1].repeat(3, 2), atol=1e-6)
    assert noise.std() > 0.01


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_a_step_draws_strength_model_and_colour(grey):
    step = Noise(models=("gaussian", "poisson"), sigma=(1, 9), grey=grey)
    noises = [step.apply(flat(0.5, 24), np.random.default_rng(k)) - np.float32(0.5) for k in range(120)]
    spreads = [noise.std() * 255 for noise in noises]
    assert min(spreads) < 1.6
    assert 7 < max(spreads) < 9.9
    coloured = np.mean([np.abs(noise[..., 0] - noise[..., 1]).max() > 1e-6 for noise in noises])
    assert coloured == pytest.approx(1 - grey, abs=0.12)
    np.testing.assert_array_equal(step.apply(flat(0.5, 24), np.random.default_rng(7)) - np.float32(0.5), noises[7])


@pytest.mark.parametrize("wrong", [{"sigma": (-1, 2)}, {"models": ()}, {"grey": 1.2}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Noise(**wrong)
