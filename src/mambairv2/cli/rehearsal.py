"""Trying out in another process what could end this one: loading torch under a limit on the address space."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def rehearse(load: Callable[[], object]) -> None:
    """Raise MemoryError where a limit on the address space (`ulimit -v`) leaves no room for `load`.

    Libraries that find no memory while they are loaded end the process, and nothing can catch that. So a forked child
    loads first, and only where there is such a limit. A ValueError counts as loaded: `load` raises it here again.
    """
    if not _limited():
        return
    child = os.fork()
    if child == 0:
        status = 1
        try:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            load()
            status = 0
        except ValueError:
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        raise MemoryError("the limit on the address space (ulimit -v) leaves no room to load the network")


def _limited() -> bool:
    if sys.platform == "win32" or not hasattr(os, "fork"):
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
