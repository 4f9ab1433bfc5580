"""What a safetensors file says before its tensors are read: their shapes and its metadata. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from mambairv2.weights.errors import WeightsError
from mambairv2.weights.infer_config import Shapes


def read_header(path: Path) -> tuple[Shapes, dict[str, str]]:
    """Return the shapes of the tensors of a safetensors file, by their names in it, and its metadata.

    Raises WeightsError for a file that is damaged.
    """
    try:
        with safe_open(path, framework="np") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            return shapes, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
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
    """Return the error for a safetensors file that the library cannot read."""
    return WeightsError(f"{path}: is no whole safetensors file ({error}); fetch it again")
