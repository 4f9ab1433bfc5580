"""What the attentive scans of a network see on one image: their inputs, labels, and the tensors of the scan.

Shape legend: B batch, H W height and width in whole windows, L = H·W tokens, E embed_dim, D hidden channels, N d_state,
T num_tokens, K dt_rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mambairv2.images.reading import open_picture
from mambairv2.network.attentive_scan import AttentiveStateSpaceModule
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.channels import LUMA

Visit = Callable[[str, AttentiveStateSpaceModule, Tensor], None]
"""Called with the name of a block, such as `0.3` (group, block), its module, and what enters it, (1, H, W, E)."""


@dataclass(frozen=True)
class ScanTensors:
    """What the scan of one module takes, tokens in the order of the image."""

    u: Tensor
    """(L, D)"""
    delta: Tensor
    """(L, D), after softplus."""
    A: Tensor
    """(D, N), negative."""
    B: Tensor
    """(L, N)"""
    C: Tensor
    """(L, N), without the prompt."""
    D: Tensor
    """(D,)"""


def scans_of(model: MambaIRv2) -> dict[str, AttentiveStateSpaceModule]:
    """Return the attentive scans of a network by group and block, such as `0.3`; raises ValueError if it has none."""
    found = {
        ".".join(part for part in name.split(".") if part.isdigit()): module
        for name, module in model.named_modules()
        if isinstance(module, AttentiveStateSpaceModule)
    }
    if not found:
        raise ValueError("the network has no attentive scan (attentive_scan = false), so there is nothing to show")
    return found


def with_prompts(model: MambaIRv2) -> MambaIRv2:
    """Return the network; raises ValueError if its scans have no prompts."""
    if not all(module.has_prompts for module in scans_of(model).values()):
        raise ValueError("the network scans in four directions without prompts, so it routes nothing")
    return model


@torch.no_grad()
def visit_scans(model: MambaIRv2, image: Tensor, visit: Visit) -> None:
    """Run a network on one image (C, h, w) and call `visit` at each attentive scan, in order."""

    def hook(name: str) -> Callable[[torch.nn.Module, tuple[Tensor, ...]], None]:
        def see(module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
            assert isinstance(module, AttentiveStateSpaceModule)
            visit(name, module, given[0])

        return see

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in scans_of(model).items()]
    try:
        model(image[None].to(next(model.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()


def route_logits(module: AttentiveStateSpaceModule, x: Tensor) -> Tensor:
    """Return the logits of each token's prompts: (1, H, W, E) → (H, W, T)."""
    logits: Tensor = module.route(x)[0]
    return logits


def scan_input(module: AttentiveStateSpaceModule, x: Tensor) -> Tensor:
    """Return u, what the scan reads: (1, H, W, E) → (1, H, W, D)."""
    u = module.in_proj(x.permute(0, 3, 1, 2))
    return (u * torch.sigmoid(module.position(u))).permute(0, 2, 3, 1)


def scan_tensors(module: AttentiveStateSpaceModule, u: Tensor, direction: int = 0) -> ScanTensors:
    """Return what the scan takes for tokens u (L, D); direction: 0, or 0 to 3 of a network with four directions."""
    config, hidden = module.config, module.config.hidden_dim
    part = slice(direction * hidden, (direction + 1) * hidden)
    projected = u @ module.x_proj_weight[direction].T
    dt, B, C = projected.split((config.dt_rank, config.d_state, config.d_state), dim=-1)
    delta = torch.nn.functional.softplus(dt @ module.dt_weight[direction].T + module.dt_bias[direction])
    return ScanTensors(u, delta, -torch.exp(module.A_log[part]), B, C, module.D[part])


def read_image(path: Path, channels: int, side: int | None = None) -> Tensor:
    """Read an image file as a network of 1 or 3 channels takes it: (C, h, w) float32 in [0, 1].

    side: the largest side in pixels; of a larger image the middle is taken. Colour becomes luma for a grey network.
    Raises ImageError for a file that cannot be read.
    """
    picture = open_picture(path)
    cuts = []
    for size in picture.size:
        kept = min(size, side or size)
        start = (size - kept) // 2
        cuts.append(slice(start, start + kept))
    image = torch.from_numpy(picture.region(cuts[0], cuts[1]))
    if len(image) == channels:
        return image
    return (
        image.expand(3, -1, -1).contiguous()
        if channels == 3
        else torch.einsum("chw,c->hw", image, image.new_tensor(LUMA))[None]
    )
