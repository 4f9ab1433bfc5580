"""An output that is no picture is never written."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mambairv2 import Restorer, load_model
from stand_in import StandIn, picture


class Diverged(StandIn):
    """Gives one value that is no number."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        y = super().forward(x).clone()
        y[..., 0, 0] = self.value
        return y


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nothing_is_written_and_the_message_says_how_it_was_computed(value, tmp_path):
    picture(20, 30, 3).pngsave(str(tmp_path / "in.png"))
    restorer = Restorer(Diverged(value), "cpu")
    with pytest.raises(FloatingPointError, match=r"NaN or infinity \(computed in float32 on cpu\)"):
        restorer.restore_file(tmp_path / "in.png", tmp_path / "out.png")
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]
    with pytest.raises(FloatingPointError):
        restorer.restore(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_network_of_another_precision_restores(dtype):
    image = (np.random.default_rng(0).random((24, 20, 3)) * 255).astype(np.uint8)
    expected = Restorer("sr-x2", "cpu").restore(image).astype(int)
    found = Restorer(load_model("sr-x2", dtype=dtype), "cpu").restore(image)
    assert found.dtype == np.uint8
    assert np.abs(found - expected).mean() < {torch.float64: 0.01}.get(dtype, 3)


@pytest.mark.parametrize("image", [object(), 3, [[1, 2]], None])
def test_what_is_no_image_is_named(image):
    with pytest.raises(TypeError, match=f"an image is a path, .* got {type(image).__name__}; try"):
        Restorer(StandIn(), "cpu").restore(image)
