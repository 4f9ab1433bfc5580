"""Names of files as text for people: any bytes in a name, shown in one line that no terminal obeys."""

from __future__ import annotations

import re

_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line ends, marks that turn the direction of writing, and bytes that are no text."""


def shown(text: str) -> str:
    r"""Return a text as it is shown to people: in one line, without characters that a terminal obeys.

    They are replaced by escapes such as `\n` and `\x1b`. A byte of a name that is not UTF-8 becomes one such as `\xe9`.
    """
    return _OBEYED.sub(lambda found: escaped(found.group()), text)


def escaped(letter: str) -> str:
    r"""Return the escape for one character: `\n`, `\xe9`, `\u65e5`; `\xe9` for that byte in a name that is no text."""
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte that it cannot decode
        return f"\\x{number - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


def encoded(text: str) -> bytes:
    """Return a text as UTF-8, in which the bytes of a name are as they are on the disk."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair of surrogates, as names on Windows may have
        return text.encode("utf-8", "backslashreplace")


def reserved_by_windows(name: str) -> bool:
    """Return whether Windows does not allow a file of this name. Source: "Naming Files", Microsoft."""
    stem = name.partition(".")[0].rstrip(" ").upper()
    device = stem in ("CON", "PRN", "AUX", "NUL") or re.fullmatch("(COM|LPT)[1-9¹²³]", stem) is not None
    return device or name.endswith((".", " ")) or re.search(r'[<>:"/\\|?*\x00-\x1f]', name) is not None
