"""Parameter names of published checkpoints and of this project: one map, read in both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

from mambairv2.network.config import FeedForward, MambaIRv2Config, Upsampler
from mambairv2.weights.errors import WeightsError

Value = TypeVar("Value")
Rules = tuple[tuple[str, str], ...]

# Published name ↔ ours; `#` stands for a number. Read from the left to load, from the right to save.
NAMES: Rules = (
    ("patch_embed.norm.", "norm_first."),
    ("layers.#.residual_group.layers.#.wqkv.", "groups.#.layers.#.attention.qkv."),
    (
        "layers.#.residual_group.layers.#.win_mhsa.relative_position_bias_table",
        "groups.#.layers.#.attention.bias_table",
    ),
    ("layers.#.residual_group.layers.#.win_mhsa.proj.", "groups.#.layers.#.attention.proj."),
    ("layers.#.residual_group.layers.#.convffn#.", "groups.#.layers.#.ffn#."),
    ("layers.#.residual_group.layers.#.assm.selectiveScan.x_proj_", "groups.#.layers.#.attentive_scan.x_proj_"),
    ("layers.#.residual_group.layers.#.assm.selectiveScan.dt_projs_", "groups.#.layers.#.attentive_scan.dt_"),
    ("layers.#.residual_group.layers.#.assm.selectiveScan.A_logs", "groups.#.layers.#.attentive_scan.A_log"),
    ("layers.#.residual_group.layers.#.assm.selectiveScan.Ds", "groups.#.layers.#.attentive_scan.D"),
    ("layers.#.residual_group.layers.#.assm.in_proj.0.", "groups.#.layers.#.attentive_scan.in_proj."),
    ("layers.#.residual_group.layers.#.assm.CPE.0.", "groups.#.layers.#.attentive_scan.position."),
    ("layers.#.residual_group.layers.#.assm.embeddingB.", "groups.#.layers.#.attentive_scan.pool_left."),
    ("layers.#.residual_group.layers.#.embeddingA.", "groups.#.layers.#.attentive_scan.pool_right."),
    ("layers.#.residual_group.layers.#.assm.", "groups.#.layers.#.attentive_scan."),
    ("layers.#.residual_group.layers.#.", "groups.#.layers.#."),
    ("layers.#.conv.", "groups.#.conv."),
    ("conv_before_upsample.0.", "head.conv_before."),
    ("conv_up", "head.conv_up"),
    ("conv_hr.", "head.conv_hr."),
    ("conv_last.", "head.conv_last."),
)
# Inside a feed-forward, and in the head, names depend on the kind.
FFN_NAMES: dict[FeedForward, Rules] = {
    "gated": (("sg.norm.", "norm."), ("sg.conv.", "conv.")),
    "conv": (("dwconv.depthwise_conv.0.", "conv."),),
}
HEAD_NAMES: dict[Upsampler, Rules] = {
    "pixelshuffledirect": (("upsample.0.", "head.conv."),),
    "pixelshuffle": (("upsample.0.", "head.convs.0."), ("upsample.2.", "head.convs.1.")),
    "nearest+conv": (),
    "": (),
}
# Buffers of the published code. This network computes them when it needs them.
BUFFERS = re.compile(r"(relative_position_index|attn_mask)")

ANCHOR = "conv_first.weight"
"""The tensor by which a network is recognised."""


def is_averaged(name: str) -> bool:
    """Return whether a name says that weights are averaged over training, such as `params_ema` or `model-EMA.`."""
    return bool(re.search(r"(^|[^a-z])(ema|averaged?|avg|swa)([^a-z]|$)", name.lower()))


def strip(state: Mapping[str, Value], path: Path) -> dict[str, Value]:
    """Drop a common prefix (`module.`, `_orig_mod.`, …) and the buffers of the published code.

    Of several networks the averaged one is taken, else the one with the shortest prefix.

    Raises WeightsError, naming the file, where there is no first convolution.
    """
    prefixes = {name[: -len(ANCHOR)] for name in state if name.endswith(ANCHOR)}
    if not prefixes:
        some = ", ".join(list(state)[:3]) or "no tensors"
        raise WeightsError(f"{path}: holds no MambaIRv2 weights (no {ANCHOR}; it has {some})")
    prefix = min(prefixes, key=lambda prefix: (not is_averaged(prefix), len(prefix)))
    names = (name for name in state if name.startswith(prefix) and not BUFFERS.search(name))
    return {name[len(prefix) :]: state[name] for name in names}


def to_ours(state: dict[str, Value]) -> dict[str, Value]:
    """Rename published parameters to ours; names that are not known stay."""
    ffn: FeedForward = "gated" if any(".sg." in name for name in state) else "conv"
    head: Upsampler = "pixelshuffle" if "conv_before_upsample.0.weight" in state else "pixelshuffledirect"
    rules = _rules(ffn, head)
    return {_rename(name, rules): value for name, value in state.items()}


def to_published(state: dict[str, Value], config: MambaIRv2Config) -> dict[str, Value]:
    """Rename our parameters to those of published checkpoints."""
    rules = tuple((ours, theirs) for theirs, ours in _rules(config.ffn, config.upsampler))
    return {_rename(name, rules): value for name, value in state.items()}


def _rules(ffn: FeedForward, head: Upsampler) -> Rules:
    inner = (
        (f"layers.#.residual_group.layers.#.convffn#.{theirs}", f"groups.#.layers.#.ffn#.{ours}")
        for theirs, ours in FFN_NAMES[ffn]
    )
    return (*inner, *HEAD_NAMES[head], *NAMES)


@cache
def _pattern(old: str) -> re.Pattern[str]:
    return re.compile(re.escape(old).replace(r"\#", r"(\d+)"))


def _rename(name: str, rules: Rules) -> str:
    for old, new in rules:
        match = _pattern(old).match(name)
        if match:
            for number in match.groups():
                new = new.replace("#", number, 1)
            return new + name[match.end() :]
    return name
