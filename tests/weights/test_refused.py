"""Files that must be refused in one line, and code in a file that must not run."""

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

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.load import load_model
from mambairv2.weights.read_config import read_config
from mambairv2.weights.save import published_state, save_model
from small_weights import SMALL


def refused(path, message):
    with suppress(WeightsError):
        read_config(path)  # may know less, but raises nothing else
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


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
    with pytest.raises(WeightsError, match=r"can run code|not a weights file") as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists()  # it would have


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
    refused(path, r"is damaged|not a whole safetensors|not a weights file")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_files_that_are_no_weights(tmp_path, suffix):
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(b"")
    refused(path, "is empty")
    for content in (b"hello, this is a text\n" * 9, b"<!DOCTYPE html><html></html>", b"version https://git-lfs"):
        path.write_bytes(content)
        refused(path, "not a weights file" if suffix == "pth" else "not a whole safetensors")
    refused(tmp_path, "is a folder")
    refused(tmp_path / "none.pth", "no such weights; give a file, or one of the packaged names")


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
    return json.dumps({**SMALL.to_dict(), **values})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "configuration is not valid"),
        ("[]", "configuration is not valid"),
        ('{"depth": 1}', "unknown configuration field 'depth'"),
        ('{"upscale": "two"}', "configuration is not valid"),
        (tiny(depths=[65536, 1]), r"says depths \(65536, 1\), it has \(1, 2\)"),
        (tiny(depths=[10**9, 1]), "its configuration is not valid .*1 to 65536 layers"),
        (tiny(embed_dim=12 * 10**11), "its configuration is not valid .*1 to 65536"),
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
    for read, made in ((load_model, MambaIRv2), (read_config, MambaIRv2Config)):
        with suppress(WeightsError):
            assert isinstance(read(path), made)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    small = MambaIRv2(replace(SMALL, depths=(1,), num_heads=(1,), window_size=1))
    save_model(small, folder / "w.safetensors")
    save_model(small, folder / "w.pth")
    torch.save({"params": published_state(small)}, folder / "w.old.pth", _use_new_zipfile_serialization=False)
    return {path.name.partition(".")[2]: (path, path.read_bytes()) for path in folder.iterdir()}


@pytest.mark.parametrize(
    "header",
    [b"", b"[]", b"{", b"\xff\xfe", b'{"a": 3}', b'{"a": {"shape": 3}}', b'{"a": {"shape": [Infinity]}}',
     b'{"a": {"shape": [-1]}}', b'{"a": {"shape": [1e400, true]}}', b'{"__metadata__": 7}', b"[" * 10**5],
)  # fmt: skip
def test_headers_that_lie_are_refused(tmp_path, header):
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WeightsError, match=r"w\.safetensors: is not a whole safetensors file") as caught:
        read_config(path)
    assert "\n" not in str(caught.value)
    path.write_bytes(b"\xff" * 8 + header)
    with pytest.raises(WeightsError, match="header too large"):
        read_config(path)
