"""A network is uploaded to the Hugging Face Hub, in one commit."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from mambairv2.network.model import MambaIRv2
from mambairv2.weights.hub.errors import explained
from mambairv2.weights.hub.fetch import LIBRARY
from mambairv2.weights.sharing.folder import save_folder


def push(
    network: MambaIRv2,
    repo: str,
    metadata: Mapping[str, str],
    *,
    commit_message: str,
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    create_pr: bool = False,
    card: str | None = None,
    license: str | None = None,
) -> str:
    """Make the repository where there is none, and upload the files of `save_folder`; return the address of the commit.

    With create_pr it is the address of the pull request. Raises WeightsError, in one line.
    """
    with explained(repo), tempfile.TemporaryDirectory() as folder:
        from huggingface_hub import HfApi

        api = HfApi(token=token, library_name=LIBRARY, library_version=version(LIBRARY))
        repo = api.create_repo(repo, private=private, exist_ok=True).repo_id
        if branch:
            api.create_branch(repo, branch=branch, exist_ok=True)
        save_folder(network, Path(folder), metadata, repo=repo, card=card, license=license)
        done = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message=commit_message,
            revision=branch,
            create_pr=create_pr,
        )
        return done.pr_url or done.commit_url
