"""Checkpoints as people have them: under any key and prefix, averaged or not, and never with NaN."""

from __future__ import annotations

import warnings

import pytest
import torch

from mambairv2 import MambaIRv2Config, WeightsError, load_model
from mambairv2.network.model import MambaIRv2
from mambairv2.weights import find_weights, published_state, save_model
from mambairv2.weights.published_names import is_averaged

CONFIG = MambaIRv2Config(embed_dim=12, depths=(1,), num_heads=(2,), num_tokens=4, inner_rank=2)


def state(value=0.0):
    torch.manual_seed(1)
    found = published_state(MambaIRv2(CONFIG))
    found["conv_first.bias"].fill_(value)
    return found


def loaded(content, tmp_path):
    torch.save(content, tmp_path / "weights.pth")
    return load_model(tmp_path / "weights.pth").conv_first.bias[0].item()


@pytest.mark.parametrize(
    "keys",
    [
        ("model_state_dict",),
        ("generator",),
        ("net_g",),
        ("checkpoint", "model"),
        ("a", "b", "weights"),
        ("params",),
        (),
    ],
    ids="/".join,
)
def test_a_network_is_found_under_any_key(keys, tmp_path):
    content = state(5)
    for key in reversed(keys):
        content = {key: content, "epoch": 3, "optimizer": {"state": {}}}
    assert loaded(content, tmp_path) == 5


@pytest.mark.parametrize(
    "name", ["params_ema", "params-ema", "state_dict_ema", "ema_model", "model_EMA", "averaged", "swa"]
)
def test_averaged_weights_are_preferred_wherever_they_lie(name, tmp_path):
    plain = state(1)
    assert loaded({"params": plain, name: state(2)}, tmp_path) == 2
    assert loaded({name: state(2), "params": plain}, tmp_path) == 2
    assert loaded({"training": {name: state(2)}, "params": plain}, tmp_path) == 2
    flat = {**{f"net.{k}": t for k, t in plain.items()}, **{f"{name}.module.{k}": t for k, t in state(2).items()}}
    assert loaded(flat, tmp_path) == 2


@pytest.mark.parametrize("name", ["schema", "emacs", "cinema_model", "avgpool_of", "swap"])
def test_names_that_only_look_averaged(name):
    assert not is_averaged(name)


def test_the_folder_of_a_run_stands_for_its_averaged_weights(tmp_path):
    model = MambaIRv2(CONFIG)
    save_model(model, tmp_path / "ema.safetensors")
    assert find_weights(tmp_path) == tmp_path / "ema.safetensors"
    assert load_model(tmp_path).config == CONFIG
    (tmp_path / "ema.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"is a folder without ema\.safetensors or model\.safetensors; give a"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [{"epoch": 3, "loss": 0.1}, {"encoder": {"weight": torch.ones(2)}}, {}])
def test_a_checkpoint_without_a_network_names_its_keys(content, tmp_path):
    with pytest.raises(WeightsError, match=", ".join(content) or "nothing") as error:
        loaded(content, tmp_path)
    assert "fetch" not in str(error.value)


def test_torchscript_is_named(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(torch.nn.Conv2d(3, 3, 3), torch.rand(1, 3, 8, 8)).save(str(tmp_path / "script.pt"))
    with pytest.raises(WeightsError, match="is a TorchScript program, not weights; save the state_dict") as error:
        load_model(tmp_path / "script.pt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["conv_first.bias", "upsample.0.weight", "norm.weight"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_are_not_finite_are_refused_by_name(value, name, suffix, tmp_path):
    model = MambaIRv2(CONFIG)
    parameter = {"conv_first.bias": model.conv_first.bias, "norm.weight": model.norm.weight}.get(name)
    with torch.no_grad():
        (model.head.conv.weight if parameter is None else parameter).view(-1)[-1] = value
    save_model(model, tmp_path / f"bad{suffix}")
    with pytest.raises(WeightsError, match=f"{name} holds NaN or infinity"):
        load_model(tmp_path / f"bad{suffix}")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_checked_too(dtype, tmp_path):
    content = {name: tensor.to(dtype) for name, tensor in state().items()}
    assert loaded(content, tmp_path) == 0
    content["conv_first.bias"][0] = float("nan")
    with pytest.raises(WeightsError, match=r"conv_first\.bias holds NaN"):
        loaded(content, tmp_path)
