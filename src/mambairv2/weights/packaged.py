"""The weights that come with the package, and where weights of any name lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mambairv2.tasks import TASKS, weights_name
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.hub.address import SCHEME, WEIGHTS, Address, parse
from mambairv2.weights.hub.fetch import USUAL, Access, commit_of, fetch
from mambairv2.weights.hub.published import PUBLISHED, published

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
        if scale == 1:
            raise ValueError("scale 1 needs a task, denoise or jpeg, or weights of your own")
        return weights_name("sr", scale), None
    return photo, weights_name("sr", scale) if scale in (None, *TASKS["sr"].scales) else None


def find_weights(path_or_name: str | Path, access: Access = USUAL) -> Path:
    """Return the file of weights; raises WeightsError.

    path_or_name: a packaged name (`sr-x2`), a file, a folder, an address on the Hugging Face Hub (`owner/repo`,
    `hf://owner/repo@revision/path/of/file`), or a published name (`published:light-x2`). Of a folder or repository it
    is `model.safetensors`, of the folder of a training run the averaged weights.
    """
    name = str(path_or_name)
    if name in pretrained():
        return pretrained()[name]
    path = Path(path_or_name)
    if path.is_dir():
        return _of_folder(path)
    if path.exists():
        return path
    if address := _address(name):
        return _of_hub(name, address, access)
    known = ", ".join(pretrained()) or "none"
    raise WeightsError(f"{path}: no such weights; give a file, or one of the packaged names: {known}")


def pinned(name: str) -> str:
    """Return an address on the Hub with the commit that is found now; any other name as it is. Raises WeightsError."""
    if name in pretrained() or Path(name).exists():
        return name
    address = _address(name)
    return str(replace(address, revision=commit_of(address, _of_hub(name, address)))) if address else name


def _address(name: str) -> Address | None:
    return published(name) or parse(name)


def _of_hub(name: str, address: Address, access: Access = USUAL) -> Path:
    try:
        return fetch(address, access)
    except WeightsError as error:
        if name.startswith((SCHEME, PUBLISHED)):
            raise
        raise WeightsError(f"{name}: no such file or folder here, and on the Hub: {error}") from None


def _of_folder(folder: Path) -> Path:
    for name in (AVERAGED, WEIGHTS):
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder}: is a folder without {AVERAGED} or {WEIGHTS}; give a .safetensors or .pth file")
