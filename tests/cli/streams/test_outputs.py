"""A reader that goes away, a full disk, a closed stream: the work is done, nothing ends in a traceback."""

import os
import subprocess

import pytest
from processes import command, environment, fill, names_in, run

SIX = [f"{number}.png".encode() for number in range(6)]
FULL = "/dev/full"
ON_FULL = pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full here")


def closed(number):
    return lambda: os.close(number)


@ON_FULL
@pytest.mark.parametrize("arguments", [["--version"], ["models"], ["--help"], ["restore"]])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_disk_behind_standard_output_is_told_in_a_line(tmp_path, weights, arguments, buffered):
    if arguments == ["restore"]:
        fill(tmp_path / "in", SIX)
        arguments = ["restore", "in", "-o", "out", "--weights", weights]
    with open(FULL, "wb") as full:
        done = run(tmp_path, *arguments, stdout=full, stderr=subprocess.PIPE, env={"PYTHONUNBUFFERED": buffered})
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: standard output: no space left on device; ")
    assert len(done.stderr.splitlines()) == 1
    if "in" in arguments:
        assert names_in(tmp_path / "out") == SIX


@pytest.mark.parametrize("arguments", [["models"], ["restore", "--help"], ["info"]])
def test_a_reader_that_goes_away_is_no_error(tmp_path, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = run(tmp_path, *arguments, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("buffered", ["", "1"])
def test_the_rest_is_restored_after_the_reader_went(tmp_path, weights, buffered):
    fill(tmp_path / "in", SIX)
    process = subprocess.Popen(
        command("restore", "in", "-o", "out", "--weights", weights),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(PYTHONUNBUFFERED=buffered),
    )  # fmt: skip
    assert process.stdout.readline().startswith(b"in/0.png")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 0
    assert names_in(tmp_path / "out") == SIX


@pytest.mark.parametrize(("numbers", "code"), [((1,), 0), ((2,), 0), ((0, 1, 2), 0)])
def test_closed_streams_do_no_harm(tmp_path, weights, numbers, code):
    """The first file that is opened would take the place of a closed stream."""
    fill(tmp_path / "in", SIX)
    given = command("restore", "in", "-o", "out", "--weights", weights)
    shell = 'exec "$@" ' + " ".join({0: "<&-", 1: ">&-", 2: "2>&-"}[number] for number in numbers)
    done = subprocess.run(["sh", "-c", shell, "sh", *given], cwd=tmp_path, capture_output=True, env=environment())
    assert (done.returncode, done.stderr) == (code, b"")
    assert names_in(tmp_path / "out") == SIX
    contents = {(tmp_path / "out" / os.fsdecode(name)).read_bytes() for name in SIX}
    assert len(contents) == 1
    assert contents.pop().startswith(b"\x89PNG")


def test_a_pipe_that_does_not_wait_gets_every_line(tmp_path):
    """Such as that of a Node.js parent: a write that would have to wait fails there."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.write(writing, b"x" * 65536)  # a full pipe
    process = subprocess.Popen(command("models"), stdout=writing, stderr=subprocess.PIPE, env=environment())
    os.close(writing)
    said = b""
    while part := os.read(reading, 4096):
        said += part
    assert (process.wait(60), process.stderr.read()) == (0, b"")
    assert b"sr-x2" in said
