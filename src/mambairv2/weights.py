"""Weights in and out: the published layout and ours, the configuration read off the tensors, safetensors and .pth."""

from __future__ import annotations

import json
import os
import pickle
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from mambairv2.config import MambaIRv2Config, Upsampler
from mambairv2.model import MambaIRv2

PRETRAINED = Path(__file__).parent / "pretrained"
State = dict[str, Tensor]


class WeightsError(ValueError):
    """A file that holds no MambaIRv2 weights; the message says which file, what it is, and what to do."""


# Published name ↔ ours; `#` stands for a number. Read from the left to load, from the right to save.
NAMES: tuple[tuple[str, str], ...] = (
    ("patch_embed.norm.", "norm_first."),
    ("layers.#.residual_group.layers.#.wqkv.", "groups.#.layers.#.attention.qkv."),
    (
        "layers.#.residual_group.layers.#.win_mhsa.relative_position_bias_table",
        "groups.#.layers.#.attention.bias_table",
    ),
    ("layers.#.residual_group.layers.#.win_mhsa.proj.", "groups.#.layers.#.attention.proj."),
    ("layers.#.residual_group.layers.#.convffn#.", "groups.#.layers.#.ffn#."),
    ("layers.#.residual_group.layers.#.assm.selectiveScan.x_proj_", "groups.#.layers.#.scan.x_proj_"),
    ("layers.#.residual_group.layers.#.assm.selectiveScan.dt_projs_", "groups.#.layers.#.scan.dt_"),
    ("layers.#.residual_group.layers.#.assm.selectiveScan.A_logs", "groups.#.layers.#.scan.A_log"),
    ("layers.#.residual_group.layers.#.assm.selectiveScan.Ds", "groups.#.layers.#.scan.D"),
    ("layers.#.residual_group.layers.#.assm.in_proj.0.", "groups.#.layers.#.scan.in_proj."),
    ("layers.#.residual_group.layers.#.assm.CPE.0.", "groups.#.layers.#.scan.position."),
    ("layers.#.residual_group.layers.#.assm.embeddingB.", "groups.#.layers.#.scan.pool_left."),
    ("layers.#.residual_group.layers.#.embeddingA.", "groups.#.layers.#.scan.pool_right."),
    ("layers.#.residual_group.layers.#.assm.", "groups.#.layers.#.scan."),
    ("layers.#.residual_group.layers.#.", "groups.#.layers.#."),
    ("layers.#.conv.", "groups.#.conv."),
    ("conv_before_upsample.0.", "head.conv_before."),
    ("conv_up", "head.conv_up"),
    ("conv_hr.", "head.conv_hr."),
    ("conv_last.", "head.conv_last."),
)
# Inside a feed-forward, and in the head, names depend on the kind.
FFN_NAMES = {
    "gated": (("sg.norm.", "norm."), ("sg.conv.", "conv.")),
    "conv": (("dwconv.depthwise_conv.0.", "conv."),),
}
HEAD_NAMES = {
    "pixelshuffledirect": (("upsample.0.", "head.conv."),),
    "pixelshuffle": (("upsample.0.", "head.convs.0."), ("upsample.2.", "head.convs.1.")),
    "nearest+conv": (),
    "": (),
}
# Buffers of the published code, which this network computes when it needs them.
_BUFFERS = re.compile(r"(relative_position_index|attn_mask)")
_CONTAINERS = ("params_ema", "params", "state_dict", "model", "net")


