"""The command line as a process of its own, with a tiny network."""

import os
import subprocess
import sys

from run_python import search_path
from stand_in import picture

NASTY = [
    "日本.png".encode(),
    "é.png".encode(),
    b"caf\xe9.png",
    b"a\nb.png",
    b"\x1b[31mred\x07.png",
    b"100%{}[x].png",
    b"-dash.png",
    b"CON.png",
    b"n" * 250 + b".png",
]
"""Names in UTF-8 and in Latin-1, with a line end, with what a terminal obeys, and others that programs stumble over."""


def environment(**more):
    return {**os.environ, "PYTHONPATH": search_path(), "OMP_NUM_THREADS": "1", **more}


def command(*arguments):
    return [sys.executable, "-m", "mambairv2.cli", *arguments]


def run(cwd, *arguments, env=None, prefix=(), **options):
    """Run a command to its end; what it prints is bytes."""
    given = {"capture_output": True, **options} if not {"stdout", "stderr"} & set(options) else options
    return subprocess.run(
        [*prefix, *command(*arguments)], cwd=cwd, env=environment(**(env or {})), timeout=120, check=False, **given
    )


def fill(folder, names):
    """Put a small picture under each name, in bytes, into a folder."""
    folder.mkdir()
    picture(6, 8, 3).pngsave(str(folder / "first.png"))
    content = (folder / "first.png").read_bytes()
    (folder / "first.png").unlink()
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(content)


def names_in(folder):
    return sorted(name for name in os.listdir(os.fsencode(folder)) if name != b"manifest.jsonl")
