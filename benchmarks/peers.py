"""Other networks to time beside ours, taken from `spandrel` (pip install --no-deps spandrel einops)."""

from __future__ import annotations

import sys
import types

import torch


def _stub_torchvision() -> None:
    """spandrel imports torchvision for networks that are not timed here; it is not needed for these."""
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.ops")
    sys.modules.update({name: types.ModuleType(name) for name in names})
    functional = sys.modules["torchvision.transforms.functional"]
    for name in ("InterpolationMode", "rotate", "normalize"):
        setattr(functional, name, None)


def peers() -> dict[str, torch.nn.Module]:
    """Return untrained networks for ×2 by name; empty, with a line, where spandrel is not installed."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # missing, or of another version of torch
        _stub_torchvision()
    try:
        from spandrel.architectures.SwinIR import SwinIR
    except ImportError as error:
        print(f"no peers: {error}; pip install --no-deps spandrel einops", file=sys.stderr)
        return {}
    light = SwinIR(
        upscale=2,
        in_chans=3,
        img_size=64,
        window_size=8,
        img_range=1.0,
        depths=[6, 6, 6, 6],
        embed_dim=60,
        num_heads=[6, 6, 6, 6],
        mlp_ratio=2,
        upsampler="pixelshuffledirect",
    )
    return {"SwinIR-light": light.eval()}
