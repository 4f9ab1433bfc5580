"""Weights are fetched from the Hugging Face Hub into its cache, and only when they are asked for."""

from __future__ import annotations

import posixpath
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mambairv2.weights.errors import WeightsError
from mambairv2.weights.hub.address import CONFIG, WEIGHTS, Address
from mambairv2.weights.hub.errors import explained, short
from mambairv2.weights.hub.published import by_hand

LIBRARY = "mambairv2"
_BUSY = (408, 429, 500, 502, 503, 504)
"""Answers of a Hub that does not work just now."""
_GONE = "it was removed meanwhile"


@dataclass(frozen=True)
class Access:
    """How the Hub is asked; each field is an argument of `huggingface_hub.hf_hub_download`."""

    revision: str | None = None
    """Instead of that of the address."""
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    force_download: bool = False
    local_files_only: bool = False


USUAL = Access()


def fetch(address: Address, access: Access = USUAL) -> Path:
    """Return the local copy of a file; what the cache lacks is downloaded.

    With a `model.safetensors` comes the `config.json` beside it, if there is one, of the same commit. Where the Hub
    cannot be reached, the copies in the cache are taken. Raises WeightsError, in one line.
    """
    if access.revision:
        address = replace(address, revision=access.revision)
    with explained(str(address), by_hand(address)):
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        found, access, reason = _settle(address, access)
        folder, name = posixpath.split(address.file)
        try:
            if name == WEIGHTS:
                with suppress(EntryNotFoundError):  # a repository may do without
                    _download(replace(found, file=posixpath.join(folder, CONFIG)), access)
            path = _download(found, access)
            _note_branch(address, path, access)
            return path
        except LocalEntryNotFoundError:
            raise WeightsError(
                f"{address}: is not in the cache ({reason}); fetch it once with a connection, or give a file"
            ) from None


def _settle(address: Address, access: Access) -> tuple[Address, Access, str]:
    """Return the address by its commit, and how the files of this commit are got; the Hub is asked once.

    Where it cannot be reached that is the cache alone, and the text says why. huggingface_hub itself would try for half
    a minute for each file that it does not have.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    cached = replace(access, local_files_only=True)
    if access.local_files_only:
        return address, access, "local_files_only=True"
    if re.fullmatch("[0-9a-f]{40}", address.revision or "") and not access.force_download:
        with suppress(EntryNotFoundError):
            _download(address, cached)
            return address, cached, _GONE
    url = hf_hub_url(address.repo, address.file, revision=address.revision)
    try:
        found = get_hf_file_metadata(url, token=access.token)
    except EntryNotFoundError:
        raise WeightsError(_not_there(address, access)) from None
    except Exception as error:  # the HTTP client's classes differ from version to version
        answered = isinstance(error, HfHubHTTPError) and error.response.status_code not in _BUSY
        if answered or access.force_download:
            raise
        return address, cached, f"the Hub cannot be reached, {short(error)}"
    return replace(address, revision=found.commit_hash or address.revision), access, _GONE


def _note_branch(address: Address, path: Path, access: Access) -> None:
    """See that the cache knows which commit a branch is at, for when there is no connection."""
    from huggingface_hub import try_to_load_from_cache

    noted = try_to_load_from_cache(address.repo, address.file, cache_dir=access.cache_dir, revision=address.revision)
    if noted != str(path):
        _download(address, replace(access, force_download=False))


def commit_of(address: Address, copy: Path) -> str:
    """Return the commit that a copy in the cache is of: `snapshots/COMMIT/path/of/file`."""
    return copy.parents[address.file.count("/")].name


def _download(address: Address, access: Access) -> Path:
    from importlib.metadata import version  # here, since it takes a while to import

    from huggingface_hub import hf_hub_download

    path = hf_hub_download(
        address.repo,
        address.file,
        revision=address.revision,
        token=access.token,
        cache_dir=access.cache_dir,
        force_download=access.force_download,
        local_files_only=access.local_files_only,
        library_name=LIBRARY,
        library_version=version(LIBRARY),
    )
    return Path(path)


def _not_there(address: Address, access: Access) -> str:
    """Return the error for a file that a repository does not have: it names the weights that it has."""
    from huggingface_hub import HfApi

    listed = HfApi(token=access.token).list_repo_files(address.repo, revision=address.revision)
    found = [name for name in listed if name.endswith((".safetensors", ".pth", ".pt", ".onnx"))]
    others = ", ".join(str(replace(address, file=name)) for name in found[:3])
    return f"{address}: the repository has no such file" + (f"; it has {others}" if others else ", and no weights")
