"""Weights that are saved come back: every layout, prefix and container, and nothing half written."""

import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.load import load_model
from mambairv2.weights.read_config import read_metadata
from mambairv2.weights.read_tensors import load_state
from mambairv2.weights.save import save_model
from small_weights import SMALL, same


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "pt"])
def test_round_trip_in_float64(model, tmp_path, suffix):
    """float64 comes back bit for bit: nothing passes through float32."""
    path = tmp_path / "new" / f"w.{suffix}"
    save_model(model, path)
    same(load_model(path, dtype=torch.float64), model)
    assert load_model(path).conv_first.weight.dtype == torch.float32
    assert os.listdir(path.parent) == [path.name]


def test_metadata(model, tmp_path):
    path = tmp_path / "w.safetensors"
    save_model(model, path, {"task": "sr", "config": "not to be had"})
    said = read_metadata(path)
    assert said["task"] == "sr"
    assert MambaIRv2Config.from_dict(json.loads(said["config"])) == SMALL
    save_model(model, tmp_path / "w.pth", {"task": "sr"})
    assert read_metadata(tmp_path / "w.pth") == {}


def test_equal_weights_are_equal_files(model, tmp_path):
    """Digests of weights stand in manifests and cards."""
    for number in range(8):
        save_model(model, tmp_path / f"{number}.safetensors", {"task": "sr", "said": "é ×2", "iteration": "4"})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    same(load_model(tmp_path / "0.safetensors", dtype=torch.float64), model)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "net_g."])
@pytest.mark.parametrize("container", [None, "params", "params_ema", "state_dict", "model"])
def test_prefixes_and_containers(model, state, tmp_path, prefix, container):
    state = {prefix + name: tensor for name, tensor in state.items()}
    torch.save(state if container is None else {container: state, "epoch": 3}, tmp_path / "w.pth")
    same(load_model(tmp_path / "w.pth", dtype=torch.float64), model)


def test_prefixes_in_safetensors(model, state, tmp_path):
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "w.safetensors")
    same(load_model(tmp_path / "w.safetensors", dtype=torch.float64), model)


def test_averaged_weights_are_preferred(model, state, tmp_path):
    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    torch.save({"params": other, "params_ema": state}, tmp_path / "w.pth")
    same(load_model(tmp_path / "w.pth", dtype=torch.float64), model)


def test_old_pth_files(model, state, tmp_path):
    torch.save({"params": state}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    same(load_model(tmp_path / "w.pth", dtype=torch.float64), model)


def test_published_buffers(model, state, tmp_path):
    """What the published code stores besides parameters is left out when read, and written for it in .pth."""
    index = torch.zeros(256, 256).long()
    buffers = {"relative_position_index_SA": index, "layers.0.attn_mask": torch.zeros(1)}
    torch.save({"params": {**state, **buffers}}, tmp_path / "w.pth")
    same(load_model(tmp_path / "w.pth", dtype=torch.float64), model)
    save_model(model, tmp_path / "ours.pth")
    written = torch.load(tmp_path / "ours.pth", weights_only=True)["params"]
    assert set(written) == {*state, "relative_position_index_SA"}
    assert written["relative_position_index_SA"].shape == (256, 256)
    assert int(written["relative_position_index_SA"].max()) == 31 * 31 - 1


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_order": "sorted"},
        {"prompt_target": "delta"},
        {"semantic_neighbouring": False},
        {"img_range": 255.0},
    ],
    ids=str,
)
def test_what_tensors_do_not_show_is_kept_by_safetensors_only(tmp_path, changes):
    model = MambaIRv2(replace(SMALL, **changes))
    save_model(model, tmp_path / "w.safetensors")
    same(load_model(tmp_path / "w.safetensors"), model.eval())
    with pytest.raises(ValueError, match=f"a .pth cannot say {next(iter(changes))}="):
        save_model(model, tmp_path / "w.pth")
    assert not (tmp_path / "w.pth").exists()


def test_load_state(model, state, tmp_path):
    torch.save({"params": state}, tmp_path / "w.pth")
    found = {name: tensor.dtype for name, tensor in load_state(tmp_path / "w.pth").items()}
    assert found == dict.fromkeys(model.state_dict(), torch.float64)


def test_loaded_weights_compute_the_same(model, tmp_path):
    save_model(model, tmp_path / "w.safetensors")
    x = torch.rand(1, 3, 9, 18, dtype=torch.float64)
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "w.safetensors", dtype=torch.float64)(x), model.eval()(x))


def test_a_file_of_another_suffix_is_read_by_its_content(model, tmp_path):
    save_model(model, tmp_path / "w.safetensors")
    os.rename(tmp_path / "w.safetensors", tmp_path / "w.bin")
    same(load_model(tmp_path / "w.bin", dtype=torch.float64), model)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_failed_write_leaves_the_old_file(model, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"w.{suffix}"
    save_model(model, path)
    whole = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            with pytest.raises(OSError, match="No space left"):
                save_model(MambaIRv2(SMALL), path)
        assert path.read_bytes() == whole
        assert os.listdir(tmp_path) == [path.name]


def test_other_suffixes_are_not_written(model, tmp_path):
    with pytest.raises(ValueError, match=r"written as \.safetensors or \.pth"):
        save_model(model, tmp_path / "w.bin")
    assert not list(tmp_path.iterdir())
