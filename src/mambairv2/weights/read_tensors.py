"""Reading the tensors of a file: safetensors, or .pth without ever running code in it."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from mambairv2.weights.errors import WeightsError
from mambairv2.weights.header import first_bytes, is_safetensors, not_whole, read_header
from mambairv2.weights.onnx_header import is_onnx
from mambairv2.weights.packaged import find_weights
from mambairv2.weights.published_names import ANCHOR, is_averaged, strip, to_ours

State = dict[str, Tensor]
"""Tensors by name."""
_DEEP = 4
"""Levels of a .pth at which its tensors are looked for."""


def load_state(path_or_name: str | Path) -> State:
    """Return a file's tensors under this project's names, as stored; raises WeightsError as `load_model`."""
    path = find_weights(path_or_name)
    return to_ours(strip(read_tensors(path)[0], path))


def read_tensors(path: Path) -> tuple[State, dict[str, str]]:
    """Return the tensors of a file under their own names, and its metadata."""
    head = first_bytes(path)
    if is_safetensors(path, head):
        return _read_safetensors(path)
    return _read_torch(path, head), {}


def _read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    try:
        # From bytes: a third of the time that opening by name takes, and any name is taken.
        return safetensors.torch.load(path.read_bytes()), read_header(path)[1]
    except (SafetensorError, OSError) as error:
        raise not_whole(path, error) from None


def _read_torch(path: Path, head: bytes) -> State:
    if is_onnx(path):
        raise WeightsError(f"{path}: is an ONNX file, which `mambairv2 restore` runs; here give the weights themselves")
    if not head.startswith((b"PK", b"\x80")):  # a zip archive, or a pickle as torch once wrote
        raise WeightsError(f"{path}: is not a weights file (it begins with {head[:8]!r})")
    if _is_torchscript(path):
        raise WeightsError(f"{path}: is a TorchScript program, not weights; save the state_dict of its network")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path}: holds more than tensors and was not opened, since reading Python objects can run code; "
            "save the state_dict alone"
        ) from None
    except Exception as error:  # a damaged file fails in torch, zip and pickle in many ways
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise WeightsError(f"{path}: is damaged or not a PyTorch checkpoint ({reason}); fetch it again") from None
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a state_dict")
    found = _networks(content)
    if not found:
        keys = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise WeightsError(f"{path}: holds no MambaIRv2 weights (no {ANCHOR}; its keys: {keys})")
    name = min(found, key=lambda name: (not is_averaged(name), name.count("/")))
    return found[name]


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _networks(content: Mapping[object, object], path: str = "", depth: int = _DEEP) -> dict[str, State]:
    """Return the mappings in a checkpoint that hold a network, by the keys that lead there: `state/params_ema`."""
    tensors = {str(name): t for name, t in content.items() if isinstance(t, Tensor)}
    found = {path: tensors} if any(name.endswith(ANCHOR) for name in tensors) else {}
    for name, inner in content.items():
        if isinstance(inner, Mapping) and depth:
            found |= _networks(inner, f"{path}/{name}" if path else str(name), depth - 1)
    return found
