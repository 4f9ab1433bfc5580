"""Weights: round trips, published layouts, the network read off the tensors, files that must be refused."""

import json
import os
import pickle
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mambairv2.network.config import VARIANTS, MambaIRv2Config, variant
from mambairv2.network.model import MambaIRv2
from mambairv2.weights import infer_config, packaged
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.load import load_model, load_state, read_metadata
from mambairv2.weights.packaged import find_weights, pretrained
from mambairv2.weights.save import published_state, save_model

TINY = MambaIRv2Config(
    embed_dim=12, d_state=3, depths=(1, 2), num_heads=(2, 3), inner_rank=4, num_tokens=5, ffn_kernel_size=3
)
HEADS = [
    {"upscale": 1, "upsampler": ""},
    {"upscale": 2},
    {"upscale": 3},
    {"upscale": 4},
    {"upscale": 2, "upsampler": "pixelshuffle"},
    {"upscale": 3, "upsampler": "pixelshuffle"},
    {"upscale": 4, "upsampler": "pixelshuffle"},
    {"upscale": 4, "upsampler": "nearest+conv"},
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MambaIRv2(TINY).double()


@pytest.fixture
def state(model):
    return published_state(model)


def same(found, expected):
    assert found.config == expected.config
    assert not found.training
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
        assert found.get_parameter(name).requires_grad, name


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
    assert MambaIRv2Config.from_dict(json.loads(said["config"])) == TINY
    save_model(model, tmp_path / "w.pth", {"task": "sr"})
    assert read_metadata(tmp_path / "w.pth") == {}


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


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("changes", HEADS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_is_read_off_the_tensors(tmp_path, name, changes, channels):
    changes = {"upsampler": "pixelshuffledirect", "in_channels": channels, **changes}
    heads = VARIANTS[name].num_heads[:2]
    check_inferred(replace(variant(name), depths=(1, 2), num_heads=heads, **changes), tmp_path)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_read_off_its_tensors(name):
    """With all its layers, from shapes alone."""
    for upscale in (1, 2, 3, 4):
        config = variant(name, upscale=upscale)
        with torch.device("meta"):
            assert infer_config.infer_config(MambaIRv2(config).state_dict()) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"resi_connection": "3conv"},
        {"window_size": 8},
        {"window_size": 1},
        {"ffn": "conv", "mlp_ratio": 1.5},
        {"ffn": "conv", "mlp_ratio": 7 / 3},
        {"ffn_kernel_size": 7},
        {"scan_directions": 4},
        {"attentive_scan": False},
        {"depths": (3,), "num_heads": (1,)},
        {"depths": (1,) * 11, "num_heads": (1,) * 11},
    ],
    ids=str,
)
def test_unusual_networks_are_read_off_the_tensors(tmp_path, changes):
    check_inferred(replace(TINY, **changes), tmp_path)


def check_inferred(config, folder):
    model = MambaIRv2(config)
    save_model(model, folder / "w.pth")
    found = load_model(folder / "w.pth")
    plain = {"d_state": 8, "num_tokens": 64, "inner_rank": 32}
    unused = {"attentive_scan": list(plain), "scan_directions": ["num_tokens", "inner_rank"]}
    idle = unused["attentive_scan"] if not config.attentive_scan else []
    idle = idle or (unused["scan_directions"] if config.scan_directions > 1 else [])
    assert found.config.hidden_dim == config.hidden_dim
    assert replace(found.config, mlp_ratio=config.mlp_ratio) == replace(config, **{n: plain[n] for n in idle})
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


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
    model = MambaIRv2(replace(TINY, **changes))
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


