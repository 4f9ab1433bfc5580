"""What a Hugging Face Hub answers: repositories of models over HTTP, with a storage for large files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from stub_hub.server import HubServer

TOKEN = "hf_of_a_test"
OWNER = "owner"
"""Who has the token."""
LARGE = (".safetensors", ".pth", ".pt", ".onnx")
"""Kept in the large file storage: a file is answered by a redirection there."""


@dataclass
class Repo:
    """Commits by their hash, each with the contents of its files, and branches."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], branch: str = "main", message: str = "") -> str:
        """Add files to a branch; return the hash of the commit."""
        files = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        sha = hashlib.sha1(f"{len(self.commits)} {branch} {message}".encode()).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        self.messages.append(message)
        return sha

    def files(self, revision: str = "main") -> dict[str, bytes] | None:
        """Return the files of a branch or commit; None where there is no such one."""
        return self.commits.get(self.branches.get(revision, revision))


class Answers(BaseHTTPRequestHandler):
    server_hub: HubServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Note the connection."""
        super().setup()
        self.server_hub.connections.append(self.connection)

    def log_message(self, *_: object) -> None:
        """Write nothing on stderr."""

    def do_HEAD(self) -> None:
        self._answer()

    do_GET = do_POST = do_PUT = do_HEAD

    def _answer(self) -> None:
        hub, parts = self.server_hub, urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        self.content, self.query = self.rfile.read(length), parse_qs(parts.query)
        hub.log.append(f"{self.command} {parts.path}")
        self.authorized = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if hub.broken:
            self._send(hub.broken)
            return
        for pattern, answer in ROUTES:
            match = re.fullmatch(pattern, parts.path)
            if match:
                answer(self, *map(unquote, match.groups()))
                return
        self._send(404)

    def _send(self, status: int, content: bytes | dict | list = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _repo(self, name: str) -> Repo | None:
        repo = self.server_hub.repos.get(name)
        if repo is None or (repo.private and not self.authorized):
            self._send(401 if not self.authorized else 404, X_Error_Code="RepoNotFound")
            return None
        if repo.gated and not self.authorized:
            self._send(403, X_Error_Code="GatedRepo")
            return None
        return repo

    def _files(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        repo = self._repo(name)
        if repo is None:
            return None
        files = repo.files(revision)
        if files is None:
            self._send(404, X_Error_Code="RevisionNotFound")
            return None
        return repo.branches.get(revision, revision), files

    def resolve(self, name: str, revision: str, file: str) -> None:
        """Answer what a file is: its hash, its commit; or send it."""
        found = self._files(name, revision)
        if found is None:
            return
        commit, files = found
        if file not in files:
            self._send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        elif file.endswith(LARGE):
            content = files[file]
            oid = hashlib.sha256(content).hexdigest()
            self.server_hub.storage[oid] = content
            linked = {"X_Linked_Etag": f'"{oid}"', "X_Linked_Size": str(len(content)), "X_Repo_Commit": commit}
            self._send(302, Location=f"{self.server_hub.storage_url}/{oid}", **linked)
        else:
            etag = hashlib.sha1(files[file]).hexdigest()
            self._send(200, files[file], ETag=f'"{etag}"', X_Repo_Commit=commit)

    def stored(self, oid: str) -> None:
        """Send a large file, or the rest of it; cut off where the test says so."""
        content, wanted = self.server_hub.storage[oid], self.headers.get("Range")
        self.server_hub.ranges.append(wanted)
        start = int(re.match(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        rest = content[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", f'"{oid}"')
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cut = self.server_hub.cuts.pop(0) if self.server_hub.cuts else len(rest)
        self.wfile.write(rest[:cut])
        self.close_connection = cut < len(rest)

    def info(self, name: str, revision: str = "main") -> None:
        """Answer what a repository is."""
        if found := self._files(name, revision):
            siblings = [{"rfilename": file} for file in found[1]]
            self._send(200, {"id": name, "modelId": name, "sha": found[0], "siblings": siblings, "private": False})

    def tree(self, name: str, revision: str) -> None:
        """List the files of a repository."""
        if found := self._files(name, revision):
            entries = found[1].items()
            oid = "0" * 40
            self._send(200, [{"type": "file", "path": p, "size": len(c), "oid": oid} for p, c in entries])

    def _may_write(self) -> bool:
        if not self.authorized:
            self._send(401, {"error": "Invalid username or password."})
        return self.authorized

    def create(self) -> None:
        """Make a repository."""
        if not self._may_write():
            return
        asked = json.loads(self.content)
        owner = asked.get("organization") or OWNER
        name = f"{owner}/{asked['name']}"
        if owner != OWNER:
            self._send(403, {"error": f"You have no rights in {owner}"})
            return
        there = name in self.server_hub.repos
        if not there:
            private = asked.get("private") or asked.get("visibility") == "private"
            self.server_hub.add(name, {".gitattributes": b""}, private=bool(private))
        self._send(409 if there else 200, {"url": f"{self.server_hub.url}/{name}", "name": name})

    def branch(self, name: str, branch: str) -> None:
        """Make a branch of the main one."""
        if self._may_write() and (repo := self._repo(name)):
            there = branch in repo.branches
            repo.branches.setdefault(branch, repo.branches["main"])
            self._send(409 if there else 200, {})

    def validate(self) -> None:
        """Refuse a card that does not begin with metadata."""
        good = json.loads(self.content)["content"].startswith("---\n")
        self._send(200 if good else 400, {"errors": [] if good else [{"message": "no metadata"}], "warnings": []})

    def preupload(self, name: str, _revision: str) -> None:
        """Answer which files go to the large file storage."""
        if self._may_write() and self._repo(name):
            files = [file["path"] for file in json.loads(self.content)["files"]]
            modes = [{"path": p, "uploadMode": "lfs" if p.endswith(LARGE) else "regular"} for p in files]
            self._send(200, {"files": [{**mode, "shouldIgnore": False} for mode in modes]})

    def batch(self, _name: str) -> None:
        """Answer where large files are uploaded."""
        if self._may_write():
            objects = json.loads(self.content)["objects"]
            place = self.server_hub.storage_url
            known = [{**o, "actions": {"upload": {"href": f"{place}/{o['oid']}"}}} for o in objects]
            self._send(200, {"transfer": "basic", "objects": known})

    def store(self, oid: str) -> None:
        """Take a large file."""
        good = hashlib.sha256(self.content).hexdigest() == oid
        if good:
            self.server_hub.storage[oid] = self.content
        self._send(200 if good else 400)

    def commit(self, name: str, revision: str) -> None:
        """Commit uploaded files, to a branch or as a pull request."""
        repo = self._repo(name) if self._may_write() else None
        if repo is None:
            return
        lines = [json.loads(line) for line in self.content.splitlines()]
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server_hub.storage[value["oid"]]
        request = "create_pr" in self.query
        message = next(line["value"]["summary"] for line in lines if line["key"] == "header")
        sha = repo.commit(files, "refs/pr/1" if request else revision, message)
        answer = {"commitUrl": f"{self.server_hub.url}/{name}/commit/{sha}", "commitOid": sha}
        if request:
            answer["pullRequestUrl"] = f"{self.server_hub.url}/{name}/discussions/1"
        self._send(200, answer)


_NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    (rf"/{_NAME}/resolve/([^/]+)/(.+)", Answers.resolve),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", Answers.batch),
    (r"/storage/(\w+)", lambda self, oid: self.store(oid) if self.command == "PUT" else self.stored(oid)),
    (r"/api/repos/create", Answers.create),
    (r"/api/validate-yaml", Answers.validate),
    (rf"/api/models/{_NAME}", Answers.info),
    (rf"/api/models/{_NAME}/revision/([^/]+)", Answers.info),
    (rf"/api/models/{_NAME}/tree/([^/]+)", Answers.tree),
    (rf"/api/models/{_NAME}/branch/([^/]+)", Answers.branch),
    (rf"/api/models/{_NAME}/preupload/([^/]+)", Answers.preupload),
    (rf"/api/models/{_NAME}/commit/([^/]+)", Answers.commit),
)
