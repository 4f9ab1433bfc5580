"""What a run of `restore` will do, settled before torch is loaded and before anything is written."""

from __future__ import annotations

import glob
import os
from collections import Counter
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
    """Files that cannot be found, or whose format is not supported."""
    skipped: int
    """Files whose outputs exist."""
    left_out: tuple[str, ...]
    """Files in the folders whose names are not those of images."""
    manifest: Manifest | None

    @property
    def note(self) -> str:
        """One line that says how many files in the folders were left out, and why; empty for none."""
        suffixes = Counter(storage.split(name)[2].lower() or "without suffix" for name in self.left_out)
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))
        count = f"{len(self.left_out)} file{'s' * (len(self.left_out) > 1)}"
        return f"{count} left out, not images by name: {kinds}; to restore one all the same, name it" if kinds else ""

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
    """Settle which inputs become which outputs, and which are skipped or refused.

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
    refused = tuple(Outcome(job, error=error) for job in batch.jobs if (error := _refused(job.source)))
    absent = {outcome.job for outcome in refused}
    found = [job for job in batch.jobs if job not in absent]
    jobs, skipped = settle(found, made_from, overwrite=existing.overwrite, skip=existing.skip)
    return RestorePlan(len(batch.jobs), tuple(jobs), refused, len(skipped), batch.left_out, record)


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
    if storage.is_remote(source):
        return None
    try:
        os.stat(source)
    except OSError as error:
        if glob.has_magic(source):
            return f"{source}: no file matches; check the pattern"
        return f"{source}: {explain(error)}"
    return foreign(Path(source)) if os.path.isfile(source) else None