class Payload:
    """Unpickled, it would run a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("style", ["zip", "old", "pickle", "protocol 0"])
def test_code_in_a_file_is_not_run(state, tmp_path, style):
    path, trace = tmp_path / "w.pth", tmp_path / "ran"
    content = {"params": state, "more": Payload(trace)}
    if style in ("zip", "old"):
        torch.save(content, path, _use_new_zipfile_serialization=style == "zip")
    else:
        path.write_bytes(pickle.dumps({"more": Payload(trace)}, 0 if style == "protocol 0" else 2))
    with pytest.raises(WeightsError, match=r"can run code|no weights file") as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists()  # it would have


def refused(path, message):
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["safetensors", "pth", "old.pth"])
@pytest.mark.parametrize("part", [1, 9, 100, 0.1, 0.5, 0.99])
def test_truncated_files(model, state, tmp_path, kind, part):
    path = tmp_path / f"w.{kind}"
    if kind == "old.pth":
        torch.save({"params": state}, path, _use_new_zipfile_serialization=False)
    else:
        save_model(model, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: part if isinstance(part, int) else int(part * len(whole))])
    refused(path, r"is damaged|no whole safetensors|no weights file")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_files_that_are_no_weights(tmp_path, suffix):
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(b"")
    refused(path, "is empty")
    for content in (b"hello, this is a text\n" * 9, b"<!DOCTYPE html><html></html>", b"version https://git-lfs"):
        path.write_bytes(content)
        refused(path, "no weights file" if suffix == "pth" else "no whole safetensors")
    refused(tmp_path, "is a folder")
    refused(tmp_path / "none.pth", "no such weights; give a file, or one of the packaged names")


def test_a_file_of_another_suffix_is_read_by_its_content(model, tmp_path):
    save_model(model, tmp_path / "w.safetensors")
    os.rename(tmp_path / "w.safetensors", tmp_path / "w.bin")
    same(load_model(tmp_path / "w.bin", dtype=torch.float64), model)


FOREIGN = {
    "classifier": {"fc.weight": (10, 20)},
    "swinir": {
        "conv_first.weight": (60, 3, 3, 3),
        "conv_first.bias": (60,),
        "layers.0.residual_group.blocks.0.norm1.weight": (60,),
        "layers.0.residual_group.blocks.0.attn.relative_position_bias_table": (225, 6),
        "conv_after_body.weight": (60, 60, 3, 3),
        "upsample.0.weight": (12, 60, 3, 3),
    },
    "convolutions": {"conv_first.weight": (64, 3, 3, 3), "body.0.weight": (64, 64, 3, 3)},
    "nothing": {},
    "no channels": {"conv_first.weight": (0, 0, 3, 3)},
    "a number": {"conv_first.weight": ()},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_networks(tmp_path, name):
    state = {key: torch.zeros(shape) for key, shape in FOREIGN[name].items()}
    torch.save({"params": state}, tmp_path / "w.pth")
    refused(tmp_path / "w.pth", "holds no MambaIRv2 weights")


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], "text", 5])
def test_checkpoints_without_a_state(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    refused(tmp_path / "w.pth", f"holds a {type(content).__name__}, not a state_dict")


def changed(state, tmp_path, **tensors):
    state = {**state, **tensors}
    path = tmp_path / "w.safetensors"
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, path)
    return path


def test_a_missing_tensor_is_named(state, tmp_path):
    path = changed(state, tmp_path, **{"norm.bias": None})
    refused(path, r"no whole MambaIRv2 weights \(norm.bias is missing")


def test_a_tensor_too_many_is_named(state, tmp_path):
    path = changed(state, tmp_path, extra=torch.zeros(1))
    refused(path, r"no whole MambaIRv2 weights \(extra is not of this network")


def test_a_wrong_shape_is_named(state, tmp_path):
    path = changed(state, tmp_path, **{"norm.bias": torch.zeros(13)})
    refused(path, r"norm.bias is \(13,\) instead of \(12,\)")


def test_whole_numbers_are_no_weights(state, tmp_path):
    path = changed(state, tmp_path, **{"norm.bias": torch.zeros(12).int()})
    refused(path, r"norm.bias holds torch.int32")


def test_a_gap_in_the_layers(state, tmp_path):
    name = "layers.1.residual_group.layers.{}.norm1.weight"
    tensors = {name.format(1): None, name.format(99999999): state[name.format(1)]}
    refused(changed(state, tmp_path, **tensors), "gaps")


def tiny(**values):
    return json.dumps({**TINY.to_dict(), **values})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "configuration is not valid"),
        ("[]", "configuration is not valid"),
        ('{"depth": 1}', "unknown configuration field 'depth'"),
        ('{"upscale": "two"}', "configuration is not valid"),
        (tiny(depths=[10**9, 1]), r"says depths \(1000000000, 1\), it has \(1, 2\)"),
        (tiny(embed_dim=12 * 10**11), "defines no network|instead of"),
        (tiny(num_tokens=6), "the file is not consistent"),
    ],
)
def test_a_configuration_that_lies(state, tmp_path, config, message):
    save_file(state, tmp_path / "w.safetensors", {"config": config})
    refused(tmp_path / "w.safetensors", message)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["safetensors", "pth", "old.pth"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_read(kind, data, small_files):
    """Whatever a byte is changed to, the answer is a network or a WeightsError, never another error."""
    path, whole = small_files[kind]
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, min(len(whole), 4000) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(WeightsError):
        assert isinstance(load_model(path), MambaIRv2)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    small = MambaIRv2(replace(TINY, depths=(1,), num_heads=(1,), window_size=1))
    save_model(small, folder / "w.safetensors")
    save_model(small, folder / "w.pth")
    torch.save({"params": published_state(small)}, folder / "w.old.pth", _use_new_zipfile_serialization=False)
    return {path.name.partition(".")[2]: (path, path.read_bytes()) for path in folder.iterdir()}


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
                save_model(MambaIRv2(TINY), path)
        assert path.read_bytes() == whole
        assert os.listdir(tmp_path) == [path.name]


def test_other_suffixes_are_not_written(model, tmp_path):
    with pytest.raises(ValueError, match=r"written as \.safetensors or \.pth"):
        save_model(model, tmp_path / "w.bin")
    assert not list(tmp_path.iterdir())


def test_packaged_names_come_first(model, tmp_path, monkeypatch):
    monkeypatch.setattr(packaged, "PRETRAINED", tmp_path)
    save_model(model, tmp_path / "sr-x2.safetensors")
    assert list(pretrained()) == ["sr-x2"]
    assert find_weights("sr-x2") == tmp_path / "sr-x2.safetensors"
    same(load_model("sr-x2", dtype=torch.float64), model)
    with pytest.raises(WeightsError, match=r"sr-x9: no such weights; .* packaged names: sr-x2"):
        find_weights("sr-x9")


@pytest.mark.parametrize("address", ["hf://owner", "hf://owner/repo", "hf://"])
def test_hub_addresses_are_checked(address):
    with pytest.raises(WeightsError, match=r"hf://owner/repo/file|mambairv2\[hub\]"):
        find_weights(address)


def test_packaged_weights_load():
    for name in pretrained():
        assert isinstance(load_model(name), MambaIRv2), name
