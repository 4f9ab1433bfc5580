"""How much memory there is, how much a network takes of it, and the allocator's policy where the process is ours."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from pathlib import Path

import torch

from mambairv2.network.attention import WindowAttention
from mambairv2.network.attentive_scan import AttentiveStateSpaceModule
from mambairv2.network.backends import attention_backend, scan_backend
from mambairv2.network.model import MambaIRv2

_CGROUPS = Path("/sys/fs/cgroup")
_IN_TORCH = ("sdpa", "chunked", "reference")
"""Backends that hold what the compiled ones compute on the way."""


def bytes_per_pixel(model: MambaIRv2) -> float:
    """Estimate of the memory a network takes for each pixel of its input, by its size and the backends that run.

    From the growth of the peak resident size over one forward pass on a CPU, float32, images of 64×64 to 384×384, for
    each pixel and channel of `embed_dim`: native, light 31 to 71 bytes, small 50 to 56 (×4: 80 to 93), base 50 to 56
    (×4: 63 to 91); plain torch, light 346 to 412 and small 1253 to 1343. The upper ends are those of images up to
    160×160, whose tensors leave holes in the heap of glibc, other ones in every process. The estimate is 88, 132 (×4:
    small 202, base 153), 424 and 1476.
    """
    config, weight = model.config, next(model.parameters())
    window, heads = config.window_size, max(config.num_heads)
    unfused = 0
    for module in model.modules():
        if isinstance(module, AttentiveStateSpaceModule):  # states of every token
            backend = scan_backend(weight, module.backends.scan, config.d_state)
            needed = 42 * config.hidden_dim * config.d_state
        elif isinstance(module, WindowAttention):  # a row of scores for every token
            backend = attention_backend(weight, window, module.backends.attention, heads)
            needed = 12 * window**2 * heads
        else:
            continue
        unfused = max(unfused, needed if backend in _IN_TORCH else 0)
    body = 44 * (config.embed_dim + config.hidden_dim) + unfused
    head = 0 if config.upsampler in ("", "pixelshuffledirect") else 26 * 64 * config.upscale**2
    return max(body, head) * weight.element_size() / 4


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the CPU or a GPU, ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return bool(re.search(r"out of memory|not enough memory|can't allocate memory", str(error), re.IGNORECASE))


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory in the process rather than map and unmap it for every tensor.

    Halves the time of a network on a CPU. It holds for the whole process, so only the command line calls it.
    Returns whether it was done; it is not on other C libraries.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(mmap_threshold, 2**30)) and bool(mallopt(trim_threshold, 2**31 - 1))


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be taken on a device: of a GPU, or of RAM within the limits of cgroups and `ulimit -v`.

    None where it cannot be measured.
    """
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    rooms = [room for room in (_system_room(), _address_room(), *_cgroup_rooms()) if room is not None]
    return max(min(rooms), 0) if device.type == "cpu" and rooms else None


def used_memory() -> int:
    """Bytes of RAM that this process holds; 0 where it cannot be told."""
    pages = _text(Path("/proc/self/statm")).split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def _system_room() -> int | None:
    text = _text(Path("/proc/meminfo"))
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _address_room() -> int | None:
    """Room under the limit on this process's address space, RLIMIT_AS."""
    if sys.platform == "win32":
        return None
    import resource

    limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], _text(Path("/proc/self/statm")).split()
    if limit == resource.RLIM_INFINITY or not used:
        return None
    return limit - int(used[0]) * resource.getpagesize()


def _cgroup_rooms() -> list[int | None]:
    """Room under the limit of every group this process is in, of cgroups v2 and v1."""
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
