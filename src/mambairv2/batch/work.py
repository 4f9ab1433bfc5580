"""One file of many on its way: fetched, restored, put where it belongs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mambairv2.batch.outcome import Outcome, Reading
from mambairv2.batch.work_list import Job
from mambairv2.files import storage
from mambairv2.images.errors import ImageError
from mambairv2.images.formats import suffix_of
from mambairv2.restoration.choosing import Choosing
from mambairv2.restoration.restorer import Restorer
from mambairv2.restoration.results import Estimate
from mambairv2.restoration.tiling import Progress


class Work:
    """One job in three steps, which may run in different threads, one after another.

    An error of any step is kept in the outcome, and later steps then do nothing. scratch: a local folder for copies of
    remote files.
    """

    def __init__(self, job: Job, reading: Reading, scratch: Path) -> None:
        self._reading, self._scratch = reading, scratch
        self.outcome = Outcome(job)
        self._copies: list[Path] = []
        self._source = self._target = Path()

    def fetch(self) -> None:
        """Compute the digest of the input and, if there is something to do, download the input if it is remote."""
        job = self.outcome.job
        with self._noting():
            with suppress(OSError):  # opening it as an image gives the better message
                self.outcome.digest = storage.digest(job.source)
                self.outcome.unchanged = self.outcome.digest == job.made_from
            if not self.outcome.unchanged:
                self._source = self._here(job.source, storage.split(job.source)[2])
                if not storage.is_local(job.source):
                    storage.fetch(job.source, self._source)
                self._target = self._here(job.target, storage.split(job.target)[2] or job.suffix or self._kind())

    def restore(
        self,
        restorer: Restorer | Choosing,
        progress: Progress | None = None,
        planned: Callable[[Estimate], None] | None = None,
    ) -> None:
        """Restore it into a local file, if there is something to do."""
        if self.settled:
            return
        with self._noting():
            how = self._reading
            made = restorer.restore_file(
                self._source,
                self._target,
                options=how.options,
                page=how.page,
                max_pixels=how.max_pixels,
                progress=progress,
                planned=planned,
            )
            self.outcome.size, self.outcome.scale, self.outcome.notes = made.size, made.scale, made.notes
            self.outcome.bytes = self._target.stat().st_size

    def put(self) -> Outcome:
        """Upload the output if it is remote, remove copies, and return what became of the job."""
        if not self.settled:
            with self._noting():
                if not storage.is_local(self.outcome.job.target):
                    storage.publish(self._target, self.outcome.job.target)
        for copy in self._copies:
            copy.unlink(missing_ok=True)
        return self.outcome

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do."""
        return self.outcome.unchanged or self.outcome.error is not None

    def _here(self, place: str, suffix: str) -> Path:
        """Return the place itself if it is local, else a name for a copy."""
        if storage.is_local(place):
            return Path(place)
        self._copies.append(self._scratch / f"{secrets.token_hex(8)}{suffix}")
        return self._copies[-1]

    def _kind(self) -> str:
        """Return the suffix for the format of the input, by its content."""
        with open(self._source, "rb") as file:
            return suffix_of(file.read(12))

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Time a step, and keep its error in the outcome."""
        start = time.perf_counter()
        try:
            yield
        except Exception as error:  # an error of one file does not stop the others
            self.outcome.error = self._reason(error)
        self.outcome.seconds += time.perf_counter() - start

    def _reason(self, error: Exception) -> str:
        """Return one line that names the file as the user does."""
        job = self.outcome.job
        text, source = " ".join(str(error).split()), storage.display(job.source)
        if isinstance(error, ImageError | storage.PlaceError):
            for copy in self._copies:
                is_input = copy == self._source
                text = text.replace(str(copy), source if is_input else storage.display(job.target, "standard output"))
            return text
        if isinstance(error, OSError) and error.strerror:
            return f"{source}: {error.strerror.lower()}"
        return f"{source}: {text if isinstance(error, MemoryError) else f'{type(error).__name__}: {text}'}"
