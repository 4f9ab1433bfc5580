"""What is known of the metadata of one image, whatever the format of its file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Density:
    """Pixels per metre, or where `absolute` is false only the shape of a pixel, as a ratio."""

    x: float
    y: float
    absolute: bool = True


@dataclass(frozen=True)
class Text:
    """A comment or another text with a keyword."""

    keyword: str
    text: str
    """Bytes that are not UTF-8 stand in it as surrogates, as `surrogateescape` makes them."""
    chunk: tuple[bytes, bytes] | None = None
    """Type and content of the PNG chunk it came in, to be written again as it was."""


@dataclass(frozen=True)
class Metadata:
    """The metadata of one page."""

    exif: bytes = b""
    """A TIFF structure, from its byte order mark on."""
    xmp: bytes = b""
    """A packet of XML."""
    iptc: bytes = b""
    """Image resources of Photoshop (8BIM), of which one holds the IPTC records."""
    text: tuple[Text, ...] = ()
    color: tuple[tuple[bytes, bytes], ...] = ()
    """Types and contents of PNG chunks that say how the samples look: gAMA, cHRM, sRGB, cICP, mDCV, cLLI."""
    density: Density | None = None
    orientation: int = 1
    """EXIF orientation of the pixels in the file, 1 to 8."""
    lossless: bool = False
    """Whether the pixels of a WebP are stored without loss."""
    notes: tuple[str, ...] = ()
    """What was found and cannot be carried over, for the user to read."""
