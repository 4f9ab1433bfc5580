"""Alpha at the size of the output: on the same centres as the colour, right up to the edges."""

from __future__ import annotations

import numpy as np
import pytest
import pyvips
import torch

from mambairv2 import Restorer
from mambairv2.images.alpha import enlarge
from stand_in import StandIn


def large(samples, scale, kind="uchar"):
    image = enlarge(pyvips.Image.new_from_array(np.ascontiguousarray(samples)), scale, kind)
    dtype = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}[kind]
    return np.frombuffer(image.write_to_memory(), dtype).reshape(image.height, image.width).astype(float)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 7), (40, 30)])
def test_flat_alpha_stays_flat_up_to_the_edges(scale, size):
    for value in (0, 1, 128, 255):
        found = large(np.full(size, value, np.uint8), scale)
        assert found.shape == (size[0] * scale, size[1] * scale)
        assert (found == value).all()


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_alpha_does_not_move(scale):
    """Mirrored and turned it stays the same, and a ramp has the values of its centres."""
    samples = np.random.default_rng(0).integers(0, 256, (13, 17), np.uint8)
    found = large(samples, scale)
    assert np.array_equal(large(samples[::-1], scale)[::-1], found)
    assert np.array_equal(large(samples[:, ::-1], scale)[:, ::-1], found)
    assert np.array_equal(large(samples.T, scale).T, found)
    ramp = large(np.tile(np.arange(20, dtype=np.float32) / 20, (6, 1)), scale, "float")
    centres = ((np.arange(20 * scale) + 0.5) / scale - 0.5) / 20
    inside = slice(3 * scale, -3 * scale)
    assert np.abs(ramp[:, inside] - centres[inside]).max() < 0.002


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [2, 3])
def test_alpha_and_colour_lie_on_each_other(scale, depth):
    """Alpha that equals the grey of a picture equals it after enlargement, but for the interpolation."""
    y, x = np.mgrid[:24, :32]
    grey = ((0.5 + 0.3 * np.sin(x / 4) * np.cos(y / 5)) * np.iinfo(depth).max).astype(depth)
    network = StandIn(scale)
    network.forward = lambda image: torch.nn.functional.interpolate(
        image, scale_factor=scale, mode="bilinear", align_corners=False
    )
    made = Restorer(network, "cpu").restore(np.stack([grey, grey], -1)).astype(float)
    steps = np.abs(np.diff(grey.astype(float), axis=1)).max()
    assert np.abs(made[..., 0] - made[..., 1]).max() < 0.15 * steps
