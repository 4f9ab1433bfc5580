"""How strongly a file is compressed, read from the file itself, without decoding pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambairv2.images.metadata.jpeg import MARK, segments

# Annex K.1 of ITU-T T.81, the table that libjpeg scales for luma, in the file's zigzag order
_LUMA = (
    *(16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51),
    *(61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77),
    *(113, 121, 112, 100, 120, 92, 101, 103, 99),
)


def scaled_table(quality: int) -> npt.NDArray[np.int64]:
    """Return libjpeg's quantisation table of luma at a quality from 1 to 100, (64,), in zigzag order."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((np.array(_LUMA, np.int64) * percent + 50) // 100, 1, 255)


_TABLES = np.stack([scaled_table(quality) for quality in range(1, 101)])


def jpeg_quality(path: str | Path) -> int | None:
    """Return the quality from 1 to 100 at which libjpeg would quantise luma most nearly as a JPEG file does.

    None for a file that is no JPEG, or has no table before its pixels. Raises OSError for one that cannot be opened.
    """
    with open(path, "rb") as file:
        if file.read(len(MARK)) != MARK:
            return None
        for marker, data in segments(file):
            table = _luma_table(data) if marker == 0xDB else None
            if table is not None:
                # Relative differences: steps of 1 and 2 differ as much as those of 50 and 100.
                return 1 + int(np.abs(np.log(_TABLES) - np.log(table)).sum(axis=1).argmin())
    return None


def _luma_table(data: bytes) -> npt.NDArray[np.int64] | None:
    """Return table 0 of a segment with quantisation tables, (64,); None where it is not there or is cut off."""
    while data:
        precision, number = divmod(data[0], 16)
        size = 128 if precision else 64
        if len(data) < 1 + size:
            return None
        if number == 0:
            values = np.frombuffer(data[1 : 1 + size], ">u2" if precision else "u1").astype(np.int64)
            return np.maximum(values, 1)
        data = data[1 + size :]
    return None


def is_lossy_webp(path: str | Path) -> bool:
    """Tell whether a file is a WebP whose first picture is compressed with loss. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WEBP":
            return False
        while len(chunk := file.read(8)) == 8:
            name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
            if name in (b"VP8 ", b"VP8L"):
                return name == b"VP8 "
            # A frame of an animation has 16 bytes before its picture.
            file.seek(16 if name == b"ANMF" else size + size % 2, 1)
    return False
