"""Effective receptive field: how much each input pixel moves one output pixel, averaged over images.

Shape legend: C channels, h w height and width of the input, s scale of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambairv2.analysis.recording import route_logits, scan_input, scans_of, visit_scans, with_prompts
from mambairv2.network.attentive_scan import AttentiveStateSpaceModule
from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2

Floats = npt.NDArray[np.float64]
JITTER = 16
"""The output pixel is drawn among so many rows and columns in the middle, so that windows leave no trace."""


@dataclass(frozen=True)
class ReceptiveField:
    """The mean share of each input pixel in what moves an output pixel."""

    share: Floats
    """(2r + 1, 2r + 1), centred on the output pixel; of the whole gradient, so that it sums to 1 at most."""
    later: float
    """Share of pixels that come later in the order of rows than the output pixel."""

    def within(self) -> Floats:
        """Return the share from pixels at most 0, 1, 2 … pixels away, rounded to nearest, in Euclidean distance."""
        radius = self.share.shape[0] // 2
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        apart = np.rint(np.hypot(x, y)).astype(np.int64)
        return np.asarray(np.cumsum(np.bincount(apart.ravel(), weights=self.share.ravel()))[: radius + 1])

    def radius(self, share: float) -> int | None:
        """Return the distance within which so much of the gradient lies; None if it is more than is seen."""
        enough = np.flatnonzero(self.within() >= share)
        return int(enough[0]) if enough.size else None


def receptive_field(
    network: Callable[[Tensor], Tensor], images: Iterable[Tensor], scale: int, seed: int = 0
) -> ReceptiveField:
    """Average over images (C, h, w) of one size, each with an output pixel drawn in its middle.

    The output is the sum over channels and the s×s pixels that belong to one input pixel. The share of an input pixel
    is the sum over channels of the absolute gradient, as a part of its sum over the image, so that each image counts
    alike. The choice of prompts has no gradient: what moves only that does not count. Raises ValueError for an image
    that is not larger than the middle.
    """
    generator, shares, later = np.random.default_rng(seed), [], []
    for image in images:
        height, width = image.shape[1:]
        radius = (min(height, width) - JITTER) // 2
        if radius < 1:
            raise ValueError(f"an image of {width}×{height} pixels is too small; it takes {JITTER + 2} each way")
        row, column = ((size - JITTER) // 2 + int(generator.integers(JITTER)) for size in (height, width))
        share = gradient_share(network, image, (row, column), scale)
        shares.append(share[row - radius : row + radius + 1, column - radius : column + radius + 1])
        later.append(share.ravel()[row * width + column + 1 :].sum())
    return ReceptiveField(np.mean(shares, axis=0), float(np.mean(later)))


def gradient_share(network: Callable[[Tensor], Tensor], image: Tensor, pixel: tuple[int, int], scale: int) -> Floats:
    """Return each input pixel's share in what moves the output at one of them: (C, h, w) → (h, w), sums to 1."""
    given = image[None].clone().requires_grad_()
    rows, columns = (slice(place * scale, (place + 1) * scale) for place in pixel)
    (gradient,) = torch.autograd.grad(network(given)[:, :, rows, columns].sum(), given)
    moved = gradient[0].abs().sum(0).double().cpu().numpy()
    return np.asarray(moved / max(moved.sum(), 1e-300))


def attention_only(model: MambaIRv2) -> MambaIRv2:
    """Return the network with its weights but without the attentive scans."""
    idle = ("prompt_order", "prompt_target", "temperature", "semantic_neighbouring", "scan_directions")
    return _changed(model, idle, attentive_scan=False)


def causal(model: MambaIRv2) -> MambaIRv2:
    """Return the network with its weights, scanning in the order of rows and with prompts of zeros."""
    other = _changed(with_prompts(model), ("prompt_order",), semantic_neighbouring=False)
    with torch.no_grad():
        for module in scans_of(other).values():
            module.pool_right.weight.zero_()
    return other


def _changed(model: MambaIRv2, idle: Sequence[str], **changes: bool) -> MambaIRv2:
    """Return the weights in a changed network. idle: fields without effect there, which take their defaults."""
    values = {name: value for name, value in model.config.to_dict().items() if name not in idle}
    other = MambaIRv2(MambaIRv2Config.from_dict({**values, **changes})).to(next(model.parameters()).device)
    there = other.state_dict()
    other.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if name in there})
    return other.eval()


@dataclass(frozen=True)
class ScanField:
    """What moves one token's output of one attentive scan alone, averaged over images.

    Shares are those of the tokens u that the scan reads, after the 3×3 convolution before it.
    """

    layer: str
    own: float
    """Share of the token itself."""
    later_in_sequence: float
    """Share of tokens that the scan reaches after it."""
    later_in_image: float
    """Share of tokens that come later in the order of rows."""
    far: float
    """Share of tokens more than 16 pixels away, which no window reaches."""


def scan_fields(model: MambaIRv2, images: Sequence[Tensor]) -> list[ScanField]:
    """Return, for each attentive scan alone, where the tokens lie that move its output at the middle of an image."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for image in images:

        def visit(name: str, module: AttentiveStateSpaceModule, x: Tensor) -> None:
            found.setdefault(name, []).append(_scan_shares(module, x))

        visit_scans(model, image, visit)
    means = {name: np.mean(rows, axis=0) for name, rows in found.items()}
    return [ScanField(name, *(float(value) for value in row)) for name, row in means.items()]


def _scan_shares(module: AttentiveStateSpaceModule, x: Tensor) -> tuple[float, ...]:
    _, height, width, _ = x.shape
    place = height // 2 * width + width // 2
    raster, routed = np.arange(height * width), None
    sequence = raster
    if module.has_prompts:
        label = route_logits(module, x).argmax(-1).flatten()
        routed = module.prompts_of(label[None])
        if module.config.semantic_neighbouring:
            sequence = np.argsort(np.argsort(label.cpu().numpy(), kind="stable"), kind="stable")
    u = scan_input(module, x).detach()
    with torch.enable_grad():
        y = module.out_proj(module.out_norm(module._mix(u.requires_grad_(), routed)))
        (gradient,) = torch.autograd.grad(y[0].flatten(0, 1)[place].sum(), u)
    moved = gradient[0].abs().sum(-1).flatten().double().cpu().numpy()
    share = moved / max(moved.sum(), 1e-300)
    apart = np.maximum(np.abs(raster // width - place // width), np.abs(raster % width - place % width))
    return (
        float(share[place]),
        float(share[sequence > sequence[place]].sum()),
        float(share[raster > place].sum()),
        float(share[apart > 16].sum()),
    )
