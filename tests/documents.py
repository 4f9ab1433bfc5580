"""The documents of the project, and the commands and Python in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("[ce]*/README.md")))
"""Those of the root, of docs/, csrc/ and examples/."""
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block, or a command within a sentence or a table."""

    document: str
    """Path below the root."""
    language: str
    text: str

    def __str__(self) -> str:
        """Return a short name for a test."""
        return f"{self.document}: {self.text.strip().splitlines()[0][:60]}"


def name_of(document: Path) -> str:
    """Return a document's path below the root."""
    return document.relative_to(ROOT).as_posix()


def blocks(document: Path) -> list[Block]:
    """Return the fenced blocks of a document."""
    return [Block(name_of(document), m[1].strip(), m[2]) for m in FENCE.finditer(document.read_text(encoding="utf-8"))]


def prose(document: Path) -> str:
    """Return a document without its fenced blocks."""
    return FENCE.sub("", document.read_text(encoding="utf-8"))


def inline(document: Path) -> list[str]:
    """Return the inline code of a document."""
    return INLINE.findall(prose(document))


def command_blocks() -> list[Block]:
    """Return every block of shell commands, and every whole command of ours within a sentence, each text once."""
    found: dict[str, Block] = {}
    for document in DOCUMENTS:
        for block in blocks(document):
            if block.language == "sh":
                found.setdefault(block.text, block)
        for code in inline(document):
            if code.startswith("mambairv2 ") and len(code.split()) > 2:
                found.setdefault(code, Block(name_of(document), "sh", code))
    return list(found.values())


def commands(block: Block) -> list[list[str]]:
    """Return the commands of a block as words, comments left out."""
    lines = (shlex.split(line, comments=True) for line in block.text.replace("\\\n", " ").splitlines())
    return [words for words in lines if words]


def python_blocks() -> list[Block]:
    """Return every block of Python, each text once."""
    found = {b.text: b for document in DOCUMENTS for b in blocks(document) if b.language == "python"}
    return list(found.values())
