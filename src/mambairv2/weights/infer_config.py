"""The configuration of a network, read off the shapes of its tensors. Needs no torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mambairv2.network.config import MambaIRv2Config, Upsampler
from mambairv2.weights.config_file import with_config_file
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.hub.address import CONFIG

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of tensors by this project's names."""


def config_of(shapes: Shapes, metadata: Mapping[str, str], path: Path) -> MambaIRv2Config:
    """Return the configuration that a file states, in its metadata or beside it, else the one that its tensors show.

    Raises WeightsError, naming the file, where the tensors are of another network or what is stated contradicts itself.
    """
    try:
        config = infer_config(shapes)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise WeightsError(
            f"{path}: holds no MambaIRv2 weights ({type(error).__name__}: {error}); is it of another network?"
        ) from None
    if "config" not in metadata:
        stated = with_config_file(config, path)
    else:
        try:
            stated = MambaIRv2Config.from_dict(json.loads(metadata["config"]))
        except (ValueError, TypeError, AttributeError) as error:
            raise WeightsError(f"{path}: its configuration is not valid ({error})") from None
        if with_config_file(stated, path) != stated:
            raise WeightsError(f"{path}: its configuration differs from {CONFIG} beside it; remove that file")
    if stated.depths != config.depths:
        raise WeightsError(f"{path}: its configuration says depths {stated.depths}, it has {config.depths}")
    return stated


def infer_config(shapes: Shapes) -> MambaIRv2Config:
    """Read the hyperparameters off the shapes of the tensors.

    Raises KeyError, naming the tensor, ValueError, IndexError or ZeroDivisionError where they are of another network.
    """
    dim, channels = shapes["conv_first.weight"][:2]
    layer = "groups.0.layers.0."
    depths = _depths(shapes)
    tables = [shapes[f"groups.{g}.layers.0.attention.bias_table"] for g in range(len(depths))]
    head, upscale = _head(shapes, channels)
    config = MambaIRv2Config(
        upscale=upscale,
        in_channels=channels,
        embed_dim=dim,
        depths=depths,
        num_heads=tuple(table[1] for table in tables),
        window_size=(round(tables[0][0] ** 0.5) + 1) // 2,
        mlp_ratio=_ratio(shapes[layer + "ffn1.fc1.weight"][0], dim),
        ffn="gated" if layer + "ffn1.norm.weight" in shapes else "conv",
        ffn_kernel_size=shapes[layer + "ffn1.conv.weight"][-1],
        upsampler=head,
        resi_connection="1conv" if "conv_after_body.weight" in shapes else "3conv",
        attentive_scan=layer + "attentive_scan.A_log" in shapes,
    )
    if not config.attentive_scan:
        return config
    config = replace(
        config,
        d_state=shapes[layer + "attentive_scan.A_log"][1],
        scan_directions=shapes[layer + "attentive_scan.x_proj_weight"][0],
    )
    if config.scan_directions > 1:
        return config
    tokens, rank = shapes[layer + "attentive_scan.pool_left.weight"]
    return replace(config, num_tokens=tokens, inner_rank=rank)


def _depths(shapes: Shapes) -> tuple[int, ...]:
    """Return the number of layers of each group, counted by their first norms."""
    depths: dict[int, int] = {}
    found = 0
    for name in shapes:
        match = re.fullmatch(r"groups\.(\d+)\.layers\.(\d+)\.norm1\.weight", name)
        if match:
            found += 1
            depths[int(match[1])] = max(depths.get(int(match[1]), 0), int(match[2]) + 1)
    if not depths:
        raise ValueError("no attentive layers")
    if sorted(depths) != list(range(len(depths))) or sum(depths.values()) != found:
        raise ValueError("the layers have gaps")
    return tuple(depths[g] for g in range(len(depths)))


def _head(shapes: Shapes, channels: int) -> tuple[Upsampler, int]:
    """Return the kind of reconstruction head and its scale."""
    if "head.conv.weight" in shapes:
        return "pixelshuffledirect", round((shapes["head.conv.weight"][0] / channels) ** 0.5)
    if "head.conv_up1.weight" in shapes:
        return "nearest+conv", 4
    if "head.convs.0.weight" in shapes:
        first = round((shapes["head.convs.0.weight"][0] / 64) ** 0.5)
        return "pixelshuffle", 4 if "head.convs.1.weight" in shapes else first
    if "head.conv_last.weight" in shapes:
        return "", 1
    raise ValueError("no reconstruction head")


def _ratio(hidden: int, dim: int) -> float:
    """Return the smallest tidy ratio with int(dim · ratio) == hidden."""
    ratio = hidden / dim
    while int(dim * ratio) < hidden:
        ratio += max(1e-9, math.ulp(ratio))
    return ratio
