"""Cards of packaged weights, as data: the task, the training, and the figures that the network reaches."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mambairv2.tasks import TASKS, TaskName


@dataclass(frozen=True)
class Figures:
    """Means over one test set: PSNR in dB and SSIM of the result, and of the input (`base`: bicubic, noisy or JPEG)."""

    set: str
    protocol: str
    """Such as `sr x2` or `denoise 25`."""
    psnr: float
    ssim: float
    base_psnr: float
    base_ssim: float


@dataclass(frozen=True)
class Card:
    """The card of packaged weights; it lies beside `NAME.safetensors` as `NAME.json`."""

    name: str
    task: TaskName
    scale: int
    parameters: int
    iterations: int
    hours: float
    """Training time by the clock, in hours."""
    sets: tuple[Figures, ...]

    def to_json(self) -> str:
        """Return the card as the text of its file."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_card(path: Path) -> Card:
    """Read a card; raises ValueError, naming the file, where it is not a card, OSError where it cannot be read."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        card = Card(**{**fields, "sets": tuple(Figures(**figures) for figures in fields["sets"])})
        numbers = (card.scale, card.parameters, card.iterations, card.hours)
        figures = [x for f in card.sets for x in (f.psnr, f.ssim, f.base_psnr, f.base_ssim)]
        if card.task not in TASKS or not all(isinstance(x, int | float) for x in (*numbers, *figures)):
            raise TypeError("a task that is unknown, or a number that is none")
    except (ValueError, TypeError, KeyError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: is not a card of weights ({reason}); make it again by benchmarks/card.py") from None
    return card
