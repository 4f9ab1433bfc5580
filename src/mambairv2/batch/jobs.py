"""Jobs: which inputs become which outputs, settled before any work is done. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from mambairv2.batch.collisions import apart, refusals, without_earlier_outputs
from mambairv2.batch.naming import Naming, means_folder
from mambairv2.batch.work_list import Batch, BatchError, Job, Refused
from mambairv2.files import storage
from mambairv2.files.streams import STREAM
from mambairv2.files.walk import Match
from mambairv2.images.formats import FORMATS, READABLE, cannot_write


def plan_batch(inputs: Iterable[str], naming: Naming, *, recursive: bool = False) -> Batch:
    """Settle the jobs for files, folders and glob patterns, local or remote, or for standard input and output.

    A folder stands for the image files in it, with recursive for those of its subfolders too, structure kept. So does a
    pattern, from its first wildcard on. A file that is named is a job whether it exists or not. Raises BatchError for
    inputs and outputs that do not fit together, and PlaceError for remote places that cannot be reached.
    """
    inputs = list(inputs)
    if naming.extension is not None and naming.extension.lower() not in FORMATS:
        raise BatchError(cannot_write(naming.extension))
    if naming.output is not None:
        naming = replace(naming, output=storage.tidy(naming.output))
    listed = [found for text in inputs for found in ([Match(STREAM)] if text == STREAM else _expand(text))]
    folders = {found for found in listed if found.place != STREAM and storage.is_folder(found.place)}
    single = len(listed) == 1 and not folders
    if STREAM in (naming.output, *inputs):
        return Batch((_stream_job(listed[0].place if single else None, naming),), None)
    exact = naming.output is not None and not means_folder(naming.output)
    if exact and naming.output is not None:
        _check_output(naming.output, naming, single)
    jobs: list[Job] = []
    others: list[str] = []
    unread: list[Refused] = []
    for found in listed:
        if found in folders:
            more, unknown, errors = _jobs_of_folder(found, naming, recursive)
            jobs += more
            others += unknown
            unread += errors
        elif single and exact:
            jobs.append(Job(found.place, naming.output or ""))
        else:
            jobs.append(Job(found.place, naming.for_match(found)))
    jobs, earlier = without_earlier_outputs(_each_once(jobs), naming)
    jobs, refused = apart(jobs)
    several = len(listed) > 1 or listed[0].place not in inputs
    keeps = naming.output is None and not folders and several
    if single:
        return Batch(tuple(jobs), None, refused=tuple(refused), keeps=keeps)
    folder = naming.folder_for(listed[0]) if naming.output is None and len(listed) == 1 else naming.output
    left_out = tuple(dict.fromkeys(others))
    return Batch(tuple(jobs), folder, left_out, (*unread, *refused), tuple(dict.fromkeys(earlier)), keeps)


def settle(
    jobs: Collection[Job],
    made_from: Mapping[str, str | None],
    *,
    overwrite: bool = False,
    skip: bool = False,
    keep: bool = False,
) -> tuple[list[Job], list[Job]]:
    """Return the jobs to do, and those that are skipped because their output exists.

    made_from: outputs that earlier runs with the same settings made or were about to make, by absolute name, each with
    the digest of its input if it was finished. These may be replaced. keep: skip the others. Raises BatchError for any
    other output that exists, without overwrite, skip or keep.
    """
    there = storage.sizes(job.target for job in jobs)
    known, foreign = [], []
    for job in jobs:
        if job.target in there:
            name = storage.absolute(job.target)
            foreign += [] if name in made_from else [job]
            job = replace(job, made_from=made_from.get(name))
        known.append(job)
    if foreign and not (overwrite or skip or keep):
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise BatchError(f"{foreign[0].target}{others}: already exists; pass --overwrite or --skip-existing")
    skipped: list[Job] = []
    if not overwrite and (skip or keep):
        skipped = [job for job in known if job.target in there] if skip else foreign
    gone = {job.target for job in skipped}
    return [job for job in known if job.target not in gone], skipped


def _each_once(jobs: Iterable[Job]) -> list[Job]:
    once: dict[str, Job] = {}
    for job in jobs:
        once.setdefault(job.source, job)
    return list(once.values())


def _expand(text: str) -> list[Match]:
    return storage.expand(storage.tidy(text))


def _check_output(output: str, naming: Naming, single: bool) -> None:
    """Check the name of a file that is to be the output."""
    suffix = storage.split(output)[2].lower()
    if not single:
        if suffix in FORMATS or suffix in READABLE:
            raise BatchError(f"{output}: is one file for several inputs; give a folder")
        return
    if suffix not in FORMATS:
        raise BatchError(f"{output}: {cannot_write(suffix)}")
    wanted = naming.extension
    if wanted is not None and FORMATS[wanted.lower()] is not FORMATS[suffix]:
        raise BatchError(
            f"{output}: contradicts --format {wanted.lstrip('.')}; leave out --format, or name it {wanted}"
        )


def _stream_job(source: str | None, naming: Naming) -> Job:
    """Return the job for standard input or output. Raises BatchError where it does not stand for one image."""
    target = naming.output or STREAM
    if source is None:
        which = "-o -: standard output takes" if naming.output == STREAM else "-: standard input is"
        raise BatchError(f"{which} one image; restore it alone")
    if naming.suffix:
        raise BatchError("--suffix has no name to be added to with -; leave it out")
    if target != STREAM:
        if means_folder(target):
            example = storage.join(target, "restored.png")
            raise BatchError(f"{target}: is a folder; name a file for standard input, such as {example}")
        _check_output(target, naming, single=True)
        return Job(source, target)
    return Job(source, STREAM, suffix=naming.kind(source) if source != STREAM else naming.extension or "")


def _jobs_of_folder(found: Match, naming: Naming, recursive: bool) -> tuple[list[Job], list[str], list[Refused]]:
    """Return the jobs for the images in a folder, its other files, and its folders that cannot be read.

    An output folder inside it, or that a link in it leads to, does not count as input.
    """
    folder, out = found.place, naming.folder_for(found)
    whole, ours = (storage.same(place).rstrip("/" + os.sep) for place in (folder, naming.output or out))
    apart_from_it = ours != whole and not whole.startswith((ours + "/", ours + os.sep))
    jobs: list[Job] = []
    others: list[str] = []
    listing = storage.files(folder, recursive)
    for name in listing.files:
        source = storage.join(folder, name)
        if apart_from_it and storage.same(source).startswith((ours + "/", ours + os.sep)):
            continue
        if not name.lower().endswith(READABLE):
            others.append(source)
        else:
            inner, _, _ = name.rpartition("/")
            renamed = naming.renamed(source, naming.suffix or "")
            jobs.append(Job(source, storage.join(out, f"{inner}/{renamed}" if inner else renamed)))
    return jobs, others, refusals((Job(str(error.filename), out), error) for error in listing.errors)
