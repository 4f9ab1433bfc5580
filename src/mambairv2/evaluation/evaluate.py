"""Measuring on test sets exactly as the field does, so that figures can stand beside published ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mambairv2.evaluation.literature import Figure, published
from mambairv2.evaluation.metrics import psnr, ssim
from mambairv2.evaluation.plan import Plan
from mambairv2.evaluation.protocol import Case, Protocol, cases
from mambairv2.images.arrays import Pixels
from mambairv2.images.pixels import to_channels
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.self_ensemble import self_ensemble
from mambairv2.restoration.tiling import Grid, restore_rows

Restore = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Score:
    """Figures of one image; `base` is bicubic, or the damaged input itself."""

    image: str
    psnr: float
    ssim: float
    base_psnr: float
    base_ssim: float
    seconds: float


@dataclass(frozen=True)
class Result:
    """One test set under one protocol, with published figures by method."""

    name: str
    protocol: Protocol
    scores: list[Score]
    published: dict[str, Figure]


def restored(restore: Restore, case: Case, channels: int, device: torch.device) -> Pixels:
    """Run a network of 1 or 3 channels on a case; the result has the target's shape, uint8.

    A grey image goes through a colour network as three equal channels and comes back as their luma.
    """
    image = case.input
    if image.shape[2] != channels:
        image = image.repeat(3, axis=2)
    batch = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].to(device)
    with torch.no_grad():  # not inference_mode: what the network caches must serve training too
        output = restore(batch)[0].float().clamp(0, 1).mul(255).round().byte()
    return to_channels(output.permute(1, 2, 0).cpu().numpy(), case.target.shape[2])


def evaluate_set(
    restore: Restore | None,
    folder: Path,
    protocol: Protocol,
    network_channels: int = 3,
    device: torch.device = torch.device("cpu"),
    limit: int | None = None,
    seen: Callable[[Score], None] = lambda score: None,
) -> list[Score]:
    """Measure a network on one test set.

    restore: (1, C, h, w) in [0, 1] to (1, C, h·s, w·s), C = network_channels; None measures the baseline
    alone. limit: only the first images. seen: called with each score as it comes.
    Returns one score an image, in the order of names; the set's figures are their means.
    """
    scores = []
    for number, case in enumerate(cases(folder, protocol)):
        if number == limit:
            break
        start = time.perf_counter()
        image = restored(restore, case, network_channels, device) if restore else case.baseline
        seconds = time.perf_counter() - start
        figures = [
            measure(pixels, case.target, protocol.compared, protocol.border)
            for measure in (psnr, ssim)
            for pixels in (image, case.baseline)
        ]
        scores.append(Score(case.name, figures[0], figures[2], figures[1], figures[3], seconds))
        seen(scores[-1])
    return scores


def mean(scores: list[Score]) -> Score:
    """Average over images, as a score named `mean`; seconds are summed."""
    count = len(scores)
    return Score(
        "mean",
        sum(s.psnr for s in scores) / count,
        sum(s.ssim for s in scores) / count,
        sum(s.base_psnr for s in scores) / count,
        sum(s.base_ssim for s in scores) / count,
        sum(s.seconds for s in scores),
    )


def tiled(restore: Restore, scale: int, tile: int, overlap: int = 32) -> Restore:
    """Run a network in tiles of at most `tile` input pixels a side, both multiples of 16."""

    def run(image: Tensor) -> Tensor:
        grid = Grid((image.shape[2], image.shape[3]), scale, tile, overlap)
        rows = restore_rows(lambda part: restore(part[None])[0], lambda down, across: image[0, :, down, across], grid)
        return torch.cat(list(rows), dim=1)[None]

    return run


def evaluate(
    model: MambaIRv2 | None, plan: Plan, seen: Callable[[str, Score], None] = lambda name, score: None
) -> list[Result]:
    """Measure a network, or the baseline alone, by a plan; `seen` is called with every image's score.

    Raises FileNotFoundError for missing test sets.
    """
    results = []
    restore: Restore | None = model
    if restore is not None and plan.tile:
        restore = tiled(restore, plan.scale, plan.tile)
    if restore is not None and plan.ensemble:
        restore = self_ensemble(restore)
    channels = model.config.in_channels if model is not None else 3
    device = next(model.parameters()).device if model is not None else torch.device("cpu")
    light = model is None or model.config.ffn == "gated"
    for protocol in plan.protocols():
        for folder in plan.folders():
            name = folder.name

            def tell(score: Score, name: str = f"{name}, {protocol}") -> None:
                seen(name, score)

            scores = evaluate_set(restore, folder, protocol, channels, device, plan.limit, tell)
            others = published(plan.task, plan.scale, protocol.level, protocol.channels, light, name)
            results.append(Result(name, protocol, scores, others))
    return results
