"""The checks of one backend, in a process of their own: `python -m mambairv2.cli.check.apart JSON`.

The last line of standard output is JSON again: a list of results.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field

import torch

from mambairv2.cli.check.network_cases import network_cases
from mambairv2.ops import triton_support
from mambairv2.ops.self_check.cases import cases, kernel_cases
from mambairv2.ops.self_check.comparison import Case, Result, check_all


@dataclass(frozen=True)
class Job:
    """Backends that are checked together."""

    backends: tuple[str, ...]
    where: str
    """The instruction set or the device, as it is shown."""
    device: str = "cpu"
    dtypes: tuple[str, ...] = ("float32",)
    environment: dict[str, str] = field(default_factory=dict)
    """Variables of its process."""

    def run(self) -> list[Result]:
        """Run it in this process."""
        device, every = torch.device(self.device), cases()
        if "triton" not in self.backends or not triton_support.INTERPRETED:  # where a network takes minutes
            every += network_cases()
        return [result for name in self.backends for result in self._check(every, name, device)]

    def _check(self, every: list[Case], backend: str, device: torch.device) -> list[Result]:
        dtypes = [getattr(torch, dtype) for dtype in self.dtypes]
        results = check_all(every, backend, self.where, device, [dtype for dtype in dtypes if dtype.itemsize >= 4])
        if half := [dtype for dtype in dtypes if dtype.itemsize < 4]:
            results += check_all(kernel_cases(), backend, self.where, device, half)
        return results


def main(text: str) -> None:
    """Run a job and print its results."""
    print(json.dumps([asdict(result) for result in Job(**json.loads(text)).run()]))


if __name__ == "__main__":
    main(*sys.argv[1:])
