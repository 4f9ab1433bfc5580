"""`-` for standard input and output: bytes in, bytes out, and nothing else."""

import io
import os
import subprocess

import pytest
from PIL import Image
from processes import command, environment, run

from stand_in import pixels


def encoded(kind, size=(6, 8)):
    content = io.BytesIO()
    Image.fromarray(pixels(*size, 3)).save(content, kind)
    return content.getvalue()


def kind_of(content):
    with Image.open(io.BytesIO(content)) as image:
        return image.format, image.size


@pytest.mark.parametrize(
    ("kind", "arguments", "made"),
    [
        ("PNG", (), "PNG"),
        ("JPEG", ("-o", "-"), "JPEG"),
        ("WEBP", ("-o", "-"), "WEBP"),
        ("TIFF", ("-o", "-", "--format", "png"), "PNG"),
        ("GIF", ("-o", "-"), "PNG"),
    ],
)
def test_bytes_in_and_bytes_out(tmp_path, weights, kind, arguments, made):
    done = run(tmp_path, "restore", "-", *arguments, "--weights", weights, input=encoded(kind))
    assert done.returncode == 0
    assert kind_of(done.stdout) == (made, (16, 12))
    assert done.stderr.startswith(b"-  8x6 -> 16x12 ")
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_from_a_file_into_a_pipe_and_from_there_into_a_file(tmp_path, weights):
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    (tmp_path / "-").write_text("a file of this name stays")
    options = {"cwd": tmp_path, "env": environment()}
    first = command("restore", "a.png", "-o", "-", "--weights", weights)
    then = command("restore", "-", "-o", "out.tif", "--weights", weights)
    writing = subprocess.Popen(first, stdout=subprocess.PIPE, **options)
    reading = subprocess.run(then, stdin=writing.stdout, capture_output=True, check=False, **options)
    assert (writing.wait(), reading.returncode, reading.stderr) == (0, 0, b"")
    assert reading.stdout.startswith(b"-  16x12 -> 32x24 ")
    assert kind_of((tmp_path / "out.tif").read_bytes()) == ("TIFF", (32, 24))
    assert (tmp_path / "-").read_text() == "a file of this name stays"


@pytest.mark.parametrize(
    ("given", "arguments", "code", "says"),
    [
        (b"", (), 1, b"error: standard input: is empty"),
        (b"no picture at all", (), 1, b"error: standard input: is not an image"),
        (encoded("PNG")[:60], (), 1, b"error: standard input: is damaged or cut short"),
        (encoded("PNG"), ("-o", "out/"), 2, b"error: out/: is a folder; name a file for standard input"),
        (encoded("PNG"), ("--manifest", "m.jsonl"), 2, b"error: --manifest records runs over files"),
        (encoded("PNG"), ("b.png",), 2, b"error: -: standard input is one image; restore it alone"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(tmp_path, weights, given, arguments, code, says):
    done = run(tmp_path, "restore", "-", *arguments, "--weights", weights, input=given)
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.startswith(says)
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("shell", "says"),
    [
        ('"$@" <&-', b"error: standard input is closed; pipe an image into it"),
        ('"$@" <in.png >&-', b"error: standard output is closed; give a file with -o"),
        ('"$@" <in.png >/dev/full', b"error: standard output: no space left on device; give a file with -o"),
        ('{ "$@" <in.png; echo $? >code; } | true; exit $(cat code)', b"error: standard output: broken pipe; give"),
    ],
)
def test_streams_that_are_closed_or_full(tmp_path, weights, shell, says):
    (tmp_path / "in.png").write_bytes(encoded("PNG"))
    given = command("restore", "-", "--weights", weights)
    done = subprocess.run(["sh", "-c", shell, "sh", *given], cwd=tmp_path, capture_output=True, env=environment())
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(says)
    assert len(done.stderr.splitlines()) == 1
