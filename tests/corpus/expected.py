"""What is expected of a file of the corpus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Good:
    """A file that must be restored, and what is in it, upright: (pages · h, w, C) in 0 to 1."""

    name: str
    pixels: np.ndarray
    depth: str = "uchar"
    """libvips' name of the output's samples."""
    off: float = 0.01
    """Mean difference that is allowed: the file's own loss, besides the stand-in's blur."""
    profile: bytes | None = None
    """The ICC profile that the output must carry."""
    output: str = ""
    """Suffix of the output; empty for that of the name."""
    pages: int = 1
    resolution: float | None = None
    """Pixels per mm that the output must tell."""
    note: str = ""
    """What the line on the terminal must say."""


@dataclass(frozen=True)
class Bad:
    """A file that must be refused, what is said of it, and what to do about it."""

    name: str
    says: str
    remedy: str
    options: tuple[str, ...] = ()
    privileged: bool = False
    """Only refused to those who are not root."""
