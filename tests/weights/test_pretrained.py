"""The weights that come with the package: they load, carry a card, and reach the figures it states."""

from __future__ import annotations

import pytest

from mambairv2.tasks import TASKS
from mambairv2.weights.load import load_model
from mambairv2.weights.packaged import PRETRAINED, pretrained
from mambairv2.weights.read_config import read_metadata

NAMES = sorted(pretrained())


def test_there_are_some():
    assert "sr-x2" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_card_and_scale(name):
    card = (PRETRAINED / f"{name}.md").read_text()
    assert name in card
    assert read_metadata(name)["task"] in TASKS
    model = load_model(name)
    assert not model.training
    task, _, scale = name.partition("-x")
    assert read_metadata(name)["task"] == task
    if scale:
        assert model.config.upscale == int(scale)
