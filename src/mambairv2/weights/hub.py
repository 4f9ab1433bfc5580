"""Weights from the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from mambairv2.installation import install_extra
from mambairv2.weights.errors import WeightsError

SCHEME = "hf://"


def download(address: str) -> Path:
    """Fetch `hf://owner/repo/file` into the cache of the Hub and return the local file; raises WeightsError."""
    owner, _, rest = address.removeprefix(SCHEME).partition("/")
    repo, _, file = rest.partition("/")
    if not (owner and repo and file):
        raise WeightsError(f"{address}: write it as hf://owner/repo/file")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise WeightsError(
            f"{address}: needs huggingface-hub, which is not installed; {install_extra('hub')}"
        ) from None
    try:
        return Path(hf_hub_download(f"{owner}/{repo}", file))
    except Exception as error:
        raise WeightsError(f"{address}: could not be fetched ({type(error).__name__}: {error})") from error
