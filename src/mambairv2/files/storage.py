"""Places of files: local paths and remote addresses (`s3://…` and others that fsspec knows), both as text.

Local files are read and written in place. Remote ones are copied to and from a local folder, since libvips decodes and
encodes local files.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import posixpath
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mambairv2.files.atomic import PREFIX
from mambairv2.files.streams import STREAM, read_input, write_output
from mambairv2.files.walk import Found, Match, below, match, split_pattern, walk
from mambairv2.installation import install_extra, install_packages

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "memory"}
"""Stores where an uploaded file appears once it is complete. Elsewhere it is uploaded beside, then renamed."""
_LIBRARIES = {"gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs"}
"""What fsspec needs for stores that have no extra."""


class PlaceError(ValueError):
    """A place that cannot be reached; the message is one line that names it and says what to do."""


def is_remote(place: str) -> bool:
    """Return whether a place is an address such as `s3://bucket/photos`, not a local path."""
    return "://" in place


def is_local(place: str) -> bool:
    """Return whether a place is a path on this machine: no address, and neither standard input nor output."""
    return not is_remote(place) and place != STREAM


def display(place: str, stream: str = "standard input") -> str:
    """Return what a place is called in a message."""
    return stream if place == STREAM else place


def tidy(place: str) -> str:
    """Return a place in its usual form: `file://` becomes a local path. Raises PlaceError."""
    if not is_remote(place):
        return place
    if place.startswith("file://"):
        return place.removeprefix("file://")
    fs, path = _open(place)
    named: str = fs.unstrip_protocol(path)
    return named + "/" * (place.endswith("/") and not named.endswith("/"))


def join(folder: str, name: str) -> str:
    """Return the place of a name, with / between its parts, in a folder."""
    return posixpath.join(folder, name) if is_remote(folder) else os.path.join(folder, *name.split("/"))


def split(place: str) -> tuple[str, str, str]:
    """Return folder, stem and suffix of the place of a file: ("s3://b/photos", "a", ".png")."""
    folder, name = posixpath.split(place) if is_remote(place) else os.path.split(place)
    stem, suffix = os.path.splitext(name)
    return folder, stem, suffix


def absolute(place: str) -> str:
    """Return the absolute path of a place; links are not followed."""
    return place if is_remote(place) else os.path.abspath(place)


def same(place: str) -> str:
    """Return one name for all ways to write a place, links followed, to compare places by."""
    return posixpath.normpath(place) if is_remote(place) else os.path.realpath(place)


def is_folder(place: str) -> bool:
    """Return whether a place is a folder. Raises PlaceError for remote ones that cannot be reached."""
    if not is_remote(place):
        return os.path.isdir(place)
    with _reaching(place):
        fs, path = _open(place)
        return bool(fs.isdir(path))


def expand(text: str) -> list[Match]:
    """Return the places that a pattern matches, sorted; the text itself if it names a file or matches none."""
    if not glob.has_magic(text) or (not is_remote(text) and os.path.lexists(text)):
        return [Match(text)]
    if not is_remote(text):
        return match(text) or [Match(text)]
    with _reaching(text):
        fs, path = _open(text)
        root = split_pattern(path)[0]
        found = sorted(fs.glob(path))
        return [Match(fs.unstrip_protocol(name), below(name, root)) for name in found] or [Match(text)]


def files(folder: str, recursive: bool) -> Found:
    """Return the files in a folder and, if recursive, in its subfolders; hidden ones are left out. Raises PlaceError.

    Names in a store that lead out of the folder, such as `../a.png`, are among the errors.
    """
    if not is_remote(folder):
        return walk(folder, recursive)
    with _reaching(folder):
        fs, path = _open(folder)
        path = path.rstrip("/")
        found = fs.find(path, maxdepth=None if recursive else 1)
        names = sorted(name[len(path) :].lstrip("/") for name in found)
    outside = [name for name in names if ".." in name.split("/")]
    errors = tuple(OSError(errno.EINVAL, "its name leads out of the folder", join(folder, name)) for name in outside)
    seen = (name for name in names if not any(part.startswith(".") for part in name.split("/")))
    return Found(tuple(seen), (), errors)


def sizes(places: Iterable[str]) -> dict[str, int]:
    """Return the bytes of each file that exists. Each remote folder is listed once. Raises PlaceError."""
    found: dict[str, int] = {}
    folders: dict[str, list[str]] = {}
    for place in places:
        if place == STREAM:
            continue
        if is_remote(place):
            folders.setdefault(posixpath.dirname(place), []).append(place)
        elif os.path.exists(place):
            found[place] = os.stat(place).st_size
    for folder, wanted in folders.items():
        listed = _listed(folder)
        found.update({place: listed[place] for place in wanted if place in listed})
    return found


def _listed(folder: str) -> dict[str, int]:
    with _reaching(folder):
        fs, path = _open(folder)
        try:
            entries = fs.ls(path, detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        return {fs.unstrip_protocol(entry["name"]): int(entry.get("size") or 0) for entry in entries}


def digest(place: str) -> str:
    """Return a digest of the content: `sha256:…` of a local file, `checksum:…` of a remote one, as its store tells it.

    Raises OSError for a local file that cannot be read and PlaceError for a remote one.
    """
    if is_remote(place):
        with _reaching(place):
            fs, path = _open(place)
            fs.invalidate_cache(posixpath.dirname(path))
            return f"checksum:{fs.checksum(path):x}"
    if place == STREAM or not os.path.isfile(place):  # a pipe would be waited for, a device may never end
        raise OSError(errno.EINVAL, "not a regular file", place)
    return f"sha256:{sha256(place)}"


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a local file, hexadecimal. Raises OSError."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            total.update(part)
    return total.hexdigest()


def fetch(place: str, file: Path) -> None:
    """Copy the content of a remote place, or of standard input, into a local file. Raises OSError or PlaceError."""
    if place == STREAM:
        read_input(file)
        return
    with _reaching(place):
        fs, path = _open(place)
        fs.get_file(path, str(file))


def publish(file: Path, place: str) -> None:
    """Upload a local file to a remote place, where it appears whole or not at all, or copy it to standard output.

    Raises PlaceError.
    """
    if place == STREAM:
        try:
            write_output(file)
        except OSError as error:
            raise PlaceError(
                f"standard output: {(error.strerror or str(error)).lower()}; give a file with -o"
            ) from None
        return
    with _reaching(place):
        fs, path = _open(place)
        if place.partition("://")[0] in _WHOLE:
            fs.put_file(str(file), path)
            return
        beside = posixpath.join(posixpath.dirname(path), f"{PREFIX}{secrets.token_hex(8)}")
        fs.makedirs(posixpath.dirname(path), exist_ok=True)
        try:
            fs.put_file(str(file), beside)
            fs.mv(beside, path)
        except BaseException:
            if fs.exists(beside):
                fs.rm_file(beside)
            raise


def read_text(place: str) -> str | None:
    """Return the content of a text file in UTF-8; None if it does not exist. Raises OSError or PlaceError."""
    if not is_remote(place):
        return Path(place).read_text("utf-8", "surrogateescape") if os.path.exists(place) else None
    with _reaching(place):
        fs, path = _open(place)
        fs.invalidate_cache(posixpath.dirname(path))
        return fs.cat_file(path).decode("utf-8", "surrogateescape") if fs.exists(path) else None


def write_text(text: str, place: str) -> None:
    """Upload a text to a remote place, whole or not at all. Raises OSError or PlaceError."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "text")
        file.write_text(text, "utf-8", "surrogateescape")
        publish(file, place)


def _open(place: str) -> tuple[AbstractFileSystem, str]:
    with _reaching(place):
        from fsspec.core import url_to_fs  # here, since local files do without

        fs, path = url_to_fs(place)
        return fs, str(path)


@contextmanager
def _reaching(place: str) -> Iterator[None]:
    """Turn whatever a store raises into a PlaceError that names the place."""
    try:
        yield
    except PlaceError:
        raise
    except FileNotFoundError:
        raise PlaceError(f"{place}: no such file or folder") from None
    except PermissionError as error:
        raise PlaceError(f"{place}: access denied ({_first_line(error)}); check the credentials") from error
    except ImportError as error:
        scheme = place.partition("://")[0]
        if scheme in ("s3", "s3a"):
            remedy = install_extra("s3")
        else:
            remedy = install_packages(_LIBRARIES[scheme]) if scheme in _LIBRARIES else _first_line(error)
        raise PlaceError(f"{place}: needs a library that is not installed; {remedy}") from error
    except Exception as error:  # every store has errors of its own
        raise PlaceError(f"{place}: cannot be reached ({type(error).__name__}: {_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
