"""The folder for local copies of files that are not on this machine."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mambairv2.batch.outcome import EngineError
from mambairv2.batch.work_list import Job
from mambairv2.files import storage
from mambairv2.files.atomic import scratch


@contextmanager
def copies_of(jobs: Collection[Job]) -> Iterator[Path]:
    """Make a folder for copies, if a job has an address or standard input or output; it is removed at the end.

    Raises EngineError where none can be made.
    """
    if all(storage.is_local(place) for job in jobs for place in (job.source, job.target)):
        yield Path()
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch())
        except OSError as error:
            reason = f"no folder for temporary files can be written ({(error.strerror or str(error)).lower()})"
            raise EngineError(f"{reason}; set TMPDIR to one that can") from None
        yield folder
