"""Addresses of weights on the Hugging Face Hub: `owner/repo`, or `hf://owner/repo@revision/path/of/file`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from mambairv2.weights.errors import WeightsError

SCHEME = "hf://"
WEIGHTS = "model.safetensors"
"""The file that stands for a repository, as for a folder."""
CONFIG = "config.json"
"""The file beside it with the configuration of the network."""
_SUFFIXES = (".safetensors", ".pth", ".pt", ".onnx", ".ckpt", ".bin")
"""What ends the name of a file, but not that of a repository."""
_PART = r"[A-Za-z0-9_][\w.-]*"
_SHORT = re.compile(rf"({_PART}/{_PART})(?:@([^/@]+))?", re.ASCII)
_FULL = re.compile(rf"{SCHEME}({_PART}/{_PART})(?:@([^/@]+))?(?:/(.+))?", re.ASCII)


@dataclass(frozen=True)
class Address:
    """A file in a repository of models."""

    repo: str
    """`owner/repo`."""
    file: str = WEIGHTS
    revision: str | None = None
    """A branch, tag or commit; None for the latest of the main branch."""

    def __str__(self) -> str:
        """Return the address in full, in the form that `parse` and fsspec read."""
        revision = f"@{quote(self.revision, safe='')}" if self.revision else ""
        return f"{SCHEME}{self.repo}{revision}/{self.file}"


def parse(text: str) -> Address | None:
    """Return the address that a text is; None for the path of a file or folder on this machine.

    `owner/repo` is an address where there is no folder `owner` here; with `hf://` before it, it always is one.
    A / in a revision is written %2F. Raises WeightsError for one with `hf://` that is not complete.
    """
    if text.startswith(SCHEME):
        match = _FULL.fullmatch(text)
        if not match:
            raise WeightsError(f"{text}: write it as hf://owner/repo, or hf://owner/repo@revision/path/of/file")
        return Address(match[1], match[3] or WEIGHTS, unquote(match[2]) if match[2] else None)
    match = _SHORT.fullmatch(text)
    if not match or text.endswith(_SUFFIXES) or Path(text.partition("/")[0]).is_dir():
        return None
    return Address(match[1], revision=unquote(match[2]) if match[2] else None)
