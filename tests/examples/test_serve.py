"""The web service of the examples, by a real server: bytes as `restore` makes them, mistakes as HTTP codes."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from documents import ROOT, command_blocks, commands
from mambairv2.restoration.restorer import Restorer
from run_python import ENVIRONMENT, search_path
from stand_in import StandIn, picture

uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -c constraints.txt -e '.[dev]'")
pytest.importorskip("fastapi", reason="FastAPI is not installed: pip install -c constraints.txt -e '.[dev]'")
import serve  # noqa: E402


class Slow(StandIn):
    def forward(self, x):
        time.sleep(0.3)
        return super().forward(x)


@pytest.fixture
def address(monkeypatch):
    """A server in a thread, with a stand-in for the network and narrow limits."""
    monkeypatch.setattr(serve, "Restorer", lambda weights: Restorer(Slow(), "cpu"))
    monkeypatch.setattr(serve, "MEGABYTES", 0.1)
    monkeypatch.setattr(serve, "MEGAPIXELS", 0.01)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(serve.app, log_level="error", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def ask(address, content):
    """Return the status, the type of the content and the answer to a file."""
    try:
        with urlopen(Request(f"{address}/restore", content), timeout=120) as answer:
            return answer.status, answer.headers["content-type"], answer.read()
    except HTTPError as error:
        return error.code, error.headers["content-type"], json.loads(error.read())["detail"]


def encoded(suffix, height=20, width=30):
    return picture(height, width, 3).write_to_buffer(suffix)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif"])
def test_the_answer_is_what_a_restorer_makes_of_the_bytes(address, kind):
    content = encoded(f".{kind}")
    kinds = {"jpg": "image/jpeg", "tif": "image/tiff"}
    expected = Restorer(StandIn(), "cpu").restore(content)
    assert ask(address, content) == (200, kinds.get(kind, f"image/{kind}"), expected)


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"no picture", 422, "image: is not an image"),
        (encoded(".png")[:300], 422, "image: is damaged or cut short"),
        (b"", 422, "image: is "),
        (encoded(".png", 120, 100), 422, "image: 100x120 is over the limit of 0.01 megapixels"),
        (bytes(2 * 10**5), 413, "the file has more than 0.1 MB; send a smaller one"),
    ],
    ids=["no image", "cut short", "empty", "pixels", "bytes"],
)
def test_a_mistake_has_a_code_and_one_line(address, content, status, says):
    code, _, line = ask(address, content)
    assert (code, line[: len(says)]) == (status, says)
    assert "\n" not in line
    assert ask(address, encoded(".png"))[0] == 200


def test_requests_share_the_restorer_and_those_that_are_too_many_are_refused(address, monkeypatch):
    monkeypatch.setattr(serve, "WAITING", 2)
    contents = [encoded(".png", 20, 20 + number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda content: ask(address, content), contents))
    assert sorted(status for status, _, _ in answers) == [200] * 4 + [503] * 4
    for content, (status, _, answer) in zip(contents, answers, strict=True):
        if status == 200:
            assert answer == Restorer(StandIn(), "cpu").restore(content)
        else:
            assert answer == "too many requests wait; try again later"


def test_want_of_memory_is_told(address, monkeypatch):
    def restore(*_, **__):
        raise MemoryError("not enough memory on cpu for tiles of 64; try a smaller tile")

    monkeypatch.setattr(serve.app.state.restorer, "restore", restore)
    said = "not enough memory on cpu for tiles of 64; try a smaller tile"
    assert ask(address, encoded(".png")) == (503, "application/json", said)


@contextmanager
def started(words):
    """Run a command of the documents until it listens."""
    environment = {**ENVIRONMENT, "PYTHONPATH": search_path()}
    process = subprocess.Popen(words, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        lines = []
        while not lines or "Uvicorn running on" not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], "".join(lines)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_the_commands_of_the_page_run_as_written(tmp_path):
    """On the port that they name; skipped where it is taken."""
    found = [words for block in command_blocks() for words in commands(block)]
    [serving], [asking] = ([words for words in found if part in words] for part in ("serve:app", "--data-binary"))
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8000)) == 0:
            pytest.skip("port 8000 is taken")
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "photo.jpg").write_bytes(encoded(".jpg"))
    with started([sys.executable, *serving[1:]]):
        subprocess.run(asking, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "large.jpg").read_bytes() == Restorer("photo-x2").restore(encoded(".jpg"))
