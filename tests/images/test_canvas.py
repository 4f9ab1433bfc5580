"""Where restored rows gather until the image is whole."""

import os

import numpy as np
import pytest

from mambairv2.images.canvas import Canvas
from stand_in import pixels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_canvas_on_disk_gives_back_what_was_added(tmp_path, monkeypatch, dtype, channels):
    monkeypatch.setattr("mambairv2.images.canvas.IN_MEMORY", 0)
    values = pixels(301, 77, channels, dtype)
    with Canvas((301, 77), channels, np.dtype(dtype), tmp_path / "a.png") as canvas:
        canvas.add(values[:100])
        canvas.add(values[100:])
        assert len(os.listdir(tmp_path)) == 1
        assert np.array_equal(canvas.image().numpy().reshape(values.shape), values)
    assert os.listdir(tmp_path) == []
