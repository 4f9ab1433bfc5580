"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, content: bytes | str) -> None:
    """Write beside, flush to the disk, then rename: a reader sees the old file or the new one.

    Makes the folder. Raises OSError naming the path, such as for a full disk, and leaves the old file as it was.
    A killed process leaves `.NAME.*.tmp` beside.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:  # a failed write does not name its file
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        Path(temporary).unlink(missing_ok=True)
