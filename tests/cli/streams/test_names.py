"""Names of any bytes: restored, named alike, shown without harm, whatever the output can show."""

import os
import sys

import pytest
from processes import NASTY, fill, names_in, run

from stand_in import picture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there a name may have any bytes")


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252", "PYTHONUNBUFFERED": "1"},
        {"PYTHONIOENCODING": "utf-8"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=["ascii", "cp1252", "utf-8", "C"],
)
def test_any_name_is_restored_wherever_its_line_goes(tmp_path, weights, env):
    fill(tmp_path / "in", NASTY)
    done = run(tmp_path, "restore", "in", "-o", "out", "--weights", weights, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert names_in(tmp_path / "out") == sorted(NASTY)
    lines = done.stdout.splitlines()
    assert len(lines) == len(NASTY) + 1
    assert b"\x1b" not in done.stdout
    assert b"\x07" not in done.stdout
    assert any(rb"a\nb.png" in line for line in lines)
    # Whether a manifest written here is understood where the output has another encoding.
    other = {"PYTHONIOENCODING": "utf-8" if {"ascii", "C"} & set(env.values()) else "ascii"}
    again = run(tmp_path, "restore", "in", "-o", "out", "--weights", weights, env=other)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, b"0 restored, 9 skipped, 0 failed")


def test_errors_of_such_names_are_lines_that_no_terminal_obeys(tmp_path, weights):
    (tmp_path / "in").mkdir()
    for name in NASTY:
        with open(os.path.join(os.fsencode(tmp_path / "in"), name), "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\nno picture")
    done = run(tmp_path, "restore", "in", "-o", "out", "--weights", weights, env={"PYTHONIOENCODING": "ascii"})
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert len(lines) == len(NASTY)
    assert all(line.startswith(b"error: in/") and line.isascii() and b"\x1b" not in line for line in lines)


def test_a_folder_of_such_a_name_takes_every_format_and_a_large_picture(tmp_path, weights):
    place = os.path.join(os.fsencode(tmp_path), b"caf\xe9\n\x1b")
    os.mkdir(place)
    whole = picture(6, 8, 3)
    for suffix in ("png", "jpg", "webp", "tif"):
        whole.write_to_file(str(tmp_path / f"a.{suffix}"))
        os.rename(tmp_path / f"a.{suffix}", os.path.join(place, f"{suffix}.{suffix}".encode()))
    (tmp_path / "a.py").write_text(
        "import sys; from mambairv2.images import canvas; canvas.IN_MEMORY = 0\n"
        "from mambairv2.cli.main import app; app(sys.argv[1:])\n"
    )
    import subprocess

    from processes import environment

    called = [sys.executable, tmp_path / "a.py", "restore", place, "-o", place + b"/out", "--weights", weights]
    done = subprocess.run(called, env=environment(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert names_in(os.fsdecode(place + b"/out")) == [b"jpg.jpg", b"png.png", b"tif.tif", b"webp.webp"]


def test_names_that_are_too_long_or_collide_do_not_stop_the_others(tmp_path, weights):
    fill(tmp_path / "in", [b"m" * 251 + b".png", "日".encode() * 83 + b".png", b"n" * 255, b"a.png"])
    os.rename(tmp_path / "in" / ("n" * 255), tmp_path / "in" / ("n" * 251 + ".gif"))
    done = run(tmp_path, "restore", "in", "-o", "out", "--suffix", "_x2", "--weights", weights)
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (1, 3)
    assert all(b"has a name that is too long; choose a shorter one" in line for line in lines)
    assert names_in(tmp_path / "out") == [b"a_x2.png"]


def test_training_images_of_such_names_are_checked(tmp_path):
    fill(tmp_path / "in", NASTY)
    done = run(tmp_path, "data", "check", "in", "--patch", "2", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1  # all the same picture
    assert done.stderr == b""
    assert done.stdout.isascii()
    assert len(done.stdout.splitlines()) == 1 + 8 + 1
    assert b"\x1b" not in done.stdout
