"""The card of a folder or repository: metadata that the Hub reads, our own cards, and nothing that nobody measured."""

from __future__ import annotations

import re

import pytest
import torch

from mambairv2 import MambaIRv2, MambaIRv2Config, load_model
from mambairv2.weights.model_card import read_card
from mambairv2.weights.packaged import pretrained
from mambairv2.weights.sharing.readme import same_as_packaged
from small_weights import SMALL
from stub_hub.server import INSTALL

huggingface_hub = pytest.importorskip("huggingface_hub", reason=INSTALL)


def card_of(network, folder, **options):
    """Save a network; return its card as huggingface_hub reads it."""
    network.save_pretrained(folder, **options)
    return huggingface_hub.ModelCard.load(folder / "README.md")


@pytest.mark.parametrize("name", pretrained())
def test_packaged_weights_have_their_own_card(tmp_path, name):
    ours = read_card(pretrained()[name].with_suffix(".json"))
    card = card_of(load_model(name), tmp_path, repo_id="tester/net")
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        *("apache-2.0", "mambairv2"),
        "image-to-image",
    )
    assert {"mambairv2", "image-restoration", ours.task} <= set(card.data.tags)
    assert ("super-resolution" in card.data.tags) == (ours.scale > 1)
    measured = {(r.dataset_type, r.dataset_config, r.metric_type): r.metric_value for r in card.data.eval_results}
    for figures in ours.sets:
        assert measured.pop((figures.set, figures.protocol, "psnr")) == figures.psnr
        assert measured.pop((figures.set, figures.protocol, "ssim")) == figures.ssim
    assert not measured
    text = pretrained()[name].with_suffix(".md").read_text(encoding="utf-8")
    for heading in re.findall(r"^#+ .*$", text, re.MULTILINE):
        assert heading in card.text.splitlines()
    assert f"These are the weights `{name}` of mambairv2" in card.text
    assert 'MambaIRv2.from_pretrained("tester/net")' in card.text
    assert "--weights tester/net" in card.text


def test_where_weights_come_from_stays_in_the_card(tmp_path):
    card = card_of(load_model("sr-x4"), tmp_path / "sr")
    assert "The teacher is the MambaIRv2-light ×4 network of team 40" in card.text
    assert "for non-commercial research and education" in card.text
    text = card_of(load_model("photo-x2"), tmp_path / "photo").text
    assert "(its card, `sr-x2.md`)" in text
    assert "](sr-x2.md)" not in text


def test_weights_that_were_changed_lose_the_card_of_packaged_ones(tmp_path):
    network = load_model("sr-x2")
    assert same_as_packaged(network) == "sr-x2"
    with torch.no_grad():
        network.norm.bias[0] += 1e-6
    assert same_as_packaged(network) is None
    card = card_of(network, tmp_path)
    assert card.data.license is None
    assert card.data.eval_results is None
    assert "Set5" not in card.text
    assert "Its author gave no account of training, data, figures, licence and limits." in card.text
    assert "with the light network of MambaIRv2 (774,092 parameters)" in card.text


def test_an_account_and_a_licence_of_your_own(tmp_path):
    account = "# Foxes\n\nEnlarges foxes.\n\n## Data\n\nTwo foxes."
    card = card_of(MambaIRv2(SMALL), tmp_path, card=account, license="mit", repo_id="tester/foxes")
    assert card.data.license == "mit"
    assert card.text.lstrip().startswith("# Foxes\n\nEnlarges foxes.\n\n## Use\n")
    assert "Two foxes." in card.text
    assert "of its own configuration" in card.text
    assert "no account" not in card.text


def test_packaged_weights_with_an_account_of_your_own_say_whose_they_are(tmp_path):
    card = card_of(load_model("sr-x4"), tmp_path, card="# Mine")
    assert "These are the weights `sr-x4` of mambairv2" in card.text
    assert card.data.license == "apache-2.0"
    assert card.data.eval_results is None


def test_a_whole_card_of_your_own(tmp_path):
    text = "---\nlicense: mit\n---\n\n# Mine\n"
    MambaIRv2(SMALL).save_pretrained(tmp_path, card=text)
    assert (tmp_path / "README.md").read_text() == text


def test_a_card_that_is_there_is_kept_unless_another_is_given(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    MambaIRv2(SMALL).save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    MambaIRv2(SMALL).save_pretrained(tmp_path, card="other")
    assert "other" in (tmp_path / "README.md").read_text()


def test_the_task_is_that_of_the_metadata(tmp_path):
    grey = MambaIRv2(MambaIRv2Config(upscale=1, upsampler="", in_channels=1, embed_dim=12, depths=(1,), num_heads=(2,)))
    grey.metadata["task"] = "jpeg"
    card = card_of(grey, tmp_path / "a")
    assert "Removal of JPEG artifacts with a MambaIRv2 network" in card.text
    assert "for grey images" in card.text
    assert "jpeg" in card.data.tags
    grey.metadata["task"] = "what nobody knows"
    assert "Image restoration with" in card_of(grey, tmp_path / "b").text
