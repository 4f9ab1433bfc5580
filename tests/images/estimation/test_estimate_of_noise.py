"""The estimate of noise on pictures with slopes, waves and edges."""

import numpy as np
import pytest

from mambairv2.images.estimation.noise import noise_level


def scene(kind):
    y, x = np.mgrid[:160, :200].astype(np.float32)
    return {
        "flat": np.full_like(x, 100),
        "slope": 40 + 0.5 * x + 0.3 * y,
        "waves": 128 + 60 * np.sin(x / 12) * np.cos(y / 15),
        "edges": np.where((x + 2 * y) % 60 < 30, 60, 180).astype(np.float32),
    }[kind]


@pytest.mark.parametrize("kind", ["flat", "slope", "waves", "edges"])
@pytest.mark.parametrize("sigma", [2, 5, 10, 25])
def test_noise_is_found_at_its_strength(kind, sigma):
    noisy = scene(kind) + np.random.default_rng(0).normal(0, sigma, (160, 200)).astype(np.float32)
    assert noise_level(noisy) == pytest.approx(sigma, rel=0.2)


@pytest.mark.parametrize("kind", ["flat", "slope", "waves", "edges"])
def test_a_clean_picture_has_little(kind):
    assert noise_level(scene(kind)) < 0.5


def test_clipped_places_do_not_hide_it():
    noisy = scene("waves") + np.random.default_rng(0).normal(0, 6, (160, 200)).astype(np.float32)
    noisy[:70] = 255
    assert noise_level(noisy) == pytest.approx(6, rel=0.2)


def test_a_drawing_on_white_has_none():
    drawing = np.full((200, 240), 255, np.float32)
    drawing[40:60, 30:200] = np.random.default_rng(0).choice([0, 255], (20, 170))
    assert noise_level(drawing) == 0


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (16, 16), (17, 40)])
def test_what_is_too_small_has_none(shape):
    assert noise_level(np.random.default_rng(0).random(shape).astype(np.float32)) == 0
