"""BMP and PPM (PBM, PGM) files, which the libvips of `pyvips[binary]` does not read.

Source: Microsoft's BITMAPINFOHEADER and its successors; the pages of Netpbm. Pixels stay in the file until they are
asked for, except those of 1 and 4 bits or in decimal digits.
"""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyvips

_HEADER = re.compile(rb"P([1-6])" + rb"(?:\s|#[^\n]*\n)+(\d+)" * 2)
_WHITE = re.compile(rb"(?:\s|#[^\n]*\n)+(\d+)")
_BGR = struct.pack("<3I", 0xFF0000, 0xFF00, 0xFF)
"""The masks of red, green and blue where a pixel of 32 bits is stored as blue, green, red, alpha."""


def open_bitmap(path: Path) -> pyvips.Image | None:
    """Open a BMP or PPM file; None for another file, or one of a kind that is not read.

    Raises ValueError or struct.error for one that is damaged or cut short.
    """
    with open(path, "rb") as file:
        head = file.read(4096)
    if head.startswith(b"BM"):
        return _bmp(path, head)
    return _ppm(path, head) if re.match(rb"P[1-6]\s", head) else None


def _ppm(path: Path, head: bytes) -> pyvips.Image | None:
    found = _HEADER.match(head)
    if found is None:
        raise ValueError("no width and height")
    kind, width, height = (int(part) for part in found.groups())
    if not width or not height:
        raise ValueError("no width and height")
    start, most = found.end(), 1
    if kind not in (1, 4):
        limit = _WHITE.match(head, start)
        if limit is None or not 1 <= int(limit.group(1)) <= 65535:
            raise ValueError("no largest value")
        start, most = limit.end(), int(limit.group(1))
    channels = 3 if kind in (3, 6) else 1
    shape = (height, width, channels)
    if kind <= 3:
        image = _from_array(_digits(path.read_bytes()[start:], kind, shape), most)
    elif kind == 4:
        packed = np.array(_map(path, start + 1, (height, -(-width // 8))))
        image = _from_array(1 - np.unpackbits(packed, axis=1)[:, :width, None], 1)
    else:
        wide = most > 255
        image = _image(_map(path, start + 1, (height, width * channels * (2 if wide else 1))), shape, wide)
        if wide and sys.byteorder == "little":
            image = image.byteswap()
        image = _scaled(image, most)
    return image.copy(interpretation=_space(image))


def _digits(text: bytes, kind: int, shape: tuple[int, int, int]) -> npt.NDArray[np.uint16]:
    text = re.sub(rb"#[^\n]*", b" ", text)
    numbers = re.findall(rb"[01]", text) if kind == 1 else text.split()
    values = np.array(numbers[: shape[0] * shape[1] * shape[2]]).astype(np.uint16)
    if values.size < shape[0] * shape[1] * shape[2]:
        raise ValueError("cut short")
    return (1 - values if kind == 1 else values).reshape(shape)


def _bmp(path: Path, head: bytes) -> pyvips.Image | None:
    start, size = struct.unpack_from("<II", head, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", head, 18)
        packing, colours, palette, step = 0, 0, 26, 3
    else:
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", head, 18)
        colours, palette, step = struct.unpack_from("<I", head, 46)[0], 14 + size, 4
    if width <= 0 or height == 0:
        raise ValueError("no width and height")
    plain = packing == 0 or (packing == 3 and bits == 32 and head[54:66] == _BGR)
    if not plain or bits not in (1, 4, 8, 24, 32):
        return None
    stride = (width * bits + 31) // 32 * 4
    rows = _map(path, start, (abs(height), stride))
    if bits < 8:
        split = np.unpackbits(rows, axis=1)
        if bits == 4:
            split = (split.reshape(len(rows), -1, 4) * np.array([8, 4, 2, 1], np.uint8)).sum(axis=2, dtype=np.uint8)
        image = pyvips.Image.new_from_array(np.ascontiguousarray(split[:, :width]))
    else:
        image = _image(rows, (abs(height), stride, 1), False).crop(0, 0, width * bits // 8, abs(height))
    if height > 0:
        image = image.flipver()
    if bits <= 8:
        found = np.frombuffer(head[palette : palette + step * (colours or 2**bits)], np.uint8)
        table = np.zeros((1, 256, 3), np.uint8)
        entries = found[: len(found) // step * step].reshape(-1, step)[:256, 2::-1]
        table[0, : len(entries)] = entries
        grey = bool((table == table[..., :1]).all())
        image = image.maplut(pyvips.Image.new_from_array(np.ascontiguousarray(table[..., :1] if grey else table)))
    else:
        image = image.bandfold(factor=bits // 8)
        seen = bits == 32 and size >= 56 and struct.unpack_from("<I", head, 66)[0] == 0xFF000000
        image = image[2].bandjoin([image[1], image[0], *([image[3]] if seen else [])])
    return image.copy(interpretation=_space(image))


def _map(path: Path, start: int, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The bytes of a file, as they are read. Raises ValueError if there are too few."""
    if path.stat().st_size < start + shape[0] * shape[1]:
        raise ValueError("cut short")
    return np.memmap(path, np.uint8, "r", start, shape)


def _image(pixels: npt.NDArray[np.uint8], shape: tuple[int, int, int], wide: bool) -> pyvips.Image:
    height, width, channels = shape
    return pyvips.Image.new_from_memory(pixels.data, width, height, channels, "ushort" if wide else "uchar")


def _from_array(values: npt.NDArray[np.generic], most: int) -> pyvips.Image:
    deep = np.uint16 if most > 255 else np.uint8
    return _scaled(pyvips.Image.new_from_array(np.ascontiguousarray(values.astype(deep))), most)


def _scaled(image: pyvips.Image, most: int) -> pyvips.Image:
    """Make the largest value the white of the sample type."""
    white = 65535 if image.format == "ushort" else 255
    return image if most == white else (image * (white / most)).rint().cast(image.format)


def _space(image: pyvips.Image) -> str:
    grey, colour = ("grey16", "rgb16") if image.format == "ushort" else ("b-w", "srgb")
    return grey if image.bands == 1 else colour
