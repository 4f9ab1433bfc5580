"""An image with structure at every scale."""

import numpy as np
import pytest


@pytest.fixture
def image():
    y, x = np.mgrid[:48, :60][..., None] / 8
    wave = 0.5 + 0.25 * np.sin(x * np.array([1, 2, 3])) * np.cos(2 * y)
    return (wave + 0.2 * np.random.default_rng(0).random((48, 60, 3))).astype(np.float32)
