"""Routing: which prompt each token takes, how many are used, and how stable the choice is.

Shape legend: H W height and width of the image, T num_tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambairv2.analysis.recording import route_logits, visit_scans
from mambairv2.network.attentive_scan import AttentiveStateSpaceModule
from mambairv2.network.model import MambaIRv2

Labels = npt.NDArray[np.int64]
"""(H, W), a prompt for each pixel of the input."""
NOISE = 1 / 255
"""Standard deviation of the noise of the stability test, for values in [0, 1]."""
SHIFT = 1
"""Pixels by which its image is moved, down and to the right."""


@dataclass(frozen=True)
class Routing:
    """How one layer routes an image."""

    layer: str
    """Group and block, such as `0.3`."""
    labels: Labels
    used: int
    """Prompts that at least one token takes."""
    entropy: float
    """Entropy of the prompts over the image in bits; log2(T) if all are taken equally often."""
    certainty: float
    """Mean probability that a draw takes the same prompt; 1/T if all are equally likely."""
    information: float
    """Bits that a drawn prompt tells about its token: the entropy of all draws less that of a token's own draws. 0 if
    prompts are drawn alike for every token, `entropy` if every token is certain of its prompt."""
    neighbours: float
    """Share of pairs of adjacent pixels that take the same prompt."""
    chance: float
    """Share that two pixels drawn at random would have the same prompt: what the shares stand beside."""


def route(model: MambaIRv2, image: Tensor) -> list[Routing]:
    """Return the routing of each layer for one image (C, h, w), by the likeliest prompt, without the padding."""
    height, width = image.shape[1:]
    found: list[Routing] = []

    def visit(name: str, module: AttentiveStateSpaceModule, x: Tensor) -> None:
        logits = route_logits(module, x)[:height, :width]
        found.append(summary(name, logits.argmax(-1).cpu().numpy(), logits.softmax(-1).double().cpu().numpy()))

    visit_scans(model, image, visit)
    return found


def summary(layer: str, labels: Labels, chances: npt.NDArray[np.float64]) -> Routing:
    """Return the figures of one layer's labels (H, W), with each token's probabilities of the prompts (H, W, T)."""
    counts = np.bincount(labels.ravel(), minlength=chances.shape[-1])
    shares, each = counts / counts.sum(), chances.reshape(-1, chances.shape[-1])
    own = -(each * np.log2(np.maximum(each, 1e-300))).sum(-1).mean()
    return Routing(
        layer,
        labels,
        int((counts > 0).sum()),
        entropy(shares),
        float(np.take_along_axis(chances, labels[..., None], -1).mean()),
        max(0.0, entropy(each.mean(0)) - float(own)),
        _same_as_neighbours(labels),
        float((shares**2).sum()),
    )


def entropy(shares: npt.NDArray[np.float64]) -> float:
    """Return the entropy of shares that sum to 1, in bits."""
    taken = shares[shares > 0]
    return float(-(taken * np.log2(taken)).sum()) + 0.0


def _same_as_neighbours(labels: Labels) -> float:
    pairs = [(labels[1:] == labels[:-1]).ravel(), (labels[:, 1:] == labels[:, :-1]).ravel()]
    both = np.concatenate(pairs)
    return float(both.mean()) if both.size else 1.0


def stability(model: MambaIRv2, image: Tensor, seed: int = 0) -> dict[str, list[float]]:
    """Return, for each change of the image, the share of pixels of each layer that keep their prompt.

    The changes: noise of σ 1/255, a shift by one pixel (the first row and column are cut off), and a mirroring left to
    right. Pixels are compared with themselves, where they now are.
    """
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)) * NOISE
    changes: dict[str, tuple[Tensor, Callable[[Labels], Labels], Callable[[Labels], Labels]]] = {
        "noise": (image + noise, lambda labels: labels, lambda labels: labels),
        "shift": (image[:, SHIFT:, SHIFT:], lambda labels: labels[SHIFT:, SHIFT:], lambda labels: labels),
        "mirror": (image.flip(2), lambda labels: labels, lambda labels: labels[:, ::-1]),
    }
    plain = [layer.labels for layer in route(model, image)]
    kept = {}
    for name, (changed, of_plain, back) in changes.items():
        others = [layer.labels for layer in route(model, changed)]
        kept[name] = [float((of_plain(a) == back(b)).mean()) for a, b in zip(plain, others, strict=True)]
    return kept
