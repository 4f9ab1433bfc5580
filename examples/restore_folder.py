"""Restore every image of a folder from Python, and go on where one cannot be read.

`python examples/restore_folder.py photos/ large/`. On the command line, `mambairv2 restore photos/ -o large/` does this
and more: it continues an interrupted run, names outputs, and reaches remote places.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mambairv2 import Restorer
from mambairv2.images.errors import ImageError
from mambairv2.images.formats import FORMATS


def restore_folder(restorer: Restorer, source: Path, target: Path) -> list[Path]:
    """Restore the images of a folder into another one, format kept; returns the files that were written."""
    written = []
    for path in sorted(source.iterdir()):
        if path.suffix.lower() not in FORMATS:
            continue
        try:
            done = restorer.restore_file(path, target / path.name)
        except ImageError as error:  # one line that names the file and says what to do
            print(f"error: {error}", file=sys.stderr)
            continue
        print(f"{done.target}: {done.seconds:.1f} s", *done.notes)
        written.append(done.target)
    return written


if __name__ == "__main__":
    restore_folder(Restorer("sr-x2"), Path(sys.argv[1]), Path(sys.argv[2]))
