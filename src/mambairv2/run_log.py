"""What a run says: JSON lines in its folder, a progress bar or plain lines, and TensorBoard on request."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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


class Reporter:
    """Writes `log.jsonl` and shows progress; a silent one, for all but the first process, does neither."""

    def __init__(self, run: Path, total: int, silent: bool = False, tensorboard: bool = False) -> None:
        self.path, self.total, self.silent = run / "log.jsonl", total, silent
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
        if self.board is not None:
            self.board.close()

    def rewind(self, iteration: int) -> None:
        """Drop the lines after an iteration: the run goes on from there."""
        if self.silent or not self.path.exists():
            return
        lines = [line for line in self.path.read_text().splitlines() if _iteration(line) <= iteration]
        self.path.write_text("".join(line + "\n" for line in lines))

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def write(self, line: Line) -> None:
        """Append one line to the log; a full disk costs the line, not the run."""
        if self.silent:
            return
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            self.say(f"could not write {self.path}: {error}")
        if self.board is not None:
            for name, value in line.items():
                if isinstance(value, float):
                    self.board.add_scalar(name, value, line["iteration"])

    def advance(self, iteration: int, line: Line | None = None) -> None:
        """Move the bar; with a line of the log, show its figures."""
        if line is None:
            self.progress.update(self.bar, completed=iteration)
            return
        memory = peak_memory_mb()
        text = f"loss {line['loss']:.5f}  {line['images_per_s']:.1f} images/s  {memory:.0f} MiB"
        if self.console.is_terminal:
            self.progress.update(self.bar, completed=iteration, description=text)
        else:
            self.say(f"{iteration}/{self.total}  {text}")


def _iteration(line: str) -> float:
    try:
        return float(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut short when the process was killed
