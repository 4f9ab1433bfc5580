"""The device that a network runs on."""

from __future__ import annotations

import os
import threading

import torch


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device to run on; `auto` is a CUDA GPU when there is one, else the CPU.

    Raises ValueError for a device that this machine does not have.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = "PyTorch finds no Apple GPU" if str(device).startswith("mps") else str(error).splitlines()[0]
        raise ValueError(f"no device {device} here ({reason.partition('. ')[0]}); use auto or cpu") from error
    return chosen


class _Fork:
    """Gives torch one thread in a forked child, as PyTorch's DataLoader does in its workers.

    A child inherits the list of OpenMP's threads but not the threads: the first shared loop would wait for ever.
    """

    def __init__(self) -> None:
        self.threads_made = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._use_one)

    def _use_one(self) -> None:
        if self.threads_made:
            torch.set_num_threads(1)


_FORK = _Fork()


def make_threads() -> None:
    """Make the threads that torch's loops on a CPU share, while there is memory for their stacks; else it gets one.

    OpenMP makes them when they are first needed, and ends the process where it cannot. A child that is forked later
    has one thread.
    """
    _FORK.threads_made = True
    count = torch.get_num_threads()
    end = threading.Event()
    made: list[threading.Thread] = []
    try:
        for _ in range(count - 1):
            thread = threading.Thread(target=end.wait)
            thread.start()
            made.append(thread)
    except (RuntimeError, MemoryError):
        torch.set_num_threads(1)
    finally:
        end.set()
        for thread in made:
            thread.join()
    torch.zeros(count << 15).add_(1)  # long enough for every thread; it takes the stacks that have just become free
