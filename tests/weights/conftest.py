"""A small network and its tensors, for the tests of weights."""

import pytest
import torch

from mambairv2 import load_model
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.save import published_state
from small_weights import SMALL, save_tiny
from stub_hub.server import serving


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MambaIRv2(SMALL).double()


@pytest.fixture
def state(model):
    return published_state(model)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hugging Face Hub on this machine, and none else for huggingface_hub."""
    with serving(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture
def tiny(tmp_path):
    """The files of a repository with a small network."""
    folder = tmp_path / "saved"
    load_model(save_tiny(tmp_path / "tiny.safetensors")).save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}
