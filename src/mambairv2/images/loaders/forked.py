"""libvips in a process that forks.

libvips keeps idle threads for its next operation. A child that is forked inherits their number but not the threads.
It would wait for ever for one of them to take its work. So every thread of libvips is kept busy while a process forks:
then none counts as idle, and the child makes threads of its own.
"""

from __future__ import annotations

import ctypes
import os
import threading
from importlib import import_module
from pathlib import Path

_Function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_TASKS = Path("/proc/self/task")
_SECONDS = 5.0
"""How long a fork waits for the threads to be busy."""
_ROUNDS = 8
"""How often a fork looks for idle threads. There may always be others, which work for another thread of Python."""


class _Fork:
    """Keeps the threads of libvips busy while this process forks, once images were opened in it."""

    def __init__(self) -> None:
        self.used = False
        self.lost = False
        """Whether this is a child in which libvips would wait for threads of its parent."""
        self._ready = True
        self._busy = threading.Semaphore(0)
        self._over = threading.Event()
        self._task = _Function(lambda data, user_data: self._wait())
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._occupy, after_in_parent=self._over_in_parent, after_in_child=self._over_in_child
            )

    def _wait(self) -> None:
        self._busy.release()
        self._over.wait()

    def _occupy(self) -> None:
        if not self.used:
            return
        self._busy, self._over = threading.Semaphore(0), threading.Event()
        execute, given = _execute(), 0
        self._ready = execute is not None
        for _ in range(_ROUNDS):  # a thread that still ends its last work idles a moment later
            wanted = _threads() - given
            if execute is None or wanted <= 0:
                break
            added = sum(execute(b"fork", self._task, None) == 0 for _ in range(wanted))
            self._ready = self._ready and all(self._busy.acquire(timeout=_SECONDS) for _ in range(added))
            given += added

    def _over_in_parent(self) -> None:
        self._over.set()

    def _over_in_child(self) -> None:
        self.lost = self.lost or not self._ready


_FORK = _Fork()


def check_threads() -> None:
    """Take note that libvips is used in this process; called before an image is opened.

    Raises RuntimeError in a forked child where libvips would wait for ever: with a libvips before 8.13.
    """
    _FORK.used = True
    if _FORK.lost:
        raise RuntimeError(
            "libvips cannot be used in this process, which was forked after images were opened; "
            "start workers by spawn, or fork before the first image"
        )


def _threads() -> int:
    """Return how many threads libvips has; where the system does not tell, more than it should have idle."""
    if not _TASKS.exists():
        return 16 + 4 * (os.cpu_count() or 1)
    return sum(_is_worker(task / "comm") for task in _TASKS.iterdir())


def _is_worker(name: Path) -> bool:
    try:
        return "worker" in name.read_text(encoding="utf-8", errors="replace")  # as libvips names its threads
    except OSError:  # the thread ended meanwhile
        return False


def _execute() -> ctypes._CFuncPtr | None:  # type: ignore[name-defined]
    """Return `vips_thread_execute`, which runs a function in a thread of libvips; None where it cannot be found."""
    try:
        library = ctypes.CDLL(import_module("_libvips").__file__)  # finds what libvips exports, too
        return library.vips_thread_execute
    except (ImportError, OSError, AttributeError):
        return None
