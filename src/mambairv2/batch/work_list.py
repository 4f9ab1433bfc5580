"""What a run will do: its jobs, and the files that it refuses. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


class BatchError(ValueError):
    """Inputs and outputs that do not fit together; the message is one line that says what to do."""


@dataclass(frozen=True)
class Job:
    """One file to restore and where it goes: local paths, remote addresses, or `-` for standard input and output."""

    source: str
    target: str
    made_from: str | None = None
    """If the output exists: the digest of the input that it was made from, with the same settings; None if unknown."""
    suffix: str = ""
    """Format of what goes to standard output, such as `.png`; empty for that of the input's content."""


@dataclass(frozen=True)
class Refused:
    """A file that is not restored, known before any work."""

    job: Job
    error: str
    """One line that names the file and says what to do."""


@dataclass(frozen=True)
class Batch:
    """The jobs of a run."""

    jobs: tuple[Job, ...]
    folder: str | None
    """The folder that holds all outputs, also in subfolders; None if they lie beside their inputs."""
    left_out: tuple[str, ...] = ()
    """Files in the folders of inputs whose names are not those of images."""
    refused: tuple[Refused, ...] = ()
    earlier: tuple[str, ...] = ()
    """Inputs that are left out as outputs of an earlier run, which lie among them."""
    keeps: bool = False
    """Whether outputs that exist are left as they are: those of several inputs, beside them."""
