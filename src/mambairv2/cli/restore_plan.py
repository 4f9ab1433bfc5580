"""What a run of `restore` will do, settled before torch is loaded and before anything is written."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from mambairv2.batch.jobs import Batch, BatchError, Job, Naming, plan_batch, settle
from mambairv2.batch.manifest import NAME, Manifest
from mambairv2.batch.outcome import Outcome, Reading
from mambairv2.cli.chosen_network import ChosenNetwork
from mambairv2.files import atomic, storage
from mambairv2.images.errors import explain


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
    missing: tuple[Outcome, ...]
    """Files that were named and cannot be found."""
    skipped: int
    """Files whose outputs exist."""
    manifest: Manifest | None

    def begin(self, stack: ExitStack) -> None:
        """Open the manifest and remove what killed runs left behind, now and when the stack is closed.

        Raises ManifestError where the manifest cannot be written.
        """
        targets = [job.target for job in self.jobs]
        folders = {Path(storage.split(target)[0]) for target in targets if not storage.is_remote(target)}
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
    """Settle which inputs become which outputs, and which are skipped or missing.

    Raises BatchError for inputs and outputs that do not fit together, PlaceError for remote places that cannot be
    reached and ManifestError for a manifest that cannot be used.
    """
    batch = plan_batch(inputs, naming, recursive=recursive)
    if not batch.jobs:
        remedy = "" if recursive else "; add --recursive to look into subfolders"
        raise BatchError(f"{', '.join(inputs)}: no images found{remedy}")
    record = _manifest(manifest, batch, network, reading)
    known = record.made_from if record is not None else {}
    made_from = dict.fromkeys(known) if existing.fresh else known
    jobs, skipped = settle(batch.jobs, made_from, overwrite=existing.overwrite, skip=existing.skip)
    missing = tuple(Outcome(job, error=error) for job in jobs if (error := _missing(job.source)))
    absent = {outcome.job for outcome in missing}
    found = tuple(job for job in jobs if job not in absent)
    return RestorePlan(len(batch.jobs), found, missing, len(skipped), record)


def _manifest(wanted: str | None, batch: Batch, network: ChosenNetwork, reading: Reading) -> Manifest | None:
    """Return the manifest that is asked for, or that of the output folder; None without."""
    if wanted == "none" or (wanted is None and batch.folder is None):
        return None
    from importlib.metadata import version  # here, since it takes a while to import

    place = storage.tidy(wanted) if wanted is not None else storage.join(batch.folder or "", NAME)
    settings = {**network.settings(), "page": reading.page, **asdict(reading.options)}
    return Manifest(place, settings, version("mambairv2"))


def _missing(source: str) -> str | None:
    """Return one line that says why a local file cannot be found; None if it can, or is remote."""
    if storage.is_remote(source):
        return None
    try:
        os.stat(source)
    except OSError as error:
        if glob.has_magic(source):
            return f"{source}: no file matches; check the pattern"
        return f"{source}: {explain(error)}"
    return None
