"""The weights that come with the package, and where weights of any name lie."""

from __future__ import annotations

from pathlib import Path

from mambairv2.tasks import TASKS, weights_name
from mambairv2.weights import hub
from mambairv2.weights.errors import WeightsError

PRETRAINED = Path(__file__).parents[1] / "pretrained"
AVERAGED = "ema.safetensors"
"""The averaged weights in the folder of a training run."""


def pretrained() -> dict[str, Path]:
    """Return the weights that came with this package, by name."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def weights_by_file(scale: int | None = None) -> tuple[str, str | None]:
    """Return the names of the weights for photographs and, beside them, of those for clean pictures, at one scale.

    Where there are weights of one kind only, they are for all files, and the second name is None. scale: by default 2.
    Raises ValueError for a scale that has none.
    """
    photo = weights_name("photo", scale) if scale in (None, *TASKS["photo"].scales) else ""
    if photo not in pretrained():
        return weights_name("sr", scale), None
    return photo, weights_name("sr", scale) if scale in (None, *TASKS["sr"].scales) else None


def find_weights(path_or_name: str | Path) -> Path:
    """Return the file of a packaged name, a path or `hf://owner/repo/file`; raises WeightsError.

    Of the folder of a training run it is the averaged weights.
    """
    name = str(path_or_name)
    if name in pretrained():
        return pretrained()[name]
    if name.startswith(hub.SCHEME):
        return hub.download(name)
    path = Path(path_or_name)
    if path.is_dir():
        if (path / AVERAGED).is_file():
            return path / AVERAGED
        raise WeightsError(f"{path}: is a folder without {AVERAGED}; give a .safetensors or .pth file")
    if not path.exists():
        known = ", ".join(pretrained()) or "none"
        raise WeightsError(f"{path}: no such weights; give a file, or one of the packaged names: {known}")
    return path
