"""How outputs are named. Needs no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mambairv2.files import storage
from mambairv2.files.walk import Match
from mambairv2.images.formats import FORMATS


@dataclass(frozen=True)
class Naming:
    """How outputs are named."""

    output: str | None = None
    """A file, for one input, or a folder; None puts outputs beside their inputs."""
    mark: str = "_restored"
    """Added to the name when the output lies beside the input."""
    suffix: str | None = None
    """Added to every name; None leaves names in another folder as they are."""
    extension: str | None = None
    """Format of every output, such as `.png`; None keeps the input's where it can be written, else .png."""

    @property
    def added(self) -> str:
        """What is added to every name; empty if outputs in another folder keep the names of their inputs."""
        return (self.suffix or "") if self.suffix is not None or self.output is not None else self.mark

    def kind(self, source: str) -> str:
        """Return the suffix of the output for an input."""
        own = storage.split(source)[2]
        return self.extension or (own if own.lower() in FORMATS else ".png")

    def renamed(self, source: str, added: str) -> str:
        """Return the name of the output for an input, without its folder."""
        return storage.split(source)[1] + added + self.kind(source)

    def for_match(self, found: Match) -> str:
        """Return the output for a file that was named, or that a pattern matched: then its subfolders are kept."""
        name = self.renamed(found.place, self.added)
        if self.output is None:
            return storage.join(storage.split(found.place)[0], name)
        inner, _, _ = found.inner.rpartition("/")
        return storage.join(self.output, f"{inner}/{name}" if inner else name)

    def folder_for(self, found: Match) -> str:
        """Return the folder of outputs for a folder of inputs: beside its target where it is a link."""
        if self.output is not None:
            return storage.join(self.output, found.inner) if found.inner else self.output
        added, folder = self.suffix or self.mark, found.place
        if storage.is_remote(folder):
            return folder.rstrip("/") + added
        plain = os.path.normpath(folder)
        named = os.path.basename(plain) not in ("", ".", "..")
        straight = named and os.path.realpath(plain) == os.path.abspath(plain)
        return (plain if straight else os.path.realpath(folder)) + added


def mark_of(scale: int, packaged: str | None) -> str:
    """Return what is added to the name of an output that lies beside its input: `_x2`, `_denoise` or `_restored`.

    packaged: the name of packaged weights; None where the weights are a file.
    """
    return f"_x{scale}" if scale > 1 else f"_{packaged or 'restored'}"


def means_folder(output: str) -> bool:
    """Return whether an output is a folder: it ends in a slash, has no suffix, or is one."""
    return output.endswith(("/", os.sep)) or not storage.split(output)[2] or storage.is_folder(output)
