"""Many files on this machine: while some are restored, the next is fetched and the last is put."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from functools import partial
from typing import ParamSpec, TypeVar

import torch

from mambairv2.batch.copies import copies_of
from mambairv2.batch.outcome import Reading, Watcher
from mambairv2.batch.work import Work
from mambairv2.batch.work_list import Job
from mambairv2.restoration.choosing import Choosing
from mambairv2.restoration.restorer import Restorer

P = ParamSpec("P")
T = TypeVar("T")


def restore_here(
    restorer: Restorer | Choosing, jobs: Iterable[Job], reading: Reading, watcher: Watcher, workers: int = 1
) -> None:
    """Restore files, as many at once as there are workers, which share the cores and the free memory.

    One worker is the calling thread; several are threads of their own. Remote files are copied to and from a scratch
    folder in the background. What ends the run early (an error of the watcher, Ctrl-C) lets each worker finish its
    tile. Raises EngineError where a scratch folder is needed and none can be made.
    """
    stopped = threading.Event()

    def started(work: Work) -> Future[None]:
        job = work.outcome.job
        progress, planned = watcher.begun(job), partial(watcher.planned, job)

        def tick(done: int, total: int) -> None:
            if stopped.is_set():
                raise CancelledError
            progress(done, total)

        return restoring.submit(work.restore, restorer, tick, planned)

    def finish(work: Work) -> None:
        watcher.done(work.put())

    workers = max(1, min(workers, len(jobs := list(jobs))))
    with (
        copies_of(jobs) as folder,
        _background() as fetching,
        _background() as putting,
        _sharing(restorer, workers) as restoring,
    ):
        busy: dict[Future[None], Work] = {}
        last: Future[None] | None = None

        def hand_on(when: str) -> None:
            """Hand those that are restored to `finish`, which one thread does, one after another."""
            nonlocal last
            done = wait(busy, return_when=when).done
            for future in [one for one in busy if one in done]:
                future.result()
                if last is not None:
                    last.result()
                last = putting.submit(finish, busy.pop(future))

        try:
            for work in _fetched((Work(job, reading, folder) for job in jobs), fetching):
                busy[_done() if work.settled else started(work)] = work
                if len(busy) >= workers:
                    hand_on(FIRST_COMPLETED)
            hand_on(ALL_COMPLETED)
            if last is not None:
                last.result()
        except BaseException:
            stopped.set()
            raise


@contextmanager
def _sharing(restorer: Restorer | Choosing, workers: int) -> Iterator[Executor]:
    """Threads that restore side by side; the calling one alone where there is one worker."""
    if workers == 1:
        yield _AtOnce()
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // workers))  # also of threads that are made from now on
    restorer.share_memory(workers)
    try:
        with _background(workers) as executor:
            yield executor
    finally:
        restorer.share_memory(1)
        torch.set_num_threads(threads)


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


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
def _background(threads: int = 1) -> Iterator[Executor]:
    """Threads that do calls, in order; where there is no memory for a thread, they are done at once."""
    with ThreadPoolExecutor(threads) as pool:
        try:
            pool.submit(int)  # makes a thread
            background: Executor = pool
        except RuntimeError:
            background = _AtOnce()
        yield background
