"""Loading weights: safetensors and .pth files into a network."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.blueprint import blueprint
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.header import first_bytes, is_safetensors, not_whole
from mambairv2.weights.infer_config import config_of
from mambairv2.weights.onnx_header import is_onnx
from mambairv2.weights.packaged import find_weights
from mambairv2.weights.published_names import ANCHOR, is_averaged, strip, to_ours

State = dict[str, Tensor]
"""Tensors by name."""
_DEEP = 4
"""Levels of a .pth at which its tensors are looked for."""


def load_model(
    path_or_name: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> MambaIRv2:
    """Load a network in evaluation mode from a packaged name (`sr-x2`), a file, or `hf://owner/repo/file`.

    Reads safetensors and .pth in the published layout, under any key (`params`, `params_ema`, `generator`, …) and any
    prefix (`module.`, …); of several networks in a file the averaged one is taken. Variant, scale, channels and head
    are read off the tensors. Weights go to dtype directly from the dtype they are stored in. No code in a file is ever
    run. Raises WeightsError for a file that is missing, damaged, unsafe or of another network, and for tensors that
    are not finite.
    """
    path = find_weights(path_or_name)
    return model_of(*_read(path), path, device=device, dtype=dtype)


def model_of(
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> MambaIRv2:
    """Return the network, in evaluation mode, of tensors that were read already; its checks are those of `load_model`.

    state: tensors under published names or ours, under any prefix. metadata: that of a safetensors file, or empty.
    source: what an error names. A tensor that is contiguous and of this device and dtype is shared, not copied.
    """
    path = Path(source)
    state = strip(state, path)
    _check_finite(state, path)
    state = to_ours(state)
    model = _empty_model(config_of({name: tuple(t.shape) for name, t in state.items()}, metadata, path), path)
    _check_tensors(state, model.state_dict(), path)
    model.load_state_dict({name: t.to(device, dtype).contiguous() for name, t in state.items()}, assign=True)
    return model.requires_grad_(True).eval()


def load_state(path_or_name: str | Path) -> State:
    """Return a file's tensors under this project's names, as stored; raises WeightsError as `load_model`."""
    path = find_weights(path_or_name)
    return to_ours(strip(_read(path)[0], path))


def _read(path: Path) -> tuple[State, dict[str, str]]:
    """Return the tensors of a file under their own names, and its metadata."""
    head = first_bytes(path)
    if is_safetensors(path, head):
        return _read_safetensors(path)
    return _read_torch(path, head), {}


def _read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
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


def _check_finite(state: State, path: Path) -> None:
    for name, tensor in state.items():
        if (
            tensor.is_floating_point()
            and not torch.isfinite(tensor.to(torch.promote_types(tensor.dtype, torch.float32))).all()
        ):
            raise WeightsError(
                f"{path}: {name} holds NaN or infinity, as after a training that diverged; take an earlier checkpoint"
            )


def _empty_model(config: MambaIRv2Config, path: Path) -> MambaIRv2:
    try:
        return blueprint(config)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        if "bad_alloc" in str(error):
            raise MemoryError("not enough memory for the network") from None
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
