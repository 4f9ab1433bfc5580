"""TODO weights.packaged."""

from __future__ import annotations

from pathlib import Path

from mambairv2.weights.errors import WeightsError

PRETRAINED = Path(__file__).parents[1] / "pretrained"


def pretrained() -> dict[str, Path]:
    """Return the weights that came with this package, by name."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def find_weights(path_or_name: str | Path) -> Path:
    """Return the file of a packaged name, a path or `hf://owner/repo/file`; raises WeightsError."""
    name = str(path_or_name)
    if name in pretrained():
        return pretrained()[name]
    if name.startswith("hf://"):
        return _download(name)
    path = Path(path_or_name)
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder; give a .safetensors or .pth file")
    if not path.exists():
        known = ", ".join(pretrained()) or "none"
        raise WeightsError(f"{path}: no such weights; give a file, or one of the packaged names: {known}")
    return path


def _download(address: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise WeightsError(f"{address}: needs `pip install 'mambairv2[hub]'`") from None
    owner, _, rest = address.removeprefix("hf://").partition("/")
    repo, _, file = rest.partition("/")
    if not (owner and repo and file):
        raise WeightsError(f"{address}: write it as hf://owner/repo/file")
    try:
        return Path(hf_hub_download(f"{owner}/{repo}", file))
    except Exception as error:
        raise WeightsError(f"{address}: could not be fetched ({type(error).__name__}: {error})") from error
