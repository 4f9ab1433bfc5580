"""Standard output and error: any name can be printed, and a reader that goes away or a full disk ends no work."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from mambairv2.files.names import escaped, shown

_ESCAPING = "mambairv2-escaping"
_PLAIN = {"×": "x", "→": "->", "–": "-", "…": "...", "σ": "sigma", "±": "+-", "≥": ">="}
"""What is written for our own characters where the encoding of a stream lacks them."""


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter) or escaped(letter) for letter in letters), error.end


codecs.register_error(_ESCAPING, _escape)


def say(text: str, stream: TextIO | None = None) -> None:
    """Print one line, on stdout unless told otherwise; what a terminal would obey is shown as an escape."""
    print(shown(text), file=stream or sys.stdout, flush=True)


@contextmanager
def guarded() -> Iterator[None]:
    """Let a command print whatever it likes until it ends.

    A character that the encoding of the stream lacks is escaped. Where the reader of a pipe goes away, what is printed
    later is dropped, and the work goes on. Where it cannot be written for another reason, such as a full disk, the work
    goes on, too; then a line says so, and the exit code is 1.
    """
    _fill_closed()
    before = sys.stdout, sys.stderr
    raw = _guard("stdout")
    _guard("stderr")
    try:
        yield
    except SystemExit as ended:
        sys.stdout.flush()
        if raw is not None and raw.error is not None and not _reader_went(raw.error) and not ended.code:
            reason = (raw.error.strerror or str(raw.error)).lower()
            say(f"error: standard output: {reason}; what was printed is lost, files are as they should be", sys.stderr)
            raise SystemExit(1) from None
        raise
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _fill_closed() -> None:
    """Give closed standard streams the null device, lest a file be opened in their place and be printed into."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (until the process ends)


def _guard(name: str) -> _Lasting | None:
    """Replace a standard stream by one that takes everything; None if it is not a stream of the system."""
    stream: TextIO = getattr(sys, name)
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is no buffer
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(raw, io.RawIOBase):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPING)
        return None
    stream.flush()
    lasting = _Lasting(raw)
    buffered = io.BufferedWriter(lasting)
    guard = io.TextIOWrapper(buffered, stream.encoding, _ESCAPING, line_buffering=stream.line_buffering)
    setattr(sys, name, guard)
    return lasting


class _Lasting(io.RawIOBase):
    """A stream that writes until that fails, and then drops what it gets."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()

    def write(self, data: object, /) -> int:
        content = memoryview(data).cast("B")  # type: ignore[arg-type]  # a buffer, as BufferedWriter gives it
        while self.error is None:
            try:
                written = self._raw.write(content)
                if written is not None:
                    return written
                select.select([], [self._raw.fileno()], [])  # another process made the pipe one that does not wait
            except OSError as error:
                self.error = error
        return len(content)


def _reader_went(error: OSError) -> bool:
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL)
