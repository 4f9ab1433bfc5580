"""How much memory is free, how an error says that it ran out, and the policy of the allocator."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from pathlib import Path

import torch

_CGROUPS = Path("/sys/fs/cgroup")

_SAID = r"out of memory|not enough memory|can't allocate memory|bad_alloc|could not create a primitive"
"""How errors of torch, of oneDNN and of the C++ library say that memory ran out."""


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of the CPU or of a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return bool(re.search(_SAID, str(error), re.IGNORECASE))


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory in the process rather than map and unmap it for every tensor.

    This halves the time of a network on a CPU. Where the address space is limited (`ulimit -v`), threads also share one
    heap: glibc would reserve 64 MiB of addresses for each, and libvips ends the process when it gets none.
    All this holds for the whole process, so only the command line calls it. Returns whether it was done. Other C
    libraries are left as they are.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # M_TRIM_THRESHOLD and so on, of malloc.h
    mallopt = ctypes.CDLL(None).mallopt
    if _address_room() is not None:
        mallopt(arena_max, 1)
    return bool(mallopt(mmap_threshold, 2**30)) and bool(mallopt(trim_threshold, 2**31 - 1))


def return_freed_memory(device: torch.device) -> None:
    """Give memory that was freed but kept for later back to the system, so that anything can be made of it.

    Smaller tiles need it: oneDNN maps memory for the code that it compiles for each new shape.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that can still be taken on a device; None where that cannot be measured.

    Of a GPU, or of RAM within the limits of cgroups and of the address space (`ulimit -v`).
    """
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    rooms = [room for room in (_system_room(), _address_room(), *_cgroup_rooms()) if room is not None]
    return max(min(rooms), 0) if device.type == "cpu" and rooms else None


def used_memory() -> int:
    """Return the bytes of RAM that this process holds; 0 where that cannot be measured."""
    pages = _text(Path("/proc/self/statm")).split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def _system_room() -> int | None:
    text = _text(Path("/proc/meminfo"))
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _address_room() -> int | None:
    """Return the room under the limit on the address space of this process, RLIMIT_AS."""
    if sys.platform == "win32":
        return None
    import resource

    limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], _text(Path("/proc/self/statm")).split()
    if limit == resource.RLIM_INFINITY or not used:
        return None
    return limit - int(used[0]) * resource.getpagesize()


def _cgroup_rooms() -> list[int | None]:
    """Return the room under the limit of every cgroup that this process is in, v2 and v1."""
    rooms = []
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            root, limit, used, cache = _CGROUPS, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit = _CGROUPS / "memory", "memory.limit_in_bytes"
            used, cache = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        group = root / name.lstrip("/")
        for folder in (group, *group.parents):  # a container may show its own group as the root
            rooms.append(_room(folder, limit, used, cache))
            if folder == root:
                break
    return rooms


def _room(folder: Path, limit: str, used: str, cache: str) -> int | None:
    ceiling, current = _text(folder / limit).strip(), _text(folder / used).strip()
    if not ceiling.isdigit() or not current.isdigit():  # "max", or no such file
        return None
    reclaimable = re.search(rf"^{cache} (\d+)", _text(folder / "memory.stat"), re.MULTILINE)
    return int(ceiling) - int(current) + (int(reclaimable[1]) if reclaimable else 0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
