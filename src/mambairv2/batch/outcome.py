"""What a run over many files knows of each file: how it is read and written, and what became of it. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mambairv2.batch.work_list import Job
from mambairv2.images.formats import MAX_PIXELS, SaveOptions

if TYPE_CHECKING:
    from mambairv2.restoration.results import Estimate
    from mambairv2.restoration.tiling import Progress


class EngineError(RuntimeError):
    """An engine that cannot do the work; the message is one line."""


@dataclass(frozen=True)
class Reading:
    """How each file is read and its output written, as for `Restorer.restore_file`."""

    options: SaveOptions = field(default_factory=SaveOptions)
    page: int | None = None
    max_pixels: int = MAX_PIXELS


@dataclass
class Outcome:
    """What became of a job."""

    job: Job
    digest: str = ""
    """Of the input; empty if it could not be read."""
    error: str | None = None
    """One line that names the file; None if all went well."""
    unchanged: bool = False
    """The output is there already, made from the same input."""
    size: tuple[int, int] = (0, 0)
    """Height and width of the input."""
    scale: int = 1
    seconds: float = 0.0
    bytes: int = 0
    """Of the output."""
    notes: tuple[str, ...] = ()


class Watcher(Protocol):
    """Is told how the jobs go, from several threads; an error that it raises ends the run."""

    def begun(self, job: Job) -> Progress:
        """A job is about to be restored, or handed to a worker; returns what to call as its tiles are done."""

    def planned(self, job: Job, estimate: Estimate) -> None:
        """A job is about to be restored and will take this much."""

    def done(self, outcome: Outcome) -> None:
        """A job has ended."""