def load_model(
    path_or_name: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> MambaIRv2:
    """Load a network in evaluation mode from a packaged name (`sr-x2`), a file, or `hf://owner/repo/file`.

    Reads safetensors and .pth in the published layout, with or without `params`, `params_ema` or a prefix
    such as `module.`; variant, scale, channels and head are read off the tensors. Weights go to dtype directly
    from the dtype they are stored in. No code in a file is ever run.
    Raises WeightsError for a file that is missing, damaged, unsafe or of another network.
    """
    path = find_weights(path_or_name)
    state, metadata = _read(path)
    state = _ours(_strip(state, path))
    config = _config(state, metadata, path)
    with torch.device("meta"):
        model = MambaIRv2(config)
    _check_tensors(state, model.state_dict(), path)
    model.load_state_dict({name: t.to(device, dtype) for name, t in state.items()}, assign=True)
    return model.requires_grad_(True).eval()


def load_state(path_or_name: str | Path) -> State:
    """Return the tensors of a file under this project's names, as stored; raises WeightsError as `load_model`."""
    path = find_weights(path_or_name)
    return _ours(_strip(_read(path)[0], path))


def read_metadata(path_or_name: str | Path) -> dict[str, str]:
    """Return what a safetensors file says of itself; empty for other files."""
    return _read(find_weights(path_or_name))[1]


def save_model(model: MambaIRv2, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network in the published layout, whole or not at all: safetensors, or .pth with `params`.

    The safetensors file carries the configuration too, and the given metadata (text by text). The .pth file
    carries the buffer that the published code expects, so that it loads there with strict=True.
    Raises ValueError for another suffix.
    """
    path = Path(path)
    state = published_state(model)
    if path.suffix == ".safetensors":
        notes = {"format": "pt", "config": json.dumps(model.config.to_dict()), **(metadata or {})}
        _write(path, serialize(state, notes))
    elif path.suffix in (".pth", ".pt"):
        from mambairv2.ops.window_attention import relative_position_index

        index = relative_position_index(model.config.window_size)
        _write(path, _torch_bytes({"params": {**state, "relative_position_index_SA": index}}))
    else:
        raise ValueError(f"{path}: weights are written as .safetensors or .pth")


def published_state(model: MambaIRv2) -> State:
    """Return the parameters under the names of published checkpoints, on the CPU."""
    rules = _rules(model.config.ffn, model.config.upsampler)
    return {
        _rename(name, rules, backwards=True): tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }


def pretrained() -> dict[str, Path]:
    """Return the weights that came with this package, by name."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def find_weights(path_or_name: str | Path) -> Path:
    """Return the file for a packaged name, a path or an `hf://owner/repo/file` address; raises WeightsError."""
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
        head = path.open("rb").read(16)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise WeightsError(f"{path}: is empty; fetch it again")
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return _read_safetensors(path)
    return _read_torch(path), {}


def _read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: is no whole safetensors file ({error}); fetch it again") from None


def _read_torch(path: Path) -> State:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error) or "weights_only" in str(error):
            raise WeightsError(
                f"{path}: holds Python objects besides tensors and was not opened, since reading them can run "
                "code; save the state_dict alone"
            ) from None
        raise WeightsError(f"{path}: is no weights file (not a PyTorch checkpoint)") from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, AttributeError, IndexError, TypeError) as error:
        reason = str(error).splitlines()[0][:120]
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
    names = (name for name in state if name.startswith(prefix) and not _BUFFERS.search(name))
    return {name[len(prefix) :]: state[name] for name in names}


def _ours(state: State) -> State:
    ffn = "gated" if any(".sg." in name for name in state) else "conv"
    head: Upsampler = "pixelshuffle" if "conv_before_upsample.0.weight" in state else "pixelshuffledirect"
    rules = _rules(ffn, head)
    return {_rename(name, rules): tensor for name, tensor in state.items()}


def _rules(ffn: str, head: Upsampler) -> tuple[tuple[str, str], ...]:
    inner = (
        (f"layers.#.residual_group.layers.#.convffn#.{theirs}", f"groups.#.layers.#.ffn#.{ours}")
        for theirs, ours in FFN_NAMES[ffn]
    )
    return (*inner, *HEAD_NAMES[head], *NAMES)


def _rename(name: str, rules: tuple[tuple[str, str], ...], backwards: bool = False) -> str:
    for theirs, ours in rules:
        old, new = (ours, theirs) if backwards else (theirs, ours)
        match = re.match(re.escape(old).replace(r"\#", r"(\d+)"), name)
        if match:
            numbers = iter(match.groups())
            return re.sub("#", lambda _, n=numbers: next(n), new) + name[match.end() :]  # type: ignore[misc]
    return name


def _config(state: State, metadata: Mapping[str, str], path: Path) -> MambaIRv2Config:
    if "config" in metadata:
        try:
            return MambaIRv2Config.from_dict(json.loads(metadata["config"]))
        except (ValueError, TypeError) as error:
            raise WeightsError(f"{path}: its configuration is not valid ({error})") from None
    try:
        return infer_config(state)
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{path}: holds no MambaIRv2 weights ({type(error).__name__}: {error}); it may be of another network"
        ) from None


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
    for name in state:
        match = re.fullmatch(pattern, name)
        if match:
            depths[int(match[1])] = max(depths.get(int(match[1]), 0), int(match[2]) + 1)
    if sorted(depths) != list(range(len(depths))) or not depths:
        raise ValueError("no attentive layers")
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
        raise WeightsError(f"{path}: holds no whole MambaIRv2 weights ({what}; {len(missing) + len(extra)} differ)")
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            shapes = f"{tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
            raise WeightsError(f"{path}: {name} is {shapes}; the file is not consistent")
        if not state[name].is_floating_point():
            raise WeightsError(f"{path}: {name} holds {state[name].dtype}, not floating-point weights")


def _torch_bytes(content: object) -> bytes:
    import io

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Write beside, then rename: the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
