"""`mambairv2 web` in a real browser: what is downloaded is what the command line writes; nothing else is reachable."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import pyvips
from typer.testing import CliRunner

from browser import chromium, why_not
from mambairv2.cli.main import app
from run_python import ENVIRONMENT, search_path
from stand_in import picture

pytest.importorskip("gradio", reason="gradio is not installed: pip install -c constraints.txt -e '.[web]'")
PATIENCE = 120_000


@contextmanager
def served(tmp_path_factory, *options):
    """Run the command; yields its address and the folder for temporary files, which is empty again at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("served")
    environment = {**ENVIRONMENT, "PYTHONPATH": search_path(), "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "mambairv2.cli", "web", "--port", str(port), *options]
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background jobs, and so these tests in one, inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        said = process.stdout.readline()
        assert said == f"http://127.0.0.1:{port}/ (Ctrl-C ends it)\n", said + process.stdout.read()
        yield f"http://127.0.0.1:{port}", folder
    finally:
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 130, rest
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory, "--max-pixels", "60000", "--max-files", "3", "--max-megabytes", "1") as found:
        yield found


@pytest.fixture
def page(server):
    if why_not():
        pytest.skip(why_not())
    with chromium() as page:
        page.goto(server[0])
        yield page


def write(folder, name, height=30, width=44):
    picture(height, width, 3).write_to_file(str(folder / name))
    return folder / name


def restore(page, *files, said):
    """Upload files, start, and wait for a word on the status."""
    page.set_input_files("#files input[type=file]", [str(file) for file in files])
    page.wait_for_function(
        "names => names.every(name => document.querySelector('#files').textContent.includes(name))",
        arg=[file.stem[:4] for file in files],
    )
    page.click("#start")
    page.wait_for_function(
        "said => document.querySelector('#status textarea').value.includes(said)", arg=said, timeout=PATIENCE
    )
    return page.input_value("#status textarea")


def by_command(path, target, *options):
    ended = CliRunner().invoke(app, ["restore", str(path), *options, "-o", str(target)])
    assert ended.exit_code == 0, ended.output
    return target.read_bytes()


def choose(page, words):
    page.locator("#task").get_by_text(words, exact=True).click()


def write_smooth(folder, name):
    """A picture without noise."""
    (pyvips.Image.xyz(44, 30) * 4).bandjoin([90]).cast("uchar").copy(interpretation="srgb").pngsave(str(folder / name))
    return folder / name


@pytest.mark.parametrize(
    ("words", "options", "by"),
    [
        (None, [], [" (by photo-x2 for a JPEG of quality 75)", " (by sr-x2 for a clean picture)"]),
        ("Enlarge ×2", ["--task", "sr"], ["", ""]),
    ],
    ids=["as recommended", "as chosen"],
)
def test_what_is_downloaded_is_what_the_command_line_writes(page, server, tmp_path, words, options, by):
    files = [write(tmp_path, "one.jpg"), write_smooth(tmp_path, "two.png")]
    if words is not None:
        choose(page, words)
    said = restore(page, *files, said="two_x2.png").splitlines()
    assert [line.partition(" s")[2] for line in said] == by
    for file in files:
        name = f"{file.stem}_x2{file.suffix}"
        with page.expect_download() as download:
            page.click(f"#results a[download='{name}']")
        download.value.save_as(tmp_path / "found")
        assert (tmp_path / "found").read_bytes() == by_command(file, tmp_path / f"line{file.suffix}", *options)
    page.wait_for_selector("#slider img")
    page.wait_for_selector("#which")
    assert all(url.startswith((server[0], "blob:", "data:")) for url in page.asked), page.asked


