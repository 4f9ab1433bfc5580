"""The learning rate by hand."""

import pytest

from mambairv2.training.recipe import TrainPart
from mambairv2.training.schedule import learning_rate


def test_learning_rates():
    steps = TrainPart(iterations=100, lr=2e-4, milestones=[50, 80], warmup=10)
    assert [learning_rate(steps, at) for at in (0, 9, 10, 50, 80)] == pytest.approx([2e-5, 2e-4, 2e-4, 1e-4, 5e-5])
    curve = TrainPart(iterations=100, lr=1e-3, schedule="cosine", warmup=20, final_lr=1e-5)
    assert [learning_rate(curve, at) for at in (20, 60, 100)] == pytest.approx([1e-3, 5.05e-4, 1e-5])
