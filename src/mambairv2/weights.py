"""Weights in and out: safetensors and .pth, the configuration read off the tensors."""

from __future__ import annotations

import io
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from mambairv2.config import MambaIRv2Config, Upsampler
from mambairv2.model import MambaIRv2
from mambairv2.names import BUFFERS, to_ours, to_published
from mambairv2.ops.window_attention import relative_position_index
from mambairv2.temporary import write_whole

PRETRAINED = Path(__file__).parent / "pretrained"
State = dict[str, Tensor]


class WeightsError(ValueError):
    """A file that holds no MambaIRv2 weights; the message says which file, what it is, and what to do."""


NOT_IN_TENSORS = ("img_range", "prompt_order", "prompt_target", "semantic_neighbouring")
"""Fields that change the result and that the tensors of a file do not show."""
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


def save_model(model: MambaIRv2, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network in the published layout, whole or not at all: safetensors, or .pth with `params`.

    The safetensors file carries the configuration too, and the given metadata (text by text). The .pth file
    carries the buffer that the published code expects, so that it loads there with strict=True.
    Raises ValueError for another suffix, and for a .pth of a network that tensors alone do not define.
    """
    path, config = Path(path), model.config
    state = published_state(model)
    if path.suffix == ".safetensors":
        notes = {**(metadata or {}), "format": "pt", "config": json.dumps(config.to_dict())}
        write_whole(path, serialize(state, notes))
    elif path.suffix in (".pth", ".pt"):
        for name in NOT_IN_TENSORS:
            value = getattr(config, name)
            if value != getattr(MambaIRv2Config(), name):
                raise ValueError(f"{path}: a .pth cannot say {name}={value!r}; use .safetensors")
        index = relative_position_index(config.window_size)
        write_whole(path, _torch_bytes({"params": {**state, "relative_position_index_SA": index}}))
    else:
        raise ValueError(f"{path}: weights are written as .safetensors or .pth")


def published_state(model: MambaIRv2) -> State:
    """Return the parameters under the names of published checkpoints, on the CPU."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return to_published(state, model.config)


def pretrained() -> dict[str, Path]:
    """Return the weights that came with this package, by name."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def find_weights(path_or_name: str | Path) -> Path:
    """Return the file of a packaged name, a path or `hf://owner/repo/file`; raises WeightsError."""
    name = str(path_or_name)
    if name in pretrained():
        return pretrained()[name]
    if name.startswith("hf://"):
        return _download(name)
    path = Path(path_or_name)
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder; give a .safetensors or .pth file")
    if not path.exists():
        known = ", ".join(pretrained()) or "none"
        raise WeightsError(f"{path}: no such weights; give a file, or one of the packaged names: {known}")
    return path


def _download(address: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise WeightsError(f"{address}: needs `pip install 'mambairv2[hub]'`") from None
    owner, _, rest = address.removeprefix("hf://").partition("/")
    repo, _, file = rest.partition("/")
    if not (owner and repo and file):
        raise WeightsError(f"{address}: write it as hf://owner/repo/file")
    try:
        return Path(hf_hub_download(f"{owner}/{repo}", file))
    except Exception as error:
        raise WeightsError(f"{address}: could not be fetched ({type(error).__name__}: {error})") from error


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


def infer_config(state: State) -> MambaIRv2Config:
    """Read the hyperparameters off the tensors' shapes (this project's names).

    Raises KeyError, naming the tensor, or ValueError where the tensors are of another network.
    """
    dim, channels = state["conv_first.weight"].shape[:2]
    layer = "groups.0.layers.0."
    depths = _count(state, r"groups\.(\d+)\.layers\.(\d+)\.norm1\.weight")
    tables = [state[f"groups.{g}.layers.0.attention.bias_table"] for g in range(len(depths))]
    hidden = state[layer + "ffn1.fc1.weight"].shape[0]
    head, upscale = _infer_head(state, channels)
    config = MambaIRv2Config(
        upscale=upscale,
        in_channels=channels,
        embed_dim=dim,
        depths=depths,
        num_heads=tuple(table.shape[1] for table in tables),
        window_size=(round(tables[0].shape[0] ** 0.5) + 1) // 2,
        mlp_ratio=_ratio(hidden, dim),
        ffn="gated" if layer + "ffn1.norm.weight" in state else "conv",
        ffn_kernel_size=state[layer + "ffn1.conv.weight"].shape[-1],
        upsampler=head,
        resi_connection="1conv" if "conv_after_body.weight" in state else "3conv",
        attentive_scan=layer + "scan.A_log" in state,
    )
    if not config.attentive_scan:
        return config
    config = replace(
        config,
        d_state=state[layer + "scan.A_log"].shape[1],
        scan_directions=state[layer + "scan.x_proj_weight"].shape[0],
    )
    if config.scan_directions > 1:
        return config
    tokens, rank = state[layer + "scan.pool_left.weight"].shape
    return replace(config, num_tokens=tokens, inner_rank=rank)


def _count(state: State, pattern: str) -> tuple[int, ...]:
    depths: dict[int, int] = {}
    found = 0
    for name in state:
        match = re.fullmatch(pattern, name)
        if match:
            found += 1
            depths[int(match[1])] = max(depths.get(int(match[1]), 0), int(match[2]) + 1)
    if not depths:
        raise ValueError("no attentive layers")
    if sorted(depths) != list(range(len(depths))) or sum(depths.values()) != found:
        raise ValueError("the layers have gaps")
    return tuple(depths[g] for g in range(len(depths)))


def _infer_head(state: State, channels: int) -> tuple[Upsampler, int]:
    if "head.conv.weight" in state:
        return "pixelshuffledirect", round((state["head.conv.weight"].shape[0] / channels) ** 0.5)
    if "head.conv_up1.weight" in state:
        return "nearest+conv", 4
    if "head.convs.0.weight" in state:
        first = round((state["head.convs.0.weight"].shape[0] / 64) ** 0.5)
        return "pixelshuffle", 4 if "head.convs.1.weight" in state else first
    if "head.conv_last.weight" in state:
        return "", 1
    raise ValueError("no reconstruction head")


def _ratio(hidden: int, dim: int) -> float:
    """Return the smallest tidy ratio with int(dim · ratio) == hidden."""
    ratio = hidden / dim
    while int(dim * ratio) < hidden:
        ratio += 1e-9
    return ratio


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


def _torch_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
