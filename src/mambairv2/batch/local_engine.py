"""Many files on this machine: while one is restored, the next is fetched and the last is put."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import ParamSpec, TypeVar

from mambairv2.batch.copies import copies_of
from mambairv2.batch.outcome import Reading, Watcher
from mambairv2.batch.work import Work
from mambairv2.batch.work_list import Job
from mambairv2.restoration.choosing import Choosing
from mambairv2.restoration.restorer import Restorer

P = ParamSpec("P")
T = TypeVar("T")


def restore_here(restorer: Restorer | Choosing, jobs: Iterable[Job], reading: Reading, watcher: Watcher) -> None:
    """Restore files one after another; remote ones are copied to and from a scratch folder in the background.

    Raises EngineError where such a folder is needed and none can be made.
    """

    def finish(work: Work) -> None:
        watcher.done(work.put())

    with copies_of(jobs := list(jobs)) as folder, _background() as fetching, _background() as putting:
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


def _fetched(works: Iterable[Work], fetching: Executor) -> Iterator[Work]:
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


class _AtOnce(Executor):
    """Does each call when it is submitted, on the thread that submits it."""

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _background() -> Iterator[Executor]:
    """A thread that does calls one after another; where there is no memory for a thread, they are done at once."""
    with ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(int)  # makes the thread
            background: Executor = thread
        except RuntimeError:
            background = _AtOnce()
        yield background
