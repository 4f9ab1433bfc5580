import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mambairv2.files import atomic
from mambairv2.images.encoding import encode
from mambairv2.images.formats import FORMATS, SaveOptions
from stand_in import picture

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the system itself refuses to remove open files")


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path):
    script = """
import os, sys, time
from pathlib import Path
from mambairv2.files import atomic
with atomic.replacing(Path(sys.argv[1])) as path:
    print(path.name, flush=True)
    time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "a.png")], stdout=subprocess.PIPE, env=environment, text=True
    )
    name = process.stdout.readline().strip()
    assert atomic.clean([tmp_path, tmp_path / "not there"]) == 0
    assert os.listdir(tmp_path) == [name]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    atomic.write_whole(tmp_path / "b.txt", "whole")  # cleans first, as every run does
    assert os.listdir(tmp_path) == ["b.txt"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_encoders_write_into_the_locked_file(tmp_path, suffix):
    with atomic.replacing(tmp_path / f"a{suffix}") as path:
        encode(picture(20, 20, 3), path, SaveOptions())
        assert atomic.clean([tmp_path]) == 0
    assert os.listdir(tmp_path) == [f"a{suffix}"]


def test_a_file_taken_for_a_leftover_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    real, taken = atomic.lock, []

    def late(descriptor, *, wait=False):
        if wait and not taken:
            taken.append(atomic.clean([tmp_path]))
        real(descriptor, wait=wait)

    monkeypatch.setattr(atomic, "lock", late)
    with atomic.replacing(tmp_path / "a.png") as path:
        path.write_bytes(b"whole")
    assert taken == [1]
    assert (tmp_path / "a.png").read_bytes() == b"whole"


def test_without_locks_files_are_written_and_none_is_removed(tmp_path, monkeypatch):
    def refuse(descriptor, *, wait=False):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(atomic, "lock", refuse)
    with atomic.replacing(tmp_path / "a.png") as path:
        path.write_bytes(b"whole")
        assert atomic.clean([tmp_path]) == 0
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_failed_write_names_its_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    atomic.write_whole(tmp_path / "new" / "a.txt", "old")
    monkeypatch.setattr(atomic.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match=r"No space left on device: '.*/new/a\.txt'"):
        atomic.write_whole(tmp_path / "new" / "a.txt", "new")
    assert (tmp_path / "new" / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path / "new") == ["a.txt"]


def test_outputs_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with atomic.replacing(tmp_path / "a.png"):
        pass
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert Path(tmp_path / "a.png").is_file()
