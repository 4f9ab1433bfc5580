"""Networks are uploaded to a Hub on this machine by the real huggingface_hub, and come back from it."""

from __future__ import annotations

import pytest

from mambairv2 import MambaIRv2, WeightsError, load_model
from small_weights import SMALL, same, save_tiny
from stub_hub.answers import OWNER, TOKEN
from stub_hub.server import INSTALL

huggingface_hub = pytest.importorskip("huggingface_hub", reason=INSTALL)
REPO = f"{OWNER}/net"


@pytest.fixture
def network(tmp_path):
    return load_model(save_tiny(tmp_path / "tiny.safetensors"))


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def error_of(network, repo, **options):
    """The one line that an upload ends in."""
    with pytest.raises(WeightsError) as caught:
        network.push_to_hub(repo, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_network_comes_back(hub, network, token):
    address = network.push_to_hub(REPO)
    assert address == f"{hub.url}/{REPO}/commit/{hub.repos[REPO].branches['main']}"
    assert {"README.md", "config.json", "model.safetensors"} <= set(hub.repos[REPO].files())
    assert hub.repos[REPO].messages[-1] == "Upload a MambaIRv2 network"
    assert not hub.repos[REPO].private
    same(MambaIRv2.from_pretrained(REPO), network)
    card = huggingface_hub.ModelCard.load(REPO)
    assert f'Restorer("{REPO}")' in card.text


def test_packaged_weights_are_uploaded_as_they_are(hub, token):
    load_model("sr-x3").push_to_hub(REPO)
    same(load_model(REPO), load_model("sr-x3"))
    assert huggingface_hub.ModelCard.load(REPO).data.model_name == "sr-x3"


def test_again_is_a_commit_more(hub, network, token):
    network.push_to_hub(REPO)
    other = MambaIRv2(SMALL).eval()
    other.push_to_hub(REPO, commit_message="Better", card="# Better", license="mit")
    assert hub.repos[REPO].messages[-1] == "Better"
    same(load_model(REPO), other)
    assert "# Better" in hub.repos[REPO].files()["README.md"].decode()


def test_a_private_repository(hub, network):
    network.push_to_hub("net", private=True, token=TOKEN)
    assert hub.repos[REPO].private
    same(MambaIRv2.from_pretrained(REPO, token=TOKEN), network)


def test_a_branch_and_a_pull_request(hub, network, token):
    network.push_to_hub(REPO, branch="v2")
    assert "model.safetensors" not in hub.repos[REPO].files()
    same(MambaIRv2.from_pretrained(REPO, revision="v2"), network)
    assert network.push_to_hub(REPO, create_pr=True) == f"{hub.url}/{REPO}/discussions/1"
    same(load_model(f"hf://{REPO}@refs%2Fpr%2F1"), network)


def test_what_stands_in_the_way_is_told(hub, network, monkeypatch):
    assert "log in by `hf auth login`, or set HF_TOKEN" in error_of(network, REPO)
    assert not hub.repos
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "the Hub does not allow it (403)" in error_of(network, "stranger/net")
    assert "is no name of a repository" in error_of(network, "a/b/c")
    assert "ValueError: Invalid metadata in README.md" in error_of(network, REPO, card="---not metadata")
    hub.stop()
    message = error_of(network, REPO)
    assert "ConnectError" in message
    assert message.endswith("; try again")
