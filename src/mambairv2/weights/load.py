"""Weights in and out: safetensors and .pth, the configuration read off the tensors."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.infer_config import State, infer_config
from mambairv2.weights.packaged import find_weights
from mambairv2.weights.published_names import BUFFERS, to_ours

_CONTAINERS = ("params_ema", "params", "state_dict", "model", "net")


def load_model(
    path_or_name: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> MambaIRv2:
    """Load a network in evaluation mode from a packaged name (`sr-x2`), a file, or `hf://owner/repo/file`.

    Reads safetensors and .pth in the published layout, with or without `params`, `params_ema` or a prefix
    such as `module.`; variant, scale, channels and head are read off the tensors. Weights go to dtype
    directly from the dtype they are stored in. No code in a file is ever run.
    Raises WeightsError for a file that is missing, damaged, unsafe or of another network.
    """
    path = find_weights(path_or_name)
    state, metadata = _read(path)
    state = to_ours(_strip(state, path))
    model = _empty_model(_config(state, metadata, path), path)
    _check_tensors(state, model.state_dict(), path)
    model.load_state_dict({name: t.to(device, dtype).contiguous() for name, t in state.items()}, assign=True)
    return model.requires_grad_(True).eval()


def load_state(path_or_name: str | Path) -> State:
    """Return a file's tensors under this project's names, as stored; raises WeightsError as `load_model`."""
    path = find_weights(path_or_name)
    return to_ours(_strip(_read(path)[0], path))


def read_metadata(path_or_name: str | Path) -> dict[str, str]:
    """Return what a safetensors file says of itself; empty for other files."""
    return _read(find_weights(path_or_name))[1]


def _read(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise WeightsError(f"{path}: is empty; fetch it again")
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return _read_safetensors(path)
    return _read_torch(path, head), {}


def _read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: is no whole safetensors file ({error}); fetch it again") from None


def _read_torch(path: Path, head: bytes) -> State:
    if not head.startswith((b"PK", b"\x80")):  # a zip archive, or a pickle as torch once wrote
        raise WeightsError(f"{path}: is no weights file (it begins with {head[:8]!r})")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path}: holds more than tensors and was not opened, since reading Python objects can run code; "
            "save the state_dict alone"
        ) from None
    except Exception as error:  # a damaged file fails in torch, zip and pickle in many ways
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise WeightsError(f"{path}: is damaged or no PyTorch checkpoint ({reason}); fetch it again") from None
    for name in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a state_dict")
    return {str(name): t for name, t in content.items() if isinstance(t, Tensor)}


def _strip(state: State, path: Path) -> State:
    """Drop a common prefix (`module.`, `_orig_mod.`, …) and the buffers of the published code."""
    anchor = "conv_first.weight"
    prefixes = sorted({name[: -len(anchor)] for name in state if name.endswith(anchor)}, key=len)
    if not prefixes:
        some = ", ".join(list(state)[:3]) or "no tensors"
        raise WeightsError(f"{path}: holds no MambaIRv2 weights (no {anchor}; it has {some})")
    prefix = prefixes[0]
    names = (name for name in state if name.startswith(prefix) and not BUFFERS.search(name))
    return {name[len(prefix) :]: state[name] for name in names}


def _config(state: State, metadata: Mapping[str, str], path: Path) -> MambaIRv2Config:
    try:
        config = infer_config(state)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise WeightsError(
            f"{path}: holds no MambaIRv2 weights ({type(error).__name__}: {error}); is it of another network?"
        ) from None
    if "config" not in metadata:
        return config
    try:
        said = MambaIRv2Config.from_dict(json.loads(metadata["config"]))
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: its configuration is not valid ({error})") from None
    if said.depths != config.depths:
        raise WeightsError(f"{path}: its configuration says depths {said.depths}, it has {config.depths}")
    return said


def _empty_model(config: MambaIRv2Config, path: Path) -> MambaIRv2:
    try:
        with torch.device("meta"):
            return MambaIRv2(config)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise WeightsError(f"{path}: its configuration defines no network ({error})") from None


def _check_tensors(state: State, expected: State, path: Path) -> None:
    missing = sorted(set(expected) - set(state))
    extra = sorted(set(state) - set(expected))
    if missing or extra:
        what = f"{missing[0]} is missing" if missing else f"{extra[0]} is not of this network"
        raise WeightsError(
            f"{path}: holds no whole MambaIRv2 weights ({what}; {len(missing) + len(extra)} names differ)"
        )
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            shapes = f"{tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
            raise WeightsError(f"{path}: {name} is {shapes}; the file is not consistent")
        if not state[name].is_floating_point():
            raise WeightsError(f"{path}: {name} holds {state[name].dtype}, not floating-point weights")
