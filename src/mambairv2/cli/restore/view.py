"""What a run of `restore` shows: a line for each file, a progress bar on a terminal, and the entries of its record."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

from mambairv2.batch.manifest import Manifest
from mambairv2.batch.outcome import Outcome
from mambairv2.batch.work_list import Job
from mambairv2.cli.streams import say
from mambairv2.files.names import shown

if TYPE_CHECKING:
    from mambairv2.restoration.results import Estimate
    from mambairv2.restoration.tiling import Progress as Tiles

LONG = 10
"""Seconds from which the time and memory of a file are told before it begins."""


class RestoreView:
    """The lines, the bar and the counts of a run; a context manager that draws the bar."""

    def __init__(self, total: int, manifest: Manifest | None) -> None:
        self.restored = self.unchanged = self.failed = 0
        self._manifest = manifest
        self._console = Console(stderr=True)
        self._bar = Progress(
            console=self._console,
            transient=True,
            speed_estimate_period=3600,  # a tile may take minutes
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self._console.is_terminal,  # or it ends what it did not draw with an empty line
        )
        self._files = self._bar.add_task("images", total=total, visible=total > 1)
        self._tiles: dict[Job, TaskID] = {}

    def __enter__(self) -> RestoreView:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begun(self, job: Job) -> Tiles:
        """Show the tiles of a file that is being restored. Raises ManifestError."""
        if self._manifest is not None:
            self._manifest.begun(job.target)
        name = escape(shown(Path(job.source).name))
        self._tiles[job] = task = self._bar.add_task(name, total=None)
        return lambda done, total: self._bar.update(task, completed=done, total=total)

    def planned(self, job: Job, estimate: Estimate) -> None:
        """Print what a file will take, if that is `LONG` or more memory than is free."""
        short = (estimate.seconds or 0) < LONG
        if not short or (estimate.free is not None and estimate.memory > estimate.free):
            self._say(f"{job.source}  {forecast(estimate)}", sys.stderr)

    def done(self, outcome: Outcome) -> None:
        """Print and record what became of a file. Raises ManifestError."""
        job = outcome.job
        if job in self._tiles:
            self._bar.remove_task(self._tiles.pop(job))
        self._bar.advance(self._files)
        if outcome.error is not None:
            self.failed += 1
            self._say(f"error: {outcome.error}", sys.stderr)
            if self._manifest is not None:
                self._manifest.failed(job.source, outcome.digest, job.target, outcome.error)
        elif outcome.unchanged:
            self.unchanged += 1
            if self._manifest is not None:
                self._manifest.unchanged(job.target)
        else:
            self.restored += 1
            self._say(restored_line(outcome), sys.stdout)
            if self._manifest is not None:
                figures = outcome.bytes, outcome.seconds, outcome.notes
                self._manifest.done(job.source, outcome.digest, job.target, *figures)

    def _say(self, text: str, stream: TextIO) -> None:
        """Print a line, above the bar where both are on the terminal."""
        if self._console.is_terminal and stream.isatty():
            self._console.print(shown(text), soft_wrap=True, markup=False, highlight=False)
        else:
            say(text, stream)


def restored_line(outcome: Outcome) -> str:
    """Return one line on a restored file: sizes, time, output, notes."""
    height, width = outcome.size
    notes = f" ({'; '.join(outcome.notes)})" if outcome.notes else ""
    sizes = f"{width}x{height} -> {width * outcome.scale}x{height * outcome.scale}"
    return f"{outcome.job.source}  {sizes}  {outcome.seconds:.1f} s  {outcome.job.target}{notes}"


def forecast(estimate: Estimate) -> str:
    """Return one line on a file before it is restored: size, tiles, memory, time."""
    (height, width), (rows, columns) = estimate.size, estimate.tile
    pages = f"{estimate.pages} pages of " * (estimate.pages > 1)
    tiles = f"{estimate.tiles} tile{'s' * (estimate.tiles > 1)} of {columns}x{rows}"
    text = f"{pages}{width}x{height} ({estimate.pages * width * height / 1e6:.1f} megapixels), {tiles}"
    text += f", about {estimate.memory / 2**30:.1f} GiB of memory"
    if estimate.free is not None and estimate.memory > estimate.free:
        text += f" where {estimate.free / 2**30:.1f} GiB are free: try a smaller --tile"
    if estimate.seconds is not None:
        text += f", about {timedelta(seconds=round(estimate.seconds))}"
    return text
