"""Folders and patterns on this machine: one rule for the files in them, which all commands share.

Linked folders are seen. Each real folder is seen once, under its own name if that lies below, so that loops end.
What is hidden, by a dot before its name, is left out.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """What lies in a folder: names relative to it, with / between their parts."""

    files: tuple[str, ...]
    folders: tuple[str, ...]
    errors: tuple[OSError, ...]
    """Of folders that cannot be read."""


@dataclass(frozen=True)
class Match:
    """A file or folder that an input of a command stands for."""

    place: str
    inner: str = ""
    """Its name below the fixed part of the pattern that matched it; empty if it was named."""


def walk(folder: str, recursive: bool = True) -> Found:
    """Return the files in a folder and, if recursive, in its subfolders, those of each folder before its subfolders."""
    files: list[str] = []
    folders: list[str] = []
    errors: list[OSError] = []
    seen: set[str] = set()
    waiting, linked = deque([""]), deque[str]()
    while waiting or linked:
        inner = (waiting or linked).popleft()
        place = os.path.join(folder, *inner.split("/"))
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        if inner:
            folders.append(inner)
        try:
            with os.scandir(place) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    name = f"{inner}/{entry.name}" if inner else entry.name
                    if entry.name.startswith("."):
                        continue
                    if not entry.is_dir():
                        files.append(name)
                    elif recursive:
                        (linked if entry.is_symlink() else waiting).append(name)
        except OSError as error:
            errors.append(error)
    return Found(tuple(sorted(files, key=_order)), tuple(sorted(folders)), tuple(errors))


def _order(name: str) -> tuple[list[str], str]:
    *folders, file = name.split("/")
    return folders, file


def match(pattern: str) -> list[Match]:
    """Return the files and folders that a pattern matches, sorted; a `**` stands for any number of folders."""
    root, parts = split_pattern(pattern, os.sep)
    if "**" in parts and not any(part.startswith(".") for part in parts):
        found = walk(root or ".")
        names = found.files if parts[-1] == "**" else (*found.files, *found.folders)
        inner = [name for name in names if _matches(name.split("/"), parts)]
        return [Match(os.path.join(root, *name.split("/")), name) for name in sorted(inner)]
    return [Match(place, below(place, root, os.sep)) for place in sorted(glob.glob(pattern, recursive=True))]


def split_pattern(pattern: str, separator: str = "/") -> tuple[str, list[str]]:
    """Return the folder before the first part of a pattern that has wildcards, and the parts from there."""
    parts = (pattern if separator == "/" else pattern.replace(separator, "/")).split("/")
    fixed = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    root = separator.join(parts[:fixed])
    return (root + separator if fixed and not root else root), parts[fixed:]


def below(place: str, root: str, separator: str = "/") -> str:
    """Return the name of a place below a folder, with / between its parts; its last part if it leads elsewhere."""
    name = os.path.relpath(place, root or ".") if separator == os.sep else place.removeprefix(root).lstrip("/")
    parts = name.replace(separator, "/").split("/")
    return parts[-1] if ".." in parts or os.path.isabs(name) else "/".join(parts)


def _matches(name: list[str], parts: list[str]) -> bool:
    if not parts:
        return not name
    if parts[0] == "**":
        return any(_matches(name[start:], parts[1:]) for start in range(len(name) + 1))
    return bool(name) and fnmatch.fnmatch(name[0], parts[0]) and _matches(name[1:], parts[1:])
