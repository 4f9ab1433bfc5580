"""What the page does with photographs, without the page: choices, limits, one job after another."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from mambairv2.batch.jobs import plan_batch
from mambairv2.batch.naming import Naming
from mambairv2.batch.outcome import Outcome, Reading
from mambairv2.batch.work import Work
from mambairv2.batch.work_list import Job
from mambairv2.restoration.restorer import Restorer
from mambairv2.tasks import TASKS
from mambairv2.weights.packaged import pretrained
from mambairv2.weights.read_config import read_config

Shown = Callable[[int, int, str], None]
"""Called with the tiles done, the tiles in all, and the name of the file."""
RECOMMENDED = ("photo-x2", "sr-x2")
"""Weights for ordinary photographs, the best first."""
SUBJECTS = {"denoise": "Remove noise", "jpeg": "Remove JPEG artifacts", "photo": "Clean", "sr": "Enlarge"}


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    megabytes: int = 64
    """Of one upload."""
    pixels: int = 25_000_000
    """Of one photograph before it is enlarged."""
    files: int = 20
    waiting: int = 16
    """Requests that wait for their turn; more are refused."""


class Cancelled(Exception):
    """The user does not want the rest."""


@dataclass(frozen=True)
class Made:
    """One file of a request: the photograph, and what became of it."""

    source: Path
    target: Path
    outcome: Outcome

    @property
    def line(self) -> str:
        """One line for the user, without paths of this machine."""
        outcome, folder = self.outcome, f"{self.source.parent}/"
        if outcome.error is not None:
            return f"error: {outcome.error}".replace(folder, "")
        height, width = outcome.size
        notes = f" ({'; '.join(outcome.notes)})" if outcome.notes else ""
        sizes = f"{width}×{height} → {width * outcome.scale}×{height * outcome.scale}"
        return f"{self.target.name}: {sizes}, {outcome.seconds:.1f} s{notes}".replace(folder, "")


class Service:
    """Restores the photographs of requests, one request at a time, with networks that stay loaded.

    folder: for temporary files; each request has a folder of its own in it.
    """

    def __init__(self, folder: Path, device: str, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self._device = device
        self._restorers: dict[str, Restorer] = {}
        self._turn = threading.Lock()

    def choices(self) -> list[tuple[str, str]]:
        """Return what can be done, the recommended first: words, and the name of the weights."""
        names = list(pretrained())
        best = next((name for name in RECOMMENDED if name in names), names[0])
        rest = sorted(names, key=lambda name: (name != best, not name.startswith(("photo", "sr")), name))
        return [(_words(name) + (" (recommended)" if name == best else ""), name) for name in rest]

    @contextmanager
    def request(self) -> Iterator[Path]:
        """Make the folder of a request and remove it at the end."""
        folder = self.folder / uuid4().hex
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def restore(self, files: Sequence[Path], name: str, folder: Path, shown: Shown) -> Iterator[Made]:
        """Restore files one after another into `folder`; each comes when it is done, also one that failed.

        shown: may raise Cancelled, which ends the request. Raises ValueError for weights that are not packaged, for no
        files and for too many.
        """
        if name not in pretrained():
            raise ValueError(f"{name}: is not among the choices: {', '.join(pretrained())}")
        if not files:
            raise ValueError("choose a photograph first")
        if len(files) > self.limits.files:
            raise ValueError(f"{len(files)} files are too many at once; the limit is {self.limits.files}")
        reading = Reading(max_pixels=self.limits.pixels)
        for number, file in enumerate(files):
            place = folder / str(number)
            place.mkdir()
            source = place / file.name
            shutil.copyfile(file, source)
            job = plan_batch([str(source)], Naming(mark=_mark(name))).jobs[0]
            yield self._restore(job, reading, name, shown)

    def _restore(self, job: Job, reading: Reading, name: str, shown: Shown) -> Made:
        source, target = Path(job.source), Path(job.target)
        stopped: list[Cancelled] = []

        def progress(done: int, total: int) -> None:
            try:
                shown(done, total, source.name)
            except Cancelled as cancelled:  # `Work` keeps errors of a file, and this is none
                stopped.append(cancelled)
                raise

        work = Work(job, reading, source.parent)
        with self._turn:
            shown(0, 1, source.name)
            work.fetch()
            work.restore(self._restorer(name), progress)
        if stopped:
            raise stopped[0]
        return Made(source, target, work.put())

    def _restorer(self, name: str) -> Restorer:
        if name not in self._restorers:
            self._restorers[name] = Restorer(name, self._device)
        return self._restorers[name]


def _words(name: str) -> str:
    """Return what packaged weights do, in words."""
    scale = read_config(name).upscale
    task = next((task for task in TASKS if name == task or name.startswith(f"{task}-x")), None)
    subject = SUBJECTS.get(task or "", name)
    if task == "photo" and scale > 1:
        return f"Clean and enlarge ×{scale}"
    return f"{subject} ×{scale}" if scale > 1 else subject


def _mark(name: str) -> str:
    """Return what is added to the name of an output, as the command line does."""
    scale = read_config(name).upscale
    return f"_x{scale}" if scale > 1 else f"_{name}"
