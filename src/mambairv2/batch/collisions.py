"""Outputs that would take the place of each other or of an input, and names that cannot be written. Needs no torch."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from mambairv2.batch.naming import Naming
from mambairv2.batch.work_list import BatchError, Job, Refused
from mambairv2.files import storage
from mambairv2.files.names import reserved_by_windows


def without_earlier_outputs(jobs: list[Job], naming: Naming) -> tuple[list[Job], list[str]]:
    """Leave out inputs that are outputs of others: those that an earlier run put among them. Returns them, too.

    Only names to which something was added can be told from inputs.
    """
    if not naming.added:
        return jobs, []
    made = {storage.same(job.target) for job in jobs}
    earlier = [job.source for job in jobs if storage.same(job.source) in made and job.source != job.target]
    return [job for job in jobs if job.source not in set(earlier)], earlier


def apart(jobs: list[Job]) -> tuple[list[Job], list[Refused]]:
    """Give every output a place of its own; return the jobs, and those that cannot have one.

    An input that keeps its suffix keeps its name. Where one that gets another suffix would take the same, its own is
    added: `a.bmp` beside `a.png` becomes `a_bmp.png`. Raises BatchError where every output would replace an input.
    """
    sources = {storage.same(job.source): job.source for job in jobs}
    kept: dict[Job, Job] = {}
    refused: list[Refused] = []
    taken: dict[str, Job] = {}
    replacing = [job for job in jobs if storage.same(job.target) in sources]
    for job in replacing:
        refused.append(Refused(job, f"{job.source}: {job.target} would replace an input; choose another -o"))
    if replacing and len(replacing) == len(jobs):
        raise BatchError(f"{jobs[0].target}: would replace an input; choose another -o, or add --suffix")
    left = [job for job in jobs if job not in set(replacing)]
    for job in sorted(left, key=lambda job: _suffix(job.source) != _suffix(job.target)):  # a stable order
        wanted = job
        first_there = taken.get(_key(job.target))
        if first_there and _suffix(first_there.source) != _suffix(job.source):
            wanted = replace(job, target=_with_own_suffix(job))
        if (other := taken.get(_key(wanted.target))) or storage.same(wanted.target) in sources:
            first = other.source if other else sources[storage.same(wanted.target)]
            message = f"{job.source}: would become {job.target}, as {first} does; restore it apart, with another -o"
            refused.append(Refused(job, message))
            continue
        kept[job] = wanted
        taken[_key(wanted.target)] = wanted
    unusable = {job: reason for job in kept if (reason := cannot_be_named(kept[job].target))}
    refused += [Refused(job, f"{job.source}: {reason}") for job, reason in unusable.items()]
    return [kept[job] for job in left if job in kept and job not in unusable], refused


def cannot_be_named(target: str) -> str | None:
    """Return why an output cannot have its name, before any work; None if it can, or it is not on this machine."""
    if not storage.is_local(target):
        return None
    folder, name = os.path.split(os.path.abspath(target))
    if os.name == "nt" and reserved_by_windows(name):
        return f"{target}: is a name that Windows does not allow; choose another with -o"
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    try:
        os.lstat(os.path.join(folder, name))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return f"its output {name} has a name that is too long; choose a shorter one with -o"
    except ValueError as error:  # such as a zero byte
        return f"{target}: {error}"
    return None


def _suffix(place: str) -> str:
    return storage.split(place)[2].lower()


def _with_own_suffix(job: Job) -> str:
    folder, stem, kind = storage.split(job.target)
    return storage.join(folder, f"{stem}_{_suffix(job.source).lstrip('.') or 'file'}{kind}")


_SAME_CASE: dict[str, bool] = {}


def _key(target: str) -> str:
    """Return what two names have in common where they would be one file."""
    place = storage.same(target)
    if not storage.is_local(target):
        return place
    folder = os.path.dirname(place)
    if folder not in _SAME_CASE:
        _SAME_CASE[folder] = ignores_case(folder)
    return unicodedata.normalize("NFC", place).casefold() if _SAME_CASE[folder] else place


def ignores_case(folder: str) -> bool:
    """Return whether the file system of a folder, or of what it will be made in, takes `A.png` and `a.png` for one."""
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    parent, name = os.path.split(folder)
    if name.swapcase() == name:
        return os.name == "nt"
    try:
        return os.path.samefile(folder, os.path.join(parent, name.swapcase()))
    except OSError:
        return False


def refusals(pairs: Iterable[tuple[Job, OSError]]) -> list[Refused]:
    """Return what is said of folders that cannot be read."""
    from mambairv2.images.errors import explain

    return [Refused(job, f"{error.filename}: {explain(error)}") for job, error in pairs]
