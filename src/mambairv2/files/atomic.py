"""Atomic outputs: written to a temporary file beside the target, then renamed.

A reader sees the old file or the new one, never a part. Each temporary file or folder is locked by the process that
writes it. The lock ends with the process, however it ends. So the next run can tell leftovers of killed runs from files
that are still being written, also by other machines and containers.
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

from mambairv2.files.names import encoded

PREFIX = ".mambairv2-"


def create(folder: Path, suffix: str, mode: int = 0o666) -> tuple[int, Path]:
    """Create and lock an empty temporary file in a folder; return its descriptor, to read and write, and its path.

    mode: its permissions, of which the umask takes away some. The file counts as in use until the descriptor is closed.
    Raises OSError.
    """
    while True:
        path = folder / _name(suffix)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode | 0o200)
        try:
            lock(descriptor, wait=True)
        except OSError:
            return descriptor, path  # a file system without locks: nobody takes it for a leftover
        if path.exists():
            return descriptor, path
        os.close(descriptor)  # taken for a leftover before it was locked


def permissions(path: Path | None) -> int:
    """Return the permissions of a file to read and write it, for what is made of it; else the usual ones."""
    try:
        return 0o666 if path is None else os.stat(path).st_mode & 0o666
    except OSError:
        return 0o666


def _name(suffix: str = "") -> str:
    return f"{PREFIX}{secrets.token_hex(8)}{suffix}"


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """Make a temporary folder and remove it at the end, unless it was renamed.

    parent: where it is made, by default the system's folder for temporary files (`TMPDIR`). The folder and its files
    count as in use until the end. Leftovers of earlier runs are removed first. Raises OSError.
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
def replacing(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary file beside `target`; at the end it is flushed to the disk and renamed, on an error removed.

    mode: the permissions of the file, of which the umask takes away some; never more, while it is written either.
    """
    descriptor, temporary = create(target.parent, target.suffix.lower(), mode)
    try:
        yield temporary
        if not mode & 0o200 and hasattr(os, "fchmod"):  # read only, once it is written
            os.fchmod(descriptor, os.fstat(descriptor).st_mode & ~0o200)
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
    """Write a file atomically. Its folder is made, and leftovers of killed runs in it are removed.

    Raises OSError, naming the target, where it cannot be written, such as on a full disk; the old file stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    clean([target.parent])
    try:
        with replacing(target) as temporary:
            temporary.write_bytes(encoded(content) if isinstance(content, str) else content)
    except OSError as error:  # a failed write does not name its file
        raise OSError(error.errno, error.strerror, str(target)) from None


def clean(folders: Iterable[Path]) -> int:
    """Remove the temporary files and folders that killed runs left behind; return how many.

    Folders that do not exist are ignored, and so are files that cannot be opened or locked.
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
    """Remove a file or folder that no process holds; raises OSError where one does, or where that cannot be told."""
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
    """Lock an open file until it is closed. It does nothing on Windows.

    wait: until another process releases it. Raises BlockingIOError where another holds it, unless wait, and OSError on
    a file system without locks.
    """
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
