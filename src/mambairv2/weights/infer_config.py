"""TODO weights.infer_config."""

from __future__ import annotations

import re
from dataclasses import replace

from torch import Tensor

from mambairv2.network.config import MambaIRv2Config, Upsampler

State = dict[str, Tensor]


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
