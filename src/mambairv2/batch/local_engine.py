"""Many files on this machine: while one is restored, the next is fetched and the last is put."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from mambairv2.batch.jobs import Job
from mambairv2.batch.outcome import Reading, Watcher
from mambairv2.batch.work import Work
from mambairv2.files.atomic import scratch
from mambairv2.restoration.restorer import Restorer


def restore_here(restorer: Restorer, jobs: Iterable[Job], reading: Reading, watcher: Watcher) -> None:
    """Restore files one after another; remote ones are copied to and from a scratch folder in the background."""

    def finish(work: Work) -> None:
        watcher.done(work.put())

    with scratch() as folder, ThreadPoolExecutor(1) as fetching, ThreadPoolExecutor(1) as putting:
        last: Future[None] | None = None
        for work in _fetched((Work(job, reading, folder) for job in jobs), fetching):
            if not work.settled:
                job = work.outcome.job
                work.restore(restorer, watcher.begun(job), partial(watcher.planned, job))
            if last is not None:
                last.result()
            last = putting.submit(finish, work)
        if last is not None:
            last.result()


def _fetched(works: Iterable[Work], fetching: ThreadPoolExecutor) -> Iterator[Work]:
    """Fetch each work while the one before it is in use."""

    def fetch(work: Work) -> Work:
        work.fetch()
        return work

    coming: Future[Work] | None = None
    for work in works:
        following = fetching.submit(fetch, work)
        if coming is not None:
            yield coming.result()
        coming = following
    if coming is not None:
        yield coming.result()
