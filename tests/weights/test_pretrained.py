"""The weights that come with the package: they load, carry a card, and reach the figures it states."""

from __future__ import annotations

from pathlib import Path

import pytest

from mambairv2.evaluation.evaluate import evaluate, mean
from mambairv2.evaluation.plan import Plan
from mambairv2.weights.load import load_model, read_metadata
from mambairv2.weights.model_card import read_card
from mambairv2.weights.packaged import PRETRAINED, pretrained

NAMES = sorted(pretrained())


def test_there_are_some():
    assert "sr-x2" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_card_and_scale(name):
    card = (PRETRAINED / f"{name}.md").read_text()
    assert name in card
    assert read_metadata(name)["task"] in ("sr", "denoise", "jpeg")
    model = load_model(name)
    assert not model.training
    if name.startswith("sr-x"):
        assert model.config.upscale == int(name.removeprefix("sr-x"))


def test_set5_figure_of_the_card(shared: Path):
    (stated,) = (f.psnr for f in read_card(PRETRAINED / "sr-x2.json").sets if f.set == "Set5")
    (result,) = evaluate(load_model("sr-x2"), Plan(shared / "data/test", "sr", 2, ["Set5"]))
    found = mean(result.scores).psnr
    assert found >= 35.2
    assert found == pytest.approx(stated, abs=0.01)
