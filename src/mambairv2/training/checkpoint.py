"""Checkpoints of a training run: whole or not at all, the newest few kept."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import torch

from mambairv2.files.atomic import write_whole

Content = dict[str, object]
_PREFIX = "checkpoint-"


def checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run, newest first."""
    return sorted(run.glob(f"{_PREFIX}*.pt"), reverse=True)


def save_checkpoint(run: Path, iteration: int, content: Content, keep: int) -> Path:
    """Write a checkpoint, then remove all but the newest `keep`.

    On a full disk the older checkpoints but the newest are removed and writing is tried once more; raises
    OSError if that fails too, with the newest checkpoint still there.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path = run / f"{_PREFIX}{iteration:09d}.pt"
    try:
        write_whole(path, buffer.getvalue())
    except OSError:
        _remove(checkpoints(run)[1:])
        write_whole(path, buffer.getvalue())
    _remove(checkpoints(run)[keep:])
    return path


def load_checkpoint(run: Path) -> Content | None:
    """Return the newest checkpoint that can be read, on the CPU; None if there is none.

    Raises ValueError if there are checkpoints and none can be read.
    """
    faults = []
    for path in checkpoints(run):
        try:
            content: Content = torch.load(path, map_location="cpu", weights_only=True)
            return content
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            faults.append(f"{path}: {type(error).__name__} {str(error)[:100]}")
    if faults:
        raise ValueError("no checkpoint can be read; --fresh starts again\n" + "\n".join(faults))
    return None


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
