"""What the page does with photographs, without the page: limits, one job after another."""

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
from mambairv2.restoration.choosing import Choosing
from mambairv2.restoration.restorer import Restorer
from mambairv2.web.choices import Choice, choices

Shown = Callable[[int, int, str], None]
"""Called with the tiles done, the tiles in all, and the name of the file."""


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

        name: a key of `choices()`. shown: may raise Cancelled, which ends the request. Raises ValueError for another
        name, for no files and for too many.
        """
        known = choices()
        if name not in known:
            raise ValueError(f"{name}: is not among the choices: {', '.join(known)}")
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
            job = plan_batch([str(source)], Naming(mark=known[name].mark)).jobs[0]
            yield self._restore(job, reading, known[name], shown)

    def _restore(self, job: Job, reading: Reading, choice: Choice, shown: Shown) -> Made:
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
            work.restore(self._restorer(choice), progress)
        if stopped:
            raise stopped[0]
        return Made(source, target, work.put())

    def _restorer(self, choice: Choice) -> Restorer | Choosing:
        if choice.clean is None:
            return self._loaded(choice.weights)
        return Choosing((choice.weights, self._loaded(choice.weights)), (choice.clean, self._loaded(choice.clean)))

    def _loaded(self, weights: str) -> Restorer:
        if weights not in self._restorers:
            self._restorers[weights] = Restorer(weights, self._device)
        return self._restorers[weights]
