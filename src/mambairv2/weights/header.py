"""What a safetensors file says before its tensors are read: their shapes and its metadata.

The header is parsed here, since the library of safetensors needs torch or numpy for it, which take long to load.
"""

from __future__ import annotations

import json
from pathlib import Path

from mambairv2.weights.errors import WeightsError
from mambairv2.weights.infer_config import Shapes

_LONGEST = 100_000_000
"""Bytes of a header, as the format limits them."""


def read_header(path: Path) -> tuple[Shapes, dict[str, str]]:
    """Return the shapes of the tensors of a safetensors file, by their names in it, and its metadata.

    The file begins with the length of the header (8 bytes, little endian), then the header in JSON: for each tensor its
    `dtype`, `shape` and `data_offsets`, and `__metadata__`. Raises WeightsError for a header that is damaged.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LONGEST:
                raise ValueError("header too large")
            entries = json.loads(file.read(length))
        metadata = entries.pop("__metadata__", {})
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        largest = path.stat().st_size
        if not all(type(side) is int and 0 <= side <= largest for shape in shapes.values() for side in shape):
            raise ValueError("invalid shape")
        return shapes, dict(metadata)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise not_whole(path, error) from None


def first_bytes(path: Path) -> bytes:
    """Return up to 16 bytes from the start of a file; raises WeightsError where there are none."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise WeightsError(f"{path}: is empty; fetch it again")
    return head


def is_safetensors(path: Path, head: bytes) -> bool:
    """Whether a file is safetensors, by its suffix or by its first bytes: a length, then JSON."""
    return path.suffix == ".safetensors" or head[8:9] == b"{"


def not_whole(path: Path, error: Exception) -> WeightsError:
    """Return the error for a safetensors file that cannot be read."""
    return WeightsError(f"{path}: is not a whole safetensors file ({error}); fetch it again")
