"""The log of a run: JSON lines in its folder, a progress bar or plain lines, and TensorBoard on request."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mambairv2.evaluation.valid_json import valid_json
from mambairv2.files.atomic import write_whole
from mambairv2.files.names import shown

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Line = dict[str, object]


def peak_memory_mb() -> float:
    """Return the most memory this process has taken, MiB: of the GPU where there is one; 0 on Windows."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def duration(seconds: float) -> str:
    """Return a time in words, such as `3.2 h`."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


class Reporter:
    """Writes `log.jsonl` and shows progress; a silent one, for all but the first process, does neither."""

    def __init__(self, run: Path, total: int, silent: bool = False, tensorboard: bool = False) -> None:
        self.path, self.total, self.silent = run / "log.jsonl", total, silent
        self.unwritten: list[str] = []  # lines for which there was no room on the disk
        self.begun: tuple[float, int] | None = None  # when the first step ended, and its number
        self.validated: set[float] = set()  # iterations whose validation is in the log
        self.console = Console(quiet=silent, stderr=True)
        self.board: SummaryWriter | None = None
        if tensorboard and not silent:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(run))
        self.progress = Progress(
            BarColumn(None),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            disable=silent or not self.console.is_terminal,
        )
        self.bar = self.progress.add_task("", total=total)

    def __enter__(self) -> Reporter:
        """Show the bar."""
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        self.progress.stop()
        self.flush()
        if self.board is not None:
            with self._saying(f"TensorBoard's file in {self.path.parent}"):
                self.board.close()

    def rewind(self, iteration: int) -> None:
        """Drop the lines after an iteration: the run goes on from there."""
        if self.silent:
            return
        before = self.path.read_text() if self.path.exists() else ""
        lines = [line for line in before.splitlines(keepends=True) if _iteration(line) <= iteration]
        self.unwritten = [line for line in self.unwritten if _iteration(line) <= iteration]
        self.validated = {_iteration(line) for line in lines + self.unwritten if "/psnr" in line}
        if (kept := "".join(lines)) != before:
            write_whole(self.path, kept)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(shown(text), highlight=False, markup=False, soft_wrap=True)

    def write(self, line: Line) -> None:
        """Append one line to the log; on a full disk it waits in memory until there is room."""
        if self.silent:
            return
        self.unwritten.append(valid_json(line) + "\n")
        self.flush()
        if self.board is not None:
            with self._saying(f"TensorBoard's file in {self.path.parent}"):
                for name, value in line.items():
                    if isinstance(value, float):
                        self.board.add_scalar(name, value, line["iteration"])

    def flush(self) -> None:
        """Write what could not be written before."""
        with self._saying(str(self.path)):
            if self.unwritten:
                _append(self.path, "".join(self.unwritten).encode())
                self.unwritten = []

    @contextmanager
    def _saying(self, what: str) -> Iterator[None]:
        """Say what could not be written, instead of ending the run for it."""
        try:
            yield
        except OSError as error:
            self.say(f"could not write {what}: {error.strerror}")

    def advance(self, iteration: int, line: Line | None = None) -> None:
        """Move the bar; with a line of the log, show its figures, and the time left where there is no bar for it."""
        self.begun = self.begun or (time.monotonic(), iteration)
        if line is None:
            self.progress.update(self.bar, completed=iteration)
            return
        memory = peak_memory_mb()
        figures = f"loss {line['loss']:.5f}  lr {line['lr']:.2e}"
        text = f"{figures}  {line['images_per_s']:.1f} images/s  {memory:.0f} MiB"
        if self.console.is_terminal:
            self.progress.update(self.bar, completed=iteration, description=text)
        else:
            self.say(f"{iteration}/{self.total}  {text}{self._left(iteration)}")

    def _left(self, iteration: int) -> str:
        """Return the time that is left, by the pace since the first step of this process, validation included."""
        assert self.begun is not None
        since, first = self.begun
        if not first < iteration < self.total:
            return ""
        return f"  {duration((time.monotonic() - since) / (iteration - first) * (self.total - iteration))} left"


def _append(path: Path, content: bytes) -> None:
    """Append all of content or nothing; raises OSError, such as for a full disk."""
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            done = file.write(content)
            if done < len(content):  # a disk takes what still fits
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(end)
            raise


def _iteration(line: str) -> float:
    try:
        return float(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut short when the process was killed
