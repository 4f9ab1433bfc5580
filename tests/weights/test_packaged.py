"""Names of packaged weights."""

import pytest
import torch

from mambairv2.network.model import MambaIRv2
from mambairv2.weights import packaged
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.load import load_model
from mambairv2.weights.packaged import find_weights, pretrained
from mambairv2.weights.save import save_model
from small_weights import same


def test_packaged_names_come_first(model, tmp_path, monkeypatch):
    monkeypatch.setattr(packaged, "PRETRAINED", tmp_path)
    save_model(model, tmp_path / "sr-x2.safetensors")
    assert list(pretrained()) == ["sr-x2"]
    assert find_weights("sr-x2") == tmp_path / "sr-x2.safetensors"
    same(load_model("sr-x2", dtype=torch.float64), model)
    with pytest.raises(WeightsError, match=r"sr-x9: no such weights; .* packaged names: sr-x2"):
        find_weights("sr-x9")


def test_packaged_weights_load():
    for name in pretrained():
        assert isinstance(load_model(name), MambaIRv2), name
