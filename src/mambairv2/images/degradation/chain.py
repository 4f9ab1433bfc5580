"""Chains of degradations: which steps an image passes, in which order, and how a patch is cut out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mambairv2.images.arrays import Pixels
from mambairv2.images.degradation.blur import Blur
from mambairv2.images.degradation.compression import Jpeg, WebP, to_floats, to_pixels
from mambairv2.images.degradation.noise import Noise
from mambairv2.images.degradation.resizing import FILTERS, Resize, Shrink, fit
from mambairv2.images.degradation.step import Floats

AnyStep = Blur | Resize | Shrink | Noise | Jpeg | WebP
Order = Literal["given", "random"]
Margins = tuple[int, int, int, int]
"""Input pixels around a patch: at the top, left, bottom and right."""
MARGIN = 16
"""Target pixels around a patch. A Gaussian of σ 1.5 reaches 6, a Lanczos filter that halves reaches 6 more."""
KINDS: dict[str, type[AnyStep]] = {
    "blur": Blur,
    "resize": Resize,
    "shrink": Shrink,
    "noise": Noise,
    "jpeg": Jpeg,
    "webp": WebP,
}


@dataclass(frozen=True)
class Chain:
    """Steps that make an input of a target image. All that is drawn comes from the generator that is given."""

    steps: tuple[AnyStep, ...]
    order: Order = "given"
    """`random` draws the order of the steps anew for each image."""
    passes: tuple[int, int] = (1, 1)
    """How often all steps but `shrink` are passed, drawn from this range. The image shrinks in the last pass."""
    rounded: bool = True
    """Whether the input has 8 bits, as a file has."""

    @property
    def margin(self) -> int:
        """Target pixels that are wanted around a patch on each side; 0 where no step mixes neighbours."""
        return MARGIN if any(step.mixes for step in self.steps) else 0

    def __call__(
        self, target: Pixels, scale: int, generator: np.random.Generator, margins: Margins = (0, 0, 0, 0)
    ) -> Pixels | Floats:
        """Degrade a target (H, W, C) to an input (H / scale, W / scale, C), without its margins.

        H and W are multiples of scale. uint8, or float32 around [0, 1] where `rounded` is off. The margins are there
        for the steps that mix neighbours and are cut off after the last of these. So the blocks of a JPEG that comes
        later begin at the patch's corner, as they begin at the corner of a file.
        """
        size = target.shape[0] // scale, target.shape[1] // scale
        steps = self._drawn(generator)
        last = max((at for at, step in enumerate(steps) if step.mixes), default=-1)
        image = to_floats(target)
        if last < 0 and scale == 1:
            image = _cut(image, margins)
        for at, step in enumerate(steps):
            image = (
                fit(image, size, step.filters, generator) if isinstance(step, Shrink) else step.apply(image, generator)
            )
            if at == last:
                image = _cut(fit(image, size, FILTERS, generator), margins)
        if last < 0 and scale > 1:
            image = _cut(fit(image, size, FILTERS, generator), margins)
        return to_pixels(image) if self.rounded else image

    def _drawn(self, generator: np.random.Generator) -> list[AnyStep]:
        """Draw which steps are passed, in which order."""
        low, high = self.passes
        count = low if low == high else int(generator.integers(low, high + 1))
        chosen = []
        for number in range(count):
            steps = [step for step in self.steps if number == count - 1 or not isinstance(step, Shrink)]
            if self.order == "random":
                steps = [steps[at] for at in generator.permutation(len(steps))]
            chosen += [s for s in steps if s.probability == 1 or generator.random() < s.probability]
        return chosen


def _cut(image: Floats, margins: Margins) -> Floats:
    top, left, bottom, right = margins
    return np.ascontiguousarray(image[top : image.shape[0] - bottom, left : image.shape[1] - right])


def parse(steps: Sequence[Mapping[str, object]]) -> tuple[AnyStep, ...]:
    """Make steps of plain values, as `tasks.py` has them; raises ValueError or TypeError for a mistake in them."""
    made = []
    for given in steps:
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        kind = str(given["kind"])
        if kind not in KINDS:
            raise ValueError(f"no step {kind}; there are {', '.join(KINDS)}")
        made.append(KINDS[kind](**values))  # type: ignore[arg-type]  # checked by the step
    return tuple(made)
