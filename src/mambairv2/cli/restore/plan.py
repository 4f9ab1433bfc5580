"""What a run of `restore` will do, settled before torch is loaded and before anything is written."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from mambairv2.batch.jobs import plan_batch, settle
from mambairv2.batch.manifest import NAME, Manifest
from mambairv2.batch.naming import Naming
from mambairv2.batch.outcome import Outcome, Reading
from mambairv2.batch.work_list import Batch, BatchError, Job
from mambairv2.cli.chosen_network import ChosenNetwork
from mambairv2.files import atomic, storage, streams
from mambairv2.images.errors import explain
from mambairv2.images.unsupported import foreign


@dataclass(frozen=True)
class Existing:
    """What to do about outputs that exist."""

    overwrite: bool
    skip: bool
    fresh: bool
    """Whether what the manifest records as done is restored again."""


@dataclass(frozen=True)
class RestorePlan:
    """The jobs of a run, and its record."""

    total: int
    """Files in all."""
    jobs: tuple[Job, ...]
    """Files to restore."""
    refused: tuple[Outcome, ...]
    """Files that cannot be found, whose format is not supported, or whose output cannot have its name."""
    skipped: int
    """Files whose outputs exist."""
    left_out: tuple[str, ...]
    """Files in the folders whose names are not those of images."""
    earlier: tuple[str, ...]
    """Inputs that are outputs of an earlier run."""
    kept: int
    """Files that are skipped though nobody asked for it."""
    manifest: Manifest | None

    @property
    def streams(self) -> tuple[bool, bool]:
        """Whether standard input is read, and whether the output goes to standard output."""
        given = [(job.source, job.target) for job in self.jobs] or [("", "")]
        return given[0][0] == streams.STREAM, given[0][1] == streams.STREAM

    @property
    def notes(self) -> list[str]:
        """A line each on files that were left out, and why."""
        notes = [self._note_on_others()]
        if self.earlier:
            which = f"{self.earlier[0]}" + f" and {len(self.earlier) - 1} more" * (len(self.earlier) > 1)
            notes.append(f"{which} left out, as outputs of an earlier run; to restore one, name it alone")
        if self.kept:
            some = f"{self.kept} output{'s' * (self.kept > 1)} there already"
            notes.append(f"{some}, left as {'they are' if self.kept > 1 else 'it is'}; --overwrite replaces them")
        return [note for note in notes if note]

    def _note_on_others(self) -> str:
        suffixes = Counter(storage.split(name)[2].lower() or "without suffix" for name in self.left_out)
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))
        count = f"{len(self.left_out)} file{'s' * (len(self.left_out) > 1)}"
        return f"{count} left out, not images by name: {kinds}; to restore one all the same, name it" if kinds else ""

    def check_streams(self) -> None:
        """Keep standard output for bytes from here on, if the output goes there.

        Raises ValueError where standard input or output is needed and is closed or a terminal.
        """
        reads, writes = self.streams
        if reads:
            streams.check_input()
        if writes:
            streams.reserve_output()

    def begin(self, stack: ExitStack) -> None:
        """Open the manifest and remove what killed runs left behind, now and when the stack is closed.

        Raises ManifestError where the manifest cannot be written.
        """
        targets = [job.target for job in self.jobs]
        folders = {Path(storage.split(target)[0]) for target in targets if storage.is_local(target)}
        atomic.clean(folders)
        stack.callback(atomic.clean, folders)  # after workers that died
        if self.manifest is not None:
            stack.enter_context(self.manifest)
            self.manifest.begin(targets)


def plan_run(
    inputs: Sequence[str],
    naming: Naming,
    network: ChosenNetwork,
    reading: Reading,
    existing: Existing,
    *,
    recursive: bool,
    manifest: str | None,
) -> RestorePlan:
    """Settle which inputs become which outputs, and which are skipped or refused.

    Raises BatchError for inputs and outputs that do not fit together, PlaceError for remote places that cannot be
    reached and ManifestError for a manifest that cannot be used.
    """
    batch = plan_batch(inputs, naming, recursive=recursive)
    if not batch.jobs and not batch.refused:
        remedy = "" if recursive else "; add --recursive to look into subfolders"
        raise BatchError(f"{', '.join(inputs)}: no images found{remedy}")
    if streams.STREAM in (batch.jobs[0].source, batch.jobs[0].target) if batch.jobs else False:
        if manifest not in (None, "none"):
            raise BatchError("--manifest records runs over files; leave it out with -")
        manifest = "none"
    record = _manifest(manifest, batch, network, reading)
    known = record.made_from if record is not None else {}
    made_from = dict.fromkeys(known) if existing.fresh else known
    absent = {job: Outcome(job, error=error) for job in batch.jobs if (error := _refused(job.source))}
    refused = (*(Outcome(one.job, error=one.error) for one in batch.refused), *absent.values())
    found = [job for job in batch.jobs if job not in absent]
    jobs, skipped = settle(found, made_from, overwrite=existing.overwrite, skip=existing.skip, keep=batch.keeps)
    kept = 0 if existing.skip else len(skipped)
    total = len(batch.jobs) + len(batch.refused)
    return RestorePlan(total, tuple(jobs), refused, len(skipped), batch.left_out, batch.earlier, kept, record)


def _manifest(wanted: str | None, batch: Batch, network: ChosenNetwork, reading: Reading) -> Manifest | None:
    """Return the manifest that is asked for, or that of the output folder; None without."""
    if wanted == "none" or (wanted is None and batch.folder is None):
        return None
    from importlib.metadata import version  # here, since it takes a while to import

    place = storage.tidy(wanted) if wanted is not None else storage.join(batch.folder or "", NAME)
    settings = {**network.settings(), "page": reading.page, **asdict(reading.options)}
    return Manifest(place, settings, version("mambairv2"))


def _refused(source: str) -> str | None:
    """Return one line that says why a local file cannot be restored; None if nothing is known, or it is remote."""
    if not storage.is_local(source):
        return None
    try:
        os.stat(source)
    except OSError as error:
        if glob.has_magic(source):
            return f"{source}: no file matches; check the pattern"
        return f"{source}: {explain(error)}"
    return foreign(Path(source)) if os.path.isfile(source) else None
