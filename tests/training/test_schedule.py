"""The learning rate by hand."""

import pytest

from mambairv2.training.recipe import WARMUP, Recipe, TrainPart
from mambairv2.training.schedule import learning_rate


def test_learning_rates():
    steps = TrainPart(iterations=100, lr=2e-4, milestones=[50, 80], warmup=10)
    assert [learning_rate(steps, at) for at in (0, 9, 10, 50, 80)] == pytest.approx([2e-5, 2e-4, 2e-4, 1e-4, 5e-5])
    curve = TrainPart(iterations=100, lr=1e-3, schedule="cosine", warmup=20, final_lr=1e-5)
    assert [learning_rate(curve, at) for at in (20, 60, 100)] == pytest.approx([1e-3, 5.05e-4, 1e-5])


@pytest.mark.parametrize("start", [{"start_from": "sr-x2"}, {"warm_start": True}])
def test_a_warm_up_is_made_where_the_start_would_be_lost(start):
    def of(iterations, **train):
        return Recipe.model_validate({"model": start, "train": {"iterations": iterations, **train}}).goal(0).train

    assert [of(iterations).warmup for iterations in (5, 60, 2000, 10**6)] == [0, 6, 200, WARMUP]
    assert [of(60, warmup=given).warmup for given in (0, 40)] == [0, 40]
    assert learning_rate(of(60, lr=6e-4), 0) == pytest.approx(1e-4)


def test_fresh_networks_need_none_and_later_phases_do():
    recipe = {"train": {"iterations": 1000}, "phases": [{"start": 0}, {"start": 400}, {"start": 700, "warmup": 7}]}
    assert [goal.train.warmup for goal in Recipe.model_validate(recipe).goals()] == [0, 30, 7]
    recipe["train"]["warmup"] = 50
    assert [goal.train.warmup for goal in Recipe.model_validate(recipe).goals()] == [50, 50, 7]
