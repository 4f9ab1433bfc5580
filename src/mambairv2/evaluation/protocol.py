"""The field's protocols: how a test image is damaged, and what of the result is compared."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambairv2.evaluation.case import Case
from mambairv2.evaluation.metrics import Channels, luma
from mambairv2.evaluation.pairs import pair_cases
from mambairv2.images.arrays import Pixels
from mambairv2.images.degradation.chain import Chain, parse
from mambairv2.images.degradation.compression import jpeg, to_pixels
from mambairv2.images.degradation.noise import protocol_noise
from mambairv2.images.degradation.resizing import resample
from mambairv2.images.folders import list_images
from mambairv2.images.pixels import read_image
from mambairv2.images.resize import imresize
from mambairv2.tasks import TASKS, Damage, Level, TaskName


@dataclass(frozen=True)
class Protocol:
    """How a test image is damaged, and how the result is compared with it.

    The task's entry in `TASKS` says how.
    """

    task: TaskName
    scale: int = 1
    level: Level = 0
    """σ of the noise in levels of 255, JPEG quality, or the name of a strength; 0 where the task has none."""
    channels: int = 3
    """1 turns test images grey: studio-swing luma, as for the published figures of LIVE1."""
    inputs: Path | None = None
    """Ready-made inputs in place of the task's damage: a folder for each test set, or that of the only one."""

    @property
    def compared(self) -> Channels:
        """The channels compared."""
        if self.inputs is not None:
            return "rgb" if self.scale == 1 else "y"
        return TASKS[self.task].compared

    @property
    def border(self) -> int:
        """Pixels cut on each side."""
        return self.scale if self.compared == "y" and self.scale > 1 else 0

    @property
    def baseline(self) -> str:
        """What the baseline is called."""
        if self.inputs is not None:
            return "input" if self.scale == 1 else "bicubic"
        return TASKS[self.task].baseline

    def __str__(self) -> str:
        """Return a short name, such as `sr x2`, `denoise 25` or `photo x2 middle`."""
        scale, level = f" x{self.scale}" * (self.scale > 1), f" {self.level}" if self.level else ""
        return f"pairs{scale}" if self.inputs is not None else f"{self.task}{scale}{level}"


def cases(folder: Path, protocol: Protocol) -> Iterator[Case]:
    """Read one test set: targets in folder/HR, inputs of super-resolution in folder/LR_bicubic/X2, X3, X4.

    A folder without HR holds the targets itself. Inputs that are not there are made by MATLAB's bicubic. Raises
    FileNotFoundError for a folder without images and for a target without its ready-made input, ImageError for an image
    that cannot be read, and ValueError for an input of a wrong size.
    """
    targets = folder / "HR" if (folder / "HR").is_dir() else folder
    if protocol.inputs is not None:
        own = protocol.inputs / folder.name
        inputs = own if own.is_dir() else protocol.inputs
        yield from pair_cases(
            targets, inputs if inputs.is_dir() else protocol.inputs, protocol.scale, protocol.channels
        )
        return
    for path in list_images([targets]):
        target = read_image(path)
        if protocol.channels == 1 and target.shape[2] == 3:
            target = (luma(target) + 0.5).astype(np.uint8)[..., None]
        yield _CASES[TASKS[protocol.task].damage](path, target, protocol)


def _bicubic_case(path: Path, target: Pixels, protocol: Protocol) -> Case:
    scale = protocol.scale
    inputs = (path.parent.parent if path.parent.name == "HR" else path.parent) / "LR_bicubic" / f"X{scale}"
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


def _noise_case(path: Path, target: Pixels, protocol: Protocol) -> Case:
    noisy = protocol_noise(target, float(protocol.level))
    return Case(path.stem, noisy, target, _quantise(noisy))


def _jpeg_case(path: Path, target: Pixels, protocol: Protocol) -> Case:
    decoded = jpeg(target, int(protocol.level))
    return Case(path.stem, (decoded / 255).astype(np.float32), target, decoded)


def _steps_case(path: Path, target: Pixels, protocol: Protocol) -> Case:
    """Damage by the steps of the task; the seed is the file's name without suffix, the level and the scale."""
    scale, steps = protocol.scale, TASKS[protocol.task].steps
    assert steps is not None
    target = target[: target.shape[0] // scale * scale, : target.shape[1] // scale * scale]
    seed = [zlib.crc32(path.stem.encode()), zlib.crc32(str(protocol.level).encode()), scale]
    damaged = Chain(parse(steps(protocol.level, scale)))(target, scale, np.random.default_rng(seed)) / 255
    image = damaged.astype(np.float32)  # the chain rounds to 8 bits, as a file does
    return Case(path.stem, image, target, to_pixels(resample(image, (target.shape[0], target.shape[1]), "lanczos")))


_CASES: dict[Damage, Callable[[Path, Pixels, Protocol], Case]] = {
    "bicubic": _bicubic_case,
    "noise": _noise_case,
    "jpeg": _jpeg_case,
    "steps": _steps_case,
}


def _quantise(image: npt.NDArray[np.float32]) -> Pixels:
    return (image.clip(0, 1) * 255).round().astype(np.uint8)
