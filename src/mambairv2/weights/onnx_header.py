"""What an ONNX file says of itself, read without the onnx package.

The file is a protocol buffer: fields, each with a number and a wire type, whose nested messages are preceded by their
length. The graph is such a field and is passed over.
"""

from __future__ import annotations

import json
from pathlib import Path

from mambairv2.network.config import MambaIRv2Config
from mambairv2.weights.errors import WeightsError

SUFFIX = ".onnx"
_METADATA, _KEY, _VALUE = 14, 1, 2
"""Numbers of fields: the entries of a model's metadata, and the two texts of an entry."""


def is_onnx(path_or_name: str | Path) -> bool:
    """Whether a name is that of an ONNX file."""
    return str(path_or_name).lower().endswith(SUFFIX)


def read_onnx_metadata(path: str | Path) -> dict[str, str]:
    """Return the metadata of an ONNX file; raises WeightsError for one that is missing or damaged."""
    path = Path(path)
    try:
        content = path.read_bytes()
        entries = [dict(_fields(value)) for number, value in _fields(content) if number == _METADATA]
        return {entry[_KEY].decode(): entry[_VALUE].decode() for entry in entries}
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such weights; `mambairv2 export` makes an .onnx file") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, IndexError):
        raise WeightsError(f"{path}: is not a whole ONNX file; export it again") from None


def read_onnx_config(path: str | Path) -> MambaIRv2Config:
    """Return the configuration of the network in an ONNX file; raises WeightsError for one that is not ours."""
    metadata = read_onnx_metadata(path)
    try:
        return MambaIRv2Config.from_dict(json.loads(metadata["config"]))
    except (KeyError, ValueError, TypeError):
        raise WeightsError(f"{path}: is not an ONNX file of `mambairv2 export`; export the weights") from None


def _fields(content: bytes) -> list[tuple[int, bytes]]:
    """Return the fields of a message that have a length, in order; others are passed over."""
    found, place = [], 0
    while place < len(content):
        key, place = _number(content, place)
        kind = key & 7
        if kind == 0:
            _, place = _number(content, place)
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        elif kind == 2:
            length, place = _number(content, place)
            if place + length > len(content):
                raise ValueError("a field longer than the file")
            found.append((key >> 3, content[place : place + length]))
            place += length
        else:
            raise ValueError("no protocol buffer")
    return found


def _number(content: bytes, place: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("a number longer than 64 bits")