def test_a_broken_file_has_a_line_and_the_others_are_restored(page, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    said = restore(page, tmp_path / "bad.png", write(tmp_path, "good.png"), said="good_")
    assert "error: bad.png: is damaged or cut short; fetch or export it again\n" in said
    assert "/" not in said.replace("60×88", "")


def test_too_many_pixels_and_too_many_files_are_refused(page, tmp_path):
    said = restore(page, write(tmp_path, "vast.png", 300, 300), said="error")
    assert "vast.png" in said
    page.reload()
    said = restore(page, *(write(tmp_path, f"n{i}.png") for i in range(4)), said="error")
    assert said == "error: 4 files are too many at once; the limit is 3"


def test_cancel_ends_a_job_and_the_next_one_runs(page, tmp_path):
    choose(page, "Enlarge ×2")
    page.set_input_files("#files input[type=file]", str(write(tmp_path, "slow.png", 240, 249)))
    page.wait_for_function("document.querySelector('#files').textContent.includes('slow')")
    page.click("#start")
    page.wait_for_timeout(300)
    page.click("#cancel")
    page.wait_for_function(
        "/cancelled|slow_x2/.test(document.querySelector('#status textarea').value)", timeout=PATIENCE
    )
    page.reload()
    assert "next_x2" in restore(page, write(tmp_path, "next.png"), said="next_")


def answer(server, path):
    connection = http.client.HTTPConnection(server[0].removeprefix("http://"), timeout=30)
    connection.request("GET", path)
    return connection.getresponse()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        str(Path(__file__)),
        "../../../../etc/passwd",
        "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        str(Path.cwd() / "pyproject.toml"),
        "README.md",
        tempfile.gettempdir(),
    ],
)
def test_no_path_of_the_server_is_reachable(server, path):
    for route in ("/gradio_api/file=", "/file="):
        assert answer(server, route + path).status in (400, 403, 404, 405)


@pytest.mark.parametrize(
    ("name", "options"),
    [("auto-x2", []), ("auto-x4", ["--scale", "4"]), ("sr-x2", ["--task", "sr"]), ("denoise", ["--task", "denoise"])],
)
def test_its_api_answers_gradio_client(server, tmp_path, name, options):
    from gradio_client import Client, handle_file

    client = Client(server[0], verbose=False, download_files=str(tmp_path / "got"))
    path = write(tmp_path, "one.png")
    files, said, *_ = client.predict([handle_file(str(path))], name, api_name="/restore")
    assert Path(files[0]).read_bytes() == by_command(path, tmp_path / "line.png", *options)
    assert said.startswith(f"{Path(files[0]).name}: 44×30 → ")


@pytest.mark.parametrize("place", ["outside", "work folder", "/etc/passwd"])
def test_its_api_takes_no_path_of_the_server(server, tmp_path, place):
    (folder,) = server[1].iterdir()
    stolen = {"outside": write(tmp_path, "own.png"), "work folder": folder / "coffee.png"}.get(place, place)
    given = {"data": [[{"path": str(stolen), "meta": {"_type": "gradio.FileData"}}], "sr-x2"]}
    connection = http.client.HTTPConnection(server[0].removeprefix("http://"), timeout=60)
    connection.request("POST", "/gradio_api/call/restore", json.dumps(given), {"Content-Type": "application/json"})
    event = json.loads(connection.getresponse().read())["event_id"]
    ended = answer(server, f"/gradio_api/call/restore/{event}").read().decode()
    assert "event: error" in ended
    assert "_x2" not in ended


def test_requests_leave_nothing_in_the_work_folder(server, tmp_path):
    (folder,) = server[1].iterdir()
    assert list((folder / "work").iterdir()) == []


def test_a_password_keeps_others_out(tmp_path_factory):
    with served(tmp_path_factory, "--password", "öffne dich") as server:
        assert answer(server, "/config").status == 401
        assert answer(server, "/gradio_api/info").status == 401
        body = "username=a&password={}"
        for password, status in (("wrong", 400), ("%C3%B6ffne+dich", 200)):
            connection = http.client.HTTPConnection(server[0].removeprefix("http://"), timeout=30)
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", "/login", body.format(password), headers)
            assert connection.getresponse().status == status


def test_an_upload_that_is_too_large_is_refused(server):
    connection = http.client.HTTPConnection(server[0].removeprefix("http://"), timeout=60)
    content = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + bytes(2**21)
    content += b"\r\n--x--\r\n"
    connection.request("POST", "/gradio_api/upload", content, {"Content-Type": "multipart/form-data; boundary=x"})
    assert connection.getresponse().status == 413


def test_a_picture_of_every_kind_has_previews(tmp_path):
    from mambairv2.web.previews import previews

    for number, (channels, dtype, suffix) in enumerate(
        [(1, "uint16", "tif"), (3, "uint8", "jpg"), (3, "uint16", "png")]
    ):
        (tmp_path / str(number)).mkdir()
        source, target = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
        picture(20, 30, channels, dtype).write_to_file(str(source))
        picture(40, 60, channels, dtype).write_to_file(str(target))
        found = [pyvips.Image.new_from_file(path) for path in previews(source, target, tmp_path / str(number))]
        assert [(image.width, image.height, image.format) for image in found] == [(60, 40, "uchar")] * 2
