"""Many files: which inputs become which outputs, settled before any work is done. Needs no torch."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mambairv2.encoding import FORMATS
from mambairv2.images import READABLE


class BatchError(ValueError):
    """Inputs and outputs that do not fit together; the message is one line that says what to do."""


@dataclass(frozen=True)
class Job:
    """One file to restore and where it goes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Naming:
    """How outputs are named."""

    output: str | None = None
    """A file, for one input, or a folder; None puts outputs beside their inputs."""
    mark: str = "_restored"
    """Added to the name when the output lies beside the input."""
    suffix: str | None = None
    """Added to every name; None leaves names in another folder as they are."""
    extension: str | None = None
    """Format of every output, such as `.png`; None keeps the input's where it can be written, else .png."""


def plan_jobs(
    inputs: Iterable[str],
    naming: Naming,
    *,
    recursive: bool = False,
    overwrite: bool = False,
    skip: bool = False,
) -> tuple[list[Job], list[Job]]:
    """Settle the jobs for files, folders and glob patterns.

    A folder stands for the image files in it, with recursive for those of its subfolders too, structure kept.
    A file that is named is a job whether it exists or not. Returns the jobs to do and those skipped because
    their output exists (skip). Raises BatchError for two inputs with one output, an output that is an input,
    and existing outputs without overwrite or skip.
    """
    if naming.extension is not None and naming.extension.lower() not in FORMATS:
        raise BatchError(f"cannot write {naming.extension}; choose one of {' '.join(FORMATS)}")
    jobs: list[Job] = []
    listed = [Path(path) for text in inputs for path in expand(text)]
    single = len(listed) == 1 and not listed[0].is_dir()
    out = _real(Path(naming.output)) if naming.output is not None else None
    for path in listed:
        if path.is_dir():
            ours = out if out is not None and _real(path) in out.parents else None
            found = [file for file in _walk(path, recursive) if ours not in _real(file).parents]
            jobs += [Job(file, _in_folder(file, path, naming)) for file in found]
        else:
            jobs.append(Job(path, _for_file(path, naming, single)))
    jobs = list(dict.fromkeys(jobs))
    _check(jobs)
    existing = [job for job in jobs if job.target.exists()]
    if existing and not (overwrite or skip):
        others = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise BatchError(f"{existing[0].target}{others}: exists already; pass --overwrite or --skip-existing")
    skipped = existing if skip and not overwrite else []
    return [job for job in jobs if job not in set(skipped)], skipped


def expand(text: str) -> list[str]:
    """The paths a pattern stands for, sorted; the text itself if it names a file or matches none."""
    if os.path.lexists(text) or not glob.has_magic(text):
        return [text]
    return sorted(glob.glob(text, recursive=True)) or [text]


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    """Image files of a folder by name, hidden ones left out."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(READABLE):
                yield Path(where, name)


def _renamed(source: Path, naming: Naming, added: str) -> str:
    kept = source.suffix if source.suffix.lower() in FORMATS else ".png"
    return source.stem + added + (naming.extension or kept)


def _in_folder(file: Path, root: Path, naming: Naming) -> Path:
    """The output for a file found in a folder."""
    inner = file.relative_to(root).parent / _renamed(file, naming, naming.suffix or "")
    if naming.output is not None:
        return Path(naming.output) / inner
    whole = _real(root)
    return whole.with_name(whole.name + (naming.suffix or naming.mark)) / inner


def _for_file(file: Path, naming: Naming, single: bool) -> Path:
    """The output for a file that was named."""
    if naming.output is None:
        return file.with_name(_renamed(file, naming, naming.mark if naming.suffix is None else naming.suffix))
    out = Path(naming.output)
    folder = out.is_dir() or not out.suffix or naming.output.endswith(("/", os.sep))
    if single and not folder:
        return out
    if not single and out.suffix.lower() in FORMATS and not out.is_dir():
        raise BatchError(f"{out}: is one file for several inputs; give a folder")
    return out / _renamed(file, naming, naming.suffix or "")


def _real(path: Path) -> Path:
    """Where a path leads; unlike `Path.resolve`, of links that lead in a circle too."""
    return Path(os.path.realpath(path))


def _check(jobs: list[Job]) -> None:
    sources = {_real(job.source): job for job in jobs}
    taken: dict[Path, Job] = {}
    for job in jobs:
        place = _real(job.target)
        if place in sources:
            raise BatchError(f"{job.target}: would replace an input; choose another -o, or add --suffix")
        if place in taken:
            both = f"{taken[place].source} and {job.source}"
            raise BatchError(f"{both}: would both become {job.target}; restore them apart")
        taken[place] = job
