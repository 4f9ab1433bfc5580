"""Measuring on test sets exactly as the field does, so that figures can stand beside published ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mambairv2.evaluation.case import Case
from mambairv2.evaluation.literature import Figure, published
from mambairv2.evaluation.metrics import psnr, ssim
from mambairv2.evaluation.plan import Plan
from mambairv2.evaluation.protocol import Protocol, cases
from mambairv2.images.arrays import Pixels, quantise
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.channels import restore_channels
from mambairv2.restoration.planning import Tile
from mambairv2.restoration.restorer import Restorer

Restore = Callable[[Tensor], Tensor]
"""(C, h, w) float32 around [0, 1], C 1 or 3, on the CPU, to (C, h·s, w·s) likewise; it is clipped and rounded after."""


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
    """What was measured on one test set by one protocol."""

    name: str
    protocol: Protocol
    scores: list[Score]
    published: dict[str, Figure]
    """Figures of other methods on the whole set, by method."""
    restored: bool = True
    """False where only the baseline was measured."""


def whole_images(network: MambaIRv2) -> Restore:
    """Let a network restore whole images as `Restorer` does without its margin, on its device and in its mode.

    Not in inference mode: a network that is being trained may keep what it computes on the way.
    """
    device, config = next(network.parameters()).device, network.config

    @torch.no_grad()
    def restore(image: Tensor) -> Tensor:
        batch = image[None].to(device)
        return restore_channels(network, config.in_channels, config.upscale, batch)[0].float().cpu()

    return restore


def restored(restore: Restore, case: Case) -> Pixels:
    """Restore a case; the result has the target's shape, uint8."""
    output = restore(torch.from_numpy(case.input).permute(2, 0, 1)).permute(1, 2, 0)
    return quantise(output.contiguous().numpy(), np.dtype(np.uint8)).astype(np.uint8, copy=False)


def evaluate_set(
    restore: Restore | None,
    folder: Path,
    protocol: Protocol,
    limit: int | None = None,
    seen: Callable[[Score], None] = lambda score: None,
) -> list[Score]:
    """Measure a network on one test set.

    restore: the network on one image; None measures the baseline alone. limit: only the first images. seen: called
    with each score as it comes. Returns one score an image, in the order of names; the set's figures are their means.
    """
    scores = []
    for number, case in enumerate(cases(folder, protocol)):
        if number == limit:
            break
        start = time.perf_counter()
        image = restored(restore, case) if restore else case.baseline
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


def _restore(model: MambaIRv2, plan: Plan) -> Restore:
    device = next(model.parameters()).device
    tile: Tile = plan.tile or "whole"
    return Restorer(model, device, tile=tile, self_ensemble=plan.ensemble, margin=plan.margin).infer


def in_turn(first: Restore, second: Restore) -> Restore:
    """Let one network restore what another gives, rounded to 8 bits between them, as in a file."""
    return lambda image: second(first(image).clamp(0, 1).mul(255).round().div(255))


def evaluate(
    model: MambaIRv2 | None,
    plan: Plan,
    seen: Callable[[str, Score], None] = lambda name, score: None,
    first: MambaIRv2 | None = None,
) -> list[Result]:
    """Measure a network, or the baseline alone, by a plan; `seen` is called with every image's score.

    first: a network that runs before, as if `mambairv2 restore` ran twice. The networks are run by `Restorer`, and
    with the margin of the plan, what is measured is what `mambairv2 restore` gives. Raises FileNotFoundError for
    missing test sets and ValueError for a tile that is none.
    """
    restore: Restore | None = None
    light = True
    if model is not None:
        restore = _restore(model, plan)
        restore = restore if first is None else in_turn(_restore(first, plan), restore)
        light = model.config.ffn == "gated"
    results = []
    for protocol in plan.protocols():
        for folder in plan.folders():
            name = folder.resolve().name

            def tell(score: Score, name: str = f"{name}, {protocol}") -> None:
                seen(name, score)

            scores = evaluate_set(restore, folder, protocol, plan.limit, tell)
            others: dict[str, Figure] = {}
            whole = plan.limit is None or len(scores) < plan.limit  # as the published means are
            if whole and protocol.inputs is None:
                others = published(plan.task, plan.scale, protocol.level, protocol.channels, light, name)
            results.append(Result(name, protocol, scores, others, restored=model is not None))
    return results
