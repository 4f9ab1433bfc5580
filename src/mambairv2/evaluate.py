"""Measuring on test sets exactly as the field does, so that figures can stand beside published ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambairv2.data import list_images, read_image, to_channels
from mambairv2.degrade import jpeg, protocol_noise
from mambairv2.imresize import imresize
from mambairv2.metrics import Channels, luma, psnr, ssim
from mambairv2.recipe import Task
from mambairv2.tiling import Grid, restore_rows

Pixels = npt.NDArray[np.uint8]
Restore = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Protocol:
    """What is done to a test image, and how the result is compared.

    `level` is σ in levels of 255 for denoising and the quality for JPEG. Super-resolution is compared on luma
    with a border of `scale` pixels cut, the others on all channels without a border.
    """

    task: Task
    scale: int = 1
    level: int = 0
    channels: int = 3
    """1 turns test images grey, by their studio-swing luma as the published figures of LIVE1 do."""

    @property
    def compared(self) -> Channels:
        """The channels compared."""
        return "y" if self.task == "sr" else "rgb"

    @property
    def border(self) -> int:
        """Pixels cut on each side."""
        return self.scale if self.task == "sr" else 0

    def __str__(self) -> str:
        """Return a short name, such as `sr x2` or `denoise 25`."""
        return f"sr x{self.scale}" if self.task == "sr" else f"{self.task} {self.level}"


@dataclass(frozen=True)
class Case:
    """One test image: input (h, w, C) float32 around [0, 1], target and baseline (h·s, w·s, C) uint8."""

    name: str
    input: npt.NDArray[np.float32]
    target: Pixels
    baseline: Pixels


@dataclass(frozen=True)
class Score:
    """Figures of one image; `base` is bicubic, or the damaged input itself."""

    image: str
    psnr: float
    ssim: float
    base_psnr: float
    base_ssim: float
    seconds: float


def cases(folder: Path, protocol: Protocol) -> Iterator[Case]:
    """Read one test set: targets in folder/HR, inputs of super-resolution in folder/LR_bicubic/X2, X3, X4.

    Inputs that are not there are made by MATLAB's bicubic. A folder without HR is taken as the targets
    themselves. Raises FileNotFoundError for a folder without images, ValueError for an input of a wrong size.
    """
    targets = folder / "HR" if (folder / "HR").is_dir() else folder
    for path in list_images([targets]):
        target = read_image(path)
        if protocol.channels == 1 and target.shape[2] == 3:
            target = (luma(target) + 0.5).astype(np.uint8)[..., None]
        if protocol.task == "sr":
            yield _sr_case(path, target, folder / "LR_bicubic" / f"X{protocol.scale}", protocol)
        elif protocol.task == "denoise":
            noisy = protocol_noise(target, protocol.level)
            yield Case(path.stem, noisy, target, _quantise(noisy))
        else:
            decoded = jpeg(target, protocol.level)
            yield Case(path.stem, (decoded / 255).astype(np.float32), target, decoded)


def _sr_case(path: Path, target: Pixels, inputs: Path, protocol: Protocol) -> Case:
    scale = protocol.scale
    height, width = (side // scale for side in target.shape[:2])
    source = inputs / f"{path.stem}x{scale}.png"
    if source.is_file():
        small = read_image(source, target.shape[2])
        if small.shape[0] > height or small.shape[1] > width:
            sizes = f"{small.shape[1]}x{small.shape[0]}", f"{target.shape[1]}x{target.shape[0]}"
            raise ValueError(f"{source} is {sizes[0]}, too large for {sizes[1]} at x{scale}")
    else:
        small = imresize(target[: height * scale, : width * scale], 1 / scale)
    target = target[: small.shape[0] * scale, : small.shape[1] * scale]
    return Case(path.stem, (small / 255).astype(np.float32), target, imresize(small, scale))


def _quantise(image: npt.NDArray[np.float32]) -> Pixels:
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


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
