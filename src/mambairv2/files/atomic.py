"""Outputs that are there whole or not at all: made beside, moved into place, cleaned where a killed run left them.

Each temporary file or folder is locked by the run that writes it. The lock ends with the process, however that
ends, so that the next run can tell what is left over from what is still written, on other machines and in
containers too.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".mambairv2-"


def create(folder: Path, suffix: str) -> tuple[int, Path]:
    """Make an empty temporary file in a folder; returns its descriptor, open to read and write, and its path.

    It counts as in use until the descriptor is closed. Raises OSError.
    """
    while True:
        path = folder / _name(suffix)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            lock(descriptor, wait=True)
        except OSError:
            return descriptor, path  # a file system without locks: nobody takes it for a leftover
        if path.exists():
            return descriptor, path
        os.close(descriptor)  # taken for a leftover before it was locked


def _name(suffix: str = "") -> str:
    return f"{PREFIX}{secrets.token_hex(8)}{suffix}"


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """A folder in `parent`, by default the system's for temporary files (`TMPDIR`), removed at the end unless renamed.

    It counts as in use, files and all, for as long. What earlier runs left there is removed first. Raises OSError.
    """
    parent = parent or Path(tempfile.gettempdir())
    clean([parent])
    while True:
        folder = parent / _name()
        folder.mkdir(mode=0o700)
        with _held(folder):
            if folder.exists():
                try:
                    yield folder
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                return


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, where folders can be locked."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A file beside `target` to write to, on the disk and moved over it at the end, removed on any error."""
    descriptor, temporary = create(target.parent, target.suffix.lower())
    try:
        yield temporary
        os.fsync(descriptor)
        if sys.platform == "win32":  # where an open file cannot be moved
            os.close(descriptor)
            descriptor = -1
        os.replace(temporary, target)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        temporary.unlink(missing_ok=True)


def write_whole(target: Path, content: bytes | str) -> None:
    """Write a file: a reader sees the old one or the new one.

    Makes the folder, and removes what killed runs left in it. Raises OSError naming the target, such as for a full
    disk, with the old file as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    clean([target.parent])
    try:
        with replacing(target) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:  # a failed write does not name its file
        raise OSError(error.errno, error.strerror, str(target)) from None


def clean(folders: Iterable[Path]) -> int:
    """Remove the temporary files and folders of runs that are no more; returns how many.

    Folders that are not there, and files that cannot be opened or locked, are passed over.
    """
    removed = 0
    for folder in folders:
        for path in folder.glob(f"{PREFIX}*"):
            try:
                removed += _remove(path)
            except OSError:
                continue
    return removed


def _remove(path: Path) -> bool:
    """Remove what nobody holds; raises OSError where somebody does, or where that cannot be told."""
    if sys.platform == "win32":  # where the system itself refuses to remove an open file
        path.unlink()
        return True
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        lock(descriptor)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        os.close(descriptor)
    return True


def lock(descriptor: int, *, wait: bool = False) -> None:
    """Lock an open file until it is closed; raises OSError where another holds it, unless wait.

    On Windows it does nothing.
    """
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
