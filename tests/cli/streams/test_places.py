"""Places as containers, links and patterns make them: no folder for temporary files, loops, the same pattern again."""

import os
import subprocess

import pytest
from processes import command, environment, fill, run

PRIVATE = "for t in /tmp /var/tmp /usr/tmp; do [ -d $t ] && mount --bind $t $t && mount -o remount,ro,bind $t; done; "


@pytest.fixture
def writable():
    """A folder on a disk that stays writable when those for temporary files are not."""
    probe = ["unshare", "-m", "sh", "-c", PRIVATE.replace("/var/tmp /usr/tmp", "")]
    if not os.path.isdir("/dev/shm") or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("folders for temporary files cannot be made read-only here")
    import shutil
    import tempfile
    from pathlib import Path

    place = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield place
    shutil.rmtree(place)


def without_temporary_folder(cwd, *arguments, **options):
    """Run a command where no folder for temporary files can be written, nor the working directory."""
    env = {name: value for name, value in environment().items() if name not in ("TMPDIR", "TMP", "TEMP")}
    shell = f'set -e; {PRIVATE} cd /proc; exec "$@"'
    call = ["unshare", "-m", "sh", "-c", shell, "sh", *command(*arguments)]
    return subprocess.run(call, cwd=cwd, capture_output=True, env=env, check=False, **options)


def test_without_a_folder_for_temporary_files(writable, weights):
    """Files are restored, what needs a copy is refused in a line, and nothing ends in a traceback."""
    os.system(f"cp {weights} {writable}/tiny.safetensors")
    fill(writable / "in", [b"a.png", b"b.png"])
    network = ("--weights", str(writable / "tiny.safetensors"))
    done = without_temporary_folder(writable, "restore", str(writable / "in"), *network)
    assert (done.returncode, done.stderr) == (0, b"")
    content = (writable / "in" / "a.png").read_bytes()
    done = without_temporary_folder(writable, "restore", "-", *network, input=content)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"error: no folder for temporary files can be written")
    assert done.stderr.endswith(b"; set TMPDIR to one that can\n")
    for arguments in (["models"], ["restore", str(writable / "in"), *network, "--task", "jpeg"]):
        done = without_temporary_folder(writable, *arguments)
        assert b"Traceback" not in done.stderr
        assert done.returncode == 0


def test_folders_that_are_links_and_loops(tmp_path, weights):
    fill(tmp_path / "in", [b"a.png"])
    fill(tmp_path / "elsewhere", [b"b.png"])
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path)
    for restored in (b"2 restored, 0 skipped", b"0 restored, 2 skipped"):  # outputs, behind a link, are no inputs
        done = run(tmp_path, "restore", "in", "-r", "-o", "out", "--weights", weights)
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == restored + b", 0 failed"
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert made[:2] == ["a.png", "link/b.png"]
    assert len(made) == 2
    (tmp_path / "elsewhere" / "up").unlink()
    done = run(tmp_path, "data", "check", "in", "--patch", "2")
    assert done.stdout.splitlines()[-1] == b"2 images, 1 fault"  # they are the same picture


def test_the_same_pattern_beside_its_inputs_again(tmp_path, weights):
    fill(tmp_path / "in", [b"a.png", b"b.png"])
    first = run(tmp_path, "restore", "in/*.png", "--weights", weights)
    assert (first.returncode, first.stdout.splitlines()[-1]) == (0, b"2 restored, 0 skipped, 0 failed")
    os.rename(tmp_path / "in" / "b_x2.png", tmp_path / "in" / "c.png")
    again = run(tmp_path, "restore", "in/*.png", "--weights", weights)
    assert (again.returncode, again.stderr) == (0, b"")
    assert again.stdout.splitlines()[-3:] == [
        b"note: in/a_x2.png left out, as outputs of an earlier run; to restore one, name it alone",
        b"note: 1 output there already, left as it is; --overwrite replaces them",
        b"2 restored, 1 skipped, 0 failed",
    ]
    assert sorted(os.listdir(tmp_path / "in")) == ["a.png", "a_x2.png", "b.png", "b_x2.png", "c.png", "c_x2.png"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "x.png", "--format", "jpg"], b"x.png: contradicts --format jpg; leave out --format, or name it .jpg"),
        (["-o", "x.gif"], b"x.gif: cannot write .gif; choose one of .png"),
        (["--device", "mps"], b"no device mps here ("),
        (["b.png", "-o", "-"], b"-o -: standard output takes one image; restore it alone"),
    ],
)
def test_contradictions_are_refused_in_a_line(tmp_path, weights, arguments, says):
    if "mps" in arguments:
        import torch

        if torch.backends.mps.is_available():
            pytest.skip("there is such a device here")
    fill(tmp_path / "in", [b"a.png", b"b.png"])
    done = run(tmp_path / "in", "restore", "a.png", *arguments, "--weights", weights)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: " + says)
    assert len(done.stderr.splitlines()) == 1
    assert sorted(os.listdir(tmp_path / "in")) == ["a.png", "b.png"]


@pytest.mark.parametrize("option", [["--task", "jpeg"], ["-o", "b.png"], ["--quality", "4"], ["--weights", "x"]])
def test_an_option_that_is_given_twice_is_refused(tmp_path, option):
    done = run(tmp_path, "restore", "a.png", *option, *option)
    assert done.returncode == 2
    assert b"is given 2 times; give it once" in done.stderr
    done = run(tmp_path, "restore", "a.png", "--strip", "--strip", "--weights", "nowhere.pth")
    assert b"no such weights" in done.stderr  # a flag says the same twice
