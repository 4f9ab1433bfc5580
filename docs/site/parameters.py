"""The parameters of a docstring as a list in the site: `name: what it is. other: what that is.` has one line each."""

from __future__ import annotations

import re

import griffe

END = re.compile(r"(?<=[.;]) (?=(?:Raises|Returns) )")
"""Where the parameters end and a sentence about the whole begins."""


class Parameters(griffe.Extension):
    """Rewrite docstrings before they are shown; the source is not changed."""

    def on_function(self, *, func: griffe.Function, **_: object) -> None:
        """List the parameters of a function."""
        _rewrite(func, [parameter.name for parameter in func.parameters])

    def on_class(self, *, cls: griffe.Class, **_: object) -> None:
        """List the parameters of a class's `__init__`."""
        init = cls.members.get("__init__")
        if isinstance(init, griffe.Function):
            _rewrite(cls, [parameter.name for parameter in init.parameters])


def _rewrite(of: griffe.Object, names: list[str]) -> None:
    if of.docstring is not None:
        of.docstring.value = as_list(of.docstring.value, names)


def as_list(text: str, names: list[str]) -> str:
    """Return a docstring with each paragraph that begins with a parameter of `names` as a Markdown list."""
    known = "|".join(map(re.escape, names))
    if not known:
        return text
    start = re.compile(rf"(?:^|(?<=[.;] ))((?:{known})(?:(?:, | and )(?:{known}))*): ")
    paragraphs = []
    for paragraph in text.split("\n\n"):
        line = " ".join(paragraph.split())
        parts = start.split(line)
        if parts[0] or len(parts) < 3:
            paragraphs.append(paragraph)
            continue
        last, *rest = END.split(parts[-1], maxsplit=1)
        listed = zip(parts[1::2], (*parts[2:-1:2], last), strict=True)
        paragraphs += ["\n".join(f"- **{name}**: {meaning.strip()}" for name, meaning in listed), *rest]
    return "\n\n".join(paragraphs)
