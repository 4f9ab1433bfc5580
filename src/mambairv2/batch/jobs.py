"""Jobs: which inputs become which outputs, settled before any work is done. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from mambairv2.files import storage
from mambairv2.images.formats import FORMATS, READABLE, cannot_write


class BatchError(ValueError):
    """Inputs and outputs that do not fit together; the message is one line that says what to do."""


@dataclass(frozen=True)
class Job:
    """One file to restore and where it goes: local paths or remote addresses."""

    source: str
    target: str
    made_from: str | None = None
    """If the output exists: the digest of the input that it was made from, with the same settings; None if unknown."""


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


@dataclass(frozen=True)
class Batch:
    """The jobs of a run."""

    jobs: tuple[Job, ...]
    folder: str | None
    """The folder that holds all outputs, also in subfolders; None if they lie beside their inputs."""
    left_out: tuple[str, ...] = ()
    """Files in the folders of inputs whose names are not those of images."""


def plan_batch(inputs: Iterable[str], naming: Naming, *, recursive: bool = False) -> Batch:
    """Settle the jobs for files, folders and glob patterns, local or remote.

    A folder stands for the image files in it, with recursive for those of its subfolders too, structure kept.
    A file that is named is a job whether it exists or not. Raises BatchError for two inputs with one output and an
    output that is an input, and PlaceError for remote places that cannot be reached.
    """
    if naming.extension is not None and naming.extension.lower() not in FORMATS:
        raise BatchError(cannot_write(naming.extension))
    listed = [path for text in inputs for path in storage.expand(storage.tidy(text))]
    folders = {path for path in listed if storage.is_folder(path)}
    single = len(listed) == 1 and not folders
    if naming.output is not None:
        naming = replace(naming, output=storage.tidy(naming.output))
    exact = naming.output is not None and not _means_folder(naming.output)
    if exact and naming.output is not None:
        writable = (suffix := storage.split(naming.output)[2]).lower() in FORMATS
        if writable and not single:
            raise BatchError(f"{naming.output}: is one file for several inputs; give a folder")
        if single and not writable:
            raise BatchError(f"{naming.output}: {cannot_write(suffix)}")
    jobs: list[Job] = []
    others: list[str] = []
    for path in listed:
        if path in folders:
            found, unknown = _jobs_of_folder(path, naming, recursive)
            jobs += found
            others += unknown
        elif single and exact:
            jobs.append(Job(path, naming.output or ""))
        else:
            jobs.append(Job(path, _for_file(path, naming)))
    jobs = list(dict.fromkeys(jobs))
    _check(jobs)
    if single:
        return Batch(tuple(jobs), None)
    folder = _beside(listed[0], naming) if naming.output is None and len(listed) == 1 else naming.output
    return Batch(tuple(jobs), folder, tuple(dict.fromkeys(others)))


def settle(
    jobs: Collection[Job], made_from: Mapping[str, str | None], *, overwrite: bool = False, skip: bool = False
) -> tuple[list[Job], list[Job]]:
    """Return the jobs to do, and those that are skipped because their output exists.

    made_from: outputs that earlier runs with the same settings made or were about to make, by absolute name, each with
    the digest of its input if it was finished. These may be replaced. Raises BatchError for any other output that
    exists, without overwrite or skip.
    """
    there = storage.sizes(job.target for job in jobs)
    known, foreign = [], []
    for job in jobs:
        if job.target in there:
            name = storage.absolute(job.target)
            foreign += [] if name in made_from else [job]
            job = replace(job, made_from=made_from.get(name))
        known.append(job)
    if foreign and not (overwrite or skip):
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise BatchError(f"{foreign[0].target}{others}: already exists; pass --overwrite or --skip-existing")
    skipped = [job for job in known if job.target in there] if skip and not overwrite else []
    return [job for job in known if job not in set(skipped)], skipped


def _jobs_of_folder(folder: str, naming: Naming, recursive: bool) -> tuple[list[Job], list[str]]:
    """Return the jobs for the images in a folder, and its other files.

    An output folder inside it does not count as input.
    """
    out = naming.output if naming.output is not None else _beside(folder, naming)
    whole, ours = (storage.same(place).rstrip("/" + os.sep) for place in (folder, out))
    inside = ours.startswith((whole + "/", whole + os.sep))
    jobs: list[Job] = []
    others: list[str] = []
    for name in storage.files(folder, ("",), recursive):
        source = storage.join(folder, name)
        if inside and storage.same(source).startswith((ours + "/", ours + os.sep)):
            continue
        if not name.lower().endswith(READABLE):
            others.append(source)
        else:
            inner, _, _ = name.rpartition("/")
            renamed = _renamed(source, naming, naming.suffix or "")
            jobs.append(Job(source, storage.join(out, f"{inner}/{renamed}" if inner else renamed)))
    return jobs, others


def _beside(folder: str, naming: Naming) -> str:
    """Return the folder of outputs beside a folder of inputs: beside its target where it is a link."""
    added = naming.suffix or naming.mark
    if storage.is_remote(folder):
        return folder.rstrip("/") + added
    plain = os.path.normpath(folder)
    named = os.path.basename(plain) not in ("", ".", "..")
    return (plain if named and os.path.realpath(plain) == os.path.abspath(plain) else os.path.realpath(folder)) + added


def _renamed(source: str, naming: Naming, added: str) -> str:
    _, stem, suffix = storage.split(source)
    kept = suffix if suffix.lower() in FORMATS else ".png"
    return stem + added + (naming.extension or kept)


def _for_file(file: str, naming: Naming) -> str:
    """Return the output of a file that was named."""
    if naming.output is None:
        mark = naming.mark if naming.suffix is None else naming.suffix
        return storage.join(storage.split(file)[0], _renamed(file, naming, mark))
    return storage.join(naming.output, _renamed(file, naming, naming.suffix or ""))


def _means_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or not storage.split(output)[2] or storage.is_folder(output)


def _check(jobs: Iterable[Job]) -> None:
    sources = {storage.same(job.source) for job in jobs}
    taken: dict[str, Job] = {}
    for job in jobs:
        place = storage.same(job.target)
        if place in sources:
            raise BatchError(f"{job.target}: would replace an input; choose another -o, or add --suffix")
        if place in taken:
            both = f"{taken[place].source} and {job.source}"
            raise BatchError(f"{both}: would both become {job.target}; restore them apart")
        taken[place] = job
