"""Cards as data, and the table of them that `mambairv2 models` prints."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mambairv2.cli.main import app
from mambairv2.weights import packaged
from mambairv2.weights.load import load_model
from mambairv2.weights.model_card import Card, Figures, read_card
from mambairv2.weights.packaged import PRETRAINED, pretrained
from mambairv2.weights.read_config import read_metadata

SETS = (
    Figures("Kodak24", "denoise 25", 31.5, 0.8901, 20.25, 0.3),
    Figures("CBSD68", "denoise 25", 30.1, 0.87, 20.2, 0.4),
)
CARD = Card("denoise", "denoise", 1, 123456, 900, 1.25, SETS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package with one made-up network and its card."""
    monkeypatch.setattr(packaged, "PRETRAINED", tmp_path)
    (tmp_path / "denoise.safetensors").write_bytes(bytes(2_500_000))
    (tmp_path / "denoise.json").write_text(CARD.to_json())
    return tmp_path


def models():
    return CliRunner().invoke(app, ["models"])


def test_a_card_comes_back_as_written(folder):
    assert read_card(folder / "denoise.json") == CARD


def test_models_lists_what_the_cards_say(folder):
    result = models()
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    about = "denoise removal of noise ×1 123,456 2.5 MB"
    assert f"{about} Kodak24 denoise 25 31.50 / 0.8901 20.25 / 0.3000 +11.25" in lines
    assert "CBSD68 denoise 25 30.10 / 0.8700 20.20 / 0.4000 +9.90" in lines


def test_weights_without_a_card_are_listed(folder):
    (folder / "denoise.json").unlink()
    assert "(no card)" in models().stdout


def test_no_weights(folder):
    (folder / "denoise.safetensors").unlink()
    assert "none packaged" in models().stdout


@pytest.mark.parametrize(
    "change",
    [{"task": "paint"}, {"hours": "long"}, {"sets": [{"set": "Set5"}]}, {"sets": 3}, {"unheard": 1}, {"scale": None}],
)
def test_a_damaged_card_ends_in_a_line_that_names_it(folder, change):
    path = folder / "denoise.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    result = models()
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {path}: is not a card of weights")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("content", ["", "[]", "{", "{}"])
def test_what_is_no_card_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=r"x\.json: is not a card"):
        read_card(tmp_path / "x.json")


@pytest.mark.parametrize("name", sorted(pretrained()))
def test_a_packaged_card_is_of_its_weights(name):
    card, model, metadata = read_card(PRETRAINED / f"{name}.json"), load_model(name), read_metadata(name)
    assert (card.name, card.task, card.scale) == (name, metadata["task"], model.config.upscale)
    assert card.parameters == sum(p.numel() for p in model.parameters())
    assert card.iterations == int(metadata["iteration"])
    assert card.sets
    assert all(f.psnr > f.base_psnr and f.ssim > f.base_ssim for f in card.sets)
    document = (PRETRAINED / f"{name}.md").read_text()
    assert all(f"{f.psnr:.2f} / {f.ssim:.4f}" in document for f in card.sets)
    assert f" {name} " in models().stdout
