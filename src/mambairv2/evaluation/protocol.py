"""The field's protocols: how a test image is damaged, and what of the result is compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambairv2.evaluation.metrics import Channels, luma
from mambairv2.images.arrays import Pixels
from mambairv2.images.degradation import jpeg, protocol_noise
from mambairv2.images.folders import list_images
from mambairv2.images.pixels import read_image
from mambairv2.images.resize import imresize
from mambairv2.tasks import TaskName


@dataclass(frozen=True)
class Protocol:
    """How a test image is damaged, and how the result is compared with it.

    Super-resolution is compared on luma without a border of `scale` pixels, the other tasks on all channels, whole.
    """

    task: TaskName
    scale: int = 1
    level: int = 0
    """σ of the noise in levels of 255, or JPEG quality."""
    channels: int = 3
    """1 turns test images grey: studio-swing luma, as for the published figures of LIVE1."""

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
    """One test image."""

    name: str
    input: npt.NDArray[np.float32]
    """(h, w, C) around [0, 1]; noise is not clipped."""
    target: Pixels
    """(h·s, w·s, C), the original."""
    baseline: Pixels
    """(h·s, w·s, C), bicubic interpolation of the input, or the input itself."""


def cases(folder: Path, protocol: Protocol) -> Iterator[Case]:
    """Read one test set: targets in folder/HR, inputs of super-resolution in folder/LR_bicubic/X2, X3, X4.

    A folder without HR holds the targets itself. Inputs that are not there are made by MATLAB's bicubic. Raises
    FileNotFoundError for a folder without images, ImageError for one that cannot be read, and ValueError for an input
    of a wrong size.
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
