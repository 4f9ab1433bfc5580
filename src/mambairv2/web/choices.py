"""What the page can do with a photograph, as its user chooses it."""

from __future__ import annotations

from dataclasses import dataclass

from mambairv2.batch.naming import mark_of
from mambairv2.tasks import TASKS, weights_name
from mambairv2.weights.packaged import pretrained, weights_by_file


@dataclass(frozen=True)
class Choice:
    """One thing to do, at one scale."""

    words: str
    weights: str
    """The name of packaged weights."""
    clean: str | None
    """Packaged weights for clean pictures, where the choice is made for each file; None where `weights` are for all."""
    scale: int

    @property
    def mark(self) -> str:
        """What is added to the names of outputs."""
        return mark_of(self.scale, self.weights)


def choices() -> dict[str, Choice]:
    """Return all choices by the names that programs give, the recommended one first."""
    found: dict[str, Choice] = {}
    for scale in TASKS["sr"].scales:
        photo, clean = weights_by_file(scale)
        if clean is not None:
            words = f"Clean where needed and enlarge ×{scale}" + (" (recommended)" if not found else "")
            found[f"auto-x{scale}"] = Choice(words, photo, clean, scale)
    for name, task in TASKS.items():
        for scale in task.scales:
            weights = weights_name(name, scale)
            if weights in pretrained():
                found[weights] = Choice(task.words(scale), weights, None, scale)
    return found
