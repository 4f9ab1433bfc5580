"""Batches of training patches that no step takes."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mambairv2.training.data.patches import Batch, Patches


def first_batches(patches: Patches, patch: int, count: int) -> Iterator[Batch]:
    """Yield batches of eight patches that no step takes, of at most 64×64 pixels, since memory and time go by these."""
    for number in range(count):
        keys = [(2**31, 8 * number + slot, min(patch, 64)) for slot in range(8)]
        yield torch.utils.data.default_collate([patches[key] for key in keys])
