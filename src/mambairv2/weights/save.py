"""Saving weights in the published layout, as safetensors or .pth."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save as serialize

from mambairv2.files.atomic import write_whole
from mambairv2.network.attention import relative_position_index
from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.published_names import to_published
from mambairv2.weights.read_tensors import State

NOT_IN_TENSORS = ("img_range", "prompt_order", "prompt_target", "semantic_neighbouring")
"""Fields that change the result but cannot be read off the tensors."""


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
        write_whole(path, _in_order(serialize(state, notes)))
    elif path.suffix in (".pth", ".pt"):
        for name in NOT_IN_TENSORS:
            value = getattr(config, name)
            if value != getattr(MambaIRv2Config(), name):
                raise ValueError(f"{path}: a .pth cannot say {name}={value!r}; use .safetensors")
        index = relative_position_index(config.window_size, torch.device("cpu"))
        write_whole(path, _torch_bytes({"params": {**state, "relative_position_index_SA": index}}))
    else:
        raise ValueError(f"{path}: weights are written as .safetensors or .pth")


def published_state(model: MambaIRv2) -> State:
    """Return the parameters under the names of published checkpoints, on the CPU."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return to_published(state, model.config)


def _in_order(content: bytes) -> bytes:
    """Put the metadata of a safetensors file in order, which the library leaves to chance, so that files are equal."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def _torch_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
