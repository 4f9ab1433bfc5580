"""A Hugging Face Hub on this machine, which the real huggingface_hub talks to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from stub_hub.answers import Answers, Repo

INSTALL = "huggingface-hub is not installed: pip install -c constraints.txt -e '.[hub]'"


class HubServer:
    """The server. `log` has the requests, such as `GET /owner/repo/resolve/main/config.json`."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.storage: dict[str, bytes] = {}
        self.log: list[str] = []
        self.ranges: list[str | None] = []
        """The Range of each download from the storage."""
        self.cuts: list[int] = []
        """After so many bytes the next downloads from the storage break off."""
        self.broken: int | None = None
        """A status that answers everything."""
        self.connections: list[socket.socket] = []
        hub = self

        class Handler(Answers):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{port}"
        self.storage_url = f"http://localhost:{port}/storage"
        """Another host, as on the Hub, so that it does not get the token."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def add(self, name: str, files: dict[str, bytes], **settings: bool) -> Repo:
        """Make a repository with a first commit."""
        self.repos[name] = Repo(**settings)
        self.repos[name].commit(files)
        return self.repos[name]

    def stop(self) -> None:
        """Stop, so that connections end and new ones are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[HubServer]:
    """Run a server that huggingface_hub takes for the Hub, with its cache in a folder and without a token."""
    constants = pytest.importorskip("huggingface_hub.constants", reason=INSTALL)
    hub = HubServer()
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        patch.delenv(name, raising=False)
    try:
        yield hub
    finally:
        hub.stop()


def environment(hub: HubServer, folder: Path) -> dict[str, str]:
    """Return the variables by which a new process does the same."""
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": ""}
