"""`python -m mambairv2.integrations.comfyui PATH/TO/ComfyUI` puts the nodes into ComfyUI."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def install(comfyui: Path) -> Path:
    """Copy the folder of the nodes into `custom_nodes` of ComfyUI, replacing an older copy; returns its place.

    Raises ValueError for a folder that is not ComfyUI's.
    """
    nodes = comfyui / "custom_nodes"
    if not nodes.is_dir():
        raise ValueError(f"{comfyui}: has no folder custom_nodes; name the folder of ComfyUI")
    place = nodes / "mambairv2"
    place.mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("__init__.py"), place / "__init__.py")
    return place


def main() -> int:
    """Install and return the exit code: 0 done, 1 it could not be written, 2 wrong arguments."""
    if len(sys.argv) != 2:
        print("usage: python -m mambairv2.integrations.comfyui PATH/TO/ComfyUI", file=sys.stderr)
        return 2
    try:
        print(install(Path(sys.argv[1])))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
