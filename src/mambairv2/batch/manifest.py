"""The manifest: the record by which an interrupted run continues, one line of JSON for each event.

The lines, by their `status`:

- `run`: a run begins. `mambairv2` (version), `time`, `settings` (what the outputs depend on, beside the inputs).
- `planned`: this run may write `output`. It is written before any work, so that a later run knows the file for ours.
  It is written again before an output that is `done` is replaced.
- `done`: `input`, its `digest`, `output`, its `bytes`, `settings`, `seconds`, `notes`.
- `failed`: `input`, `digest` (empty if it could not be read), `output`, `settings`, `error`.
- `unchanged`: `output` was planned again, but was not replaced.

Outputs are named relative to the manifest's folder, so that folder and manifest can be moved together.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from io import FileIO
from types import TracebackType

from mambairv2.files import storage
from mambairv2.files.atomic import lock

NAME = "manifest.jsonl"
_START = '{"mambairv2"'
"""Start of the first line. It identifies a manifest, even one that was cut short."""
EVERY = 30.0
"""Seconds between two uploads of a remote manifest, as a remote file cannot grow by a line."""

Settings = Mapping[str, object]
Line = dict[str, object]


class ManifestError(ValueError):
    """A manifest that cannot be used; the message is one line that names it and says what to do."""


class Manifest:
    """A manifest at a place: read when it is made, written to in its context.

    place: a local path, where each line is on the disk before the next file begins, or a remote address, where the
    manifest is uploaded every 30 seconds and at the end. settings: what outputs depend on, as JSON values.
    Raises ManifestError for a file that is not a manifest or cannot be read.
    """

    def __init__(self, place: str, settings: Settings, version: str) -> None:
        self.place, self._settings, self._version = place, dict(settings), version
        try:
            self._text = storage.read_text(place) or ""
        except (OSError, storage.PlaceError) as error:
            raise _unusable(place, error) from error
        self.made_from = self._read()
        """Outputs of earlier runs with these settings, by absolute name; the digest of the input of finished ones."""
        self._torn = bool(self._text) and not self._text.endswith("\n")  # a line was cut short
        self._file: FileIO | None = None
        self._begun: set[str] = set()
        self._writing = threading.Lock()
        self._put_at = 0.0

    def _read(self) -> dict[str, str | None]:
        """Return the outputs of earlier runs with the same settings, with the digest of the input if it was finished.

        An output that was changed since then is left out. Lines that were cut short are ignored.
        """
        lines = [line for line in map(_parse, self._text.split("\n")) if line]  # names may hold other line ends
        if not _START.startswith(self._text[: len(_START)]):
            raise ManifestError(f"{self.place}: is not a manifest; choose another file with --manifest")
        made: dict[str, str | None] = {}
        bytes_of: dict[str, object] = {}
        begun: set[str] = set()  # a run that was killed may have replaced them before it could record that
        settings: object = None
        for line in lines:
            settings = line.get("settings", settings)
            output = self._whole(str(line.get("output", "")))
            if line["status"] == "run":
                continue
            if settings != self._settings:  # the file may not be ours any more
                if line["status"] == "done":
                    made.pop(output, None)
                elif line["status"] == "planned" and output in made:
                    made[output] = None
            elif line["status"] == "done":
                made[output], bytes_of[output] = str(line.get("digest")), line.get("bytes")
                begun.discard(output)
            elif line["status"] == "planned":
                made.setdefault(output, None)
                begun.add(output)
            else:
                begun.discard(output)
        there = storage.sizes(bytes_of)
        changed = {output for output, size in there.items() if made.get(output) and size != bytes_of[output]}
        made.update(dict.fromkeys(changed & begun))
        return {output: digest for output, digest in made.items() if output not in changed - begun}

    def __enter__(self) -> Manifest:
        """Begin a run. Raises ManifestError where it cannot be written, or while another run writes to it."""
        if not storage.is_remote(self.place):
            try:
                os.makedirs(os.path.dirname(self.place) or ".", exist_ok=True)
                self._file = open(self.place, "ab", buffering=0)
            except OSError as error:
                raise _unusable(self.place, error) from error
            try:
                lock(self._file.fileno())
            except BlockingIOError:
                self._file.close()
                message = "is in use by another run; wait for it, or choose another file with --manifest"
                raise ManifestError(f"{self.place}: {message}") from None
            except OSError:
                pass  # a file system without locks
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the run; a remote manifest is uploaded as it is now."""
        if self._file is not None:
            self._file.close()
        else:
            self._put()

    def begin(self, outputs: Iterable[str]) -> None:
        """Record what this run may write, before it does."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        run: Line = {"mambairv2": self._version, "status": "run", "time": stamp, "settings": self._settings}
        planned = (name for name in outputs if storage.absolute(name) not in self.made_from)
        lines: list[Line] = [{"status": "planned", "output": self._short(name)} for name in planned]
        self._write([run, *lines], now=True)

    def begun(self, output: str) -> None:
        """Record that an output is about to be replaced, if it was finished before."""
        name = storage.absolute(output)
        if self.made_from.get(name):
            self._begun.add(name)
            self._write([{"status": "planned", "output": self._short(output)}], now=True)

    def unchanged(self, output: str) -> None:
        """Record that an output was not replaced, though it was begun."""
        if storage.absolute(output) in self._begun:
            self._write([{"status": "unchanged", "output": self._short(output)}])

    def done(self, source: str, digest: str, output: str, size: int, seconds: float, notes: Iterable[str]) -> None:
        """Record a finished file, its output of `size` bytes in place."""
        line: Line = {"status": "done", "input": source, "digest": digest, "output": self._short(output)}
        figures: Line = {"bytes": size, "seconds": round(seconds, 3), "notes": list(notes)}
        self._write([{**line, **figures, "settings": self._settings}])

    def failed(self, source: str, digest: str, output: str, error: str) -> None:
        """Record a file that could not be restored."""
        line: Line = {"status": "failed", "input": source, "digest": digest, "output": self._short(output)}
        self._write([{**line, "error": error, "settings": self._settings}])

    def _write(self, lines: Iterable[Line], now: bool = False) -> None:
        """Add lines. They are on the disk when this returns; at a remote place only with `now`.

        Raises ManifestError when they cannot be written.
        """
        with self._writing:
            self._add(lines, now)

    def _add(self, lines: Iterable[Line], now: bool) -> None:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        if self._torn:
            text, self._torn = "\n" + text, False
        if self._file is None:
            self._text += text
            if now or time.monotonic() > self._put_at + EVERY:
                self._put()
            return
        content = text.encode("utf-8", "surrogateescape")
        try:
            if self._file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unusable(self.place, error) from error

    def _put(self) -> None:
        try:
            storage.write_text(self._text, self.place)
        except (OSError, storage.PlaceError) as error:
            raise _unusable(self.place, error) from error
        self._put_at = time.monotonic()

    @property
    def _folder(self) -> str:
        return storage.split(storage.absolute(self.place))[0]

    def _short(self, output: str) -> str:
        """Return the name of an output relative to the folder of the manifest, or absolute if it lies elsewhere."""
        name = storage.absolute(output)
        inner = name.removeprefix(self._folder).replace(os.sep, "/")
        return inner.lstrip("/") if name.startswith(self._folder) and inner.startswith("/") else name

    def _whole(self, name: str) -> str:
        """Return the absolute name of an output that the manifest names."""
        whole = storage.is_remote(name) or os.path.isabs(name)
        return name if whole else storage.absolute(storage.join(self._folder, name))


def _parse(line: str) -> Line | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("status"), str) else None


def _unusable(place: str, error: Exception) -> ManifestError:
    reason = (getattr(error, "strerror", None) or str(error).removeprefix(f"{place}: ")).lower()
    remedy = "make room or choose another place with --manifest, or --manifest none"
    return ManifestError(f"{place}: cannot be used ({reason}); {remedy}")
