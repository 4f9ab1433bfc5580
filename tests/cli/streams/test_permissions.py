"""Outputs get the permissions of their inputs, as far as the umask allows, and never more, not while written either."""

import os
import stat
import sys

import pytest
from processes import run

from mambairv2.files.atomic import permissions, replacing
from stand_in import picture

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
MODES = {"private.png": 0o600, "group.jpg": 0o640, "all.webp": 0o666, "fixed.tif": 0o444, "script.png": 0o755}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_outputs_have_the_permissions_of_their_inputs(tmp_path, weights, mask):
    (tmp_path / "in").mkdir()
    for name, given in MODES.items():
        picture(6, 8, 3).write_to_file(str(tmp_path / "in" / name))
        (tmp_path / "in" / name).chmod(given)
    command = ("restore", "in", "-o", "out", "--weights", weights)
    assert run(tmp_path, *command, umask=mask).returncode == 0
    found = {name: mode(tmp_path / "out" / name) for name in MODES}
    assert found == {name: given & 0o666 & ~mask for name, given in MODES.items()}
    (tmp_path / "in" / "private.png").chmod(0o640)
    assert run(tmp_path, *command, "--overwrite", "--fresh", umask=mask).returncode == 0
    assert mode(tmp_path / "out" / "private.png") == 0o640 & ~mask


@pytest.mark.parametrize("given", [0o600, 0o400, 0o640])
def test_a_private_file_is_private_while_it_is_written(tmp_path, given):
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    source.touch()
    source.chmod(given)
    before = os.umask(0)
    try:
        with replacing(target, permissions(source)) as temporary:
            assert mode(temporary) == given | 0o200
            temporary.write_bytes(b"content")
    finally:
        os.umask(before)
    assert mode(target) == given
    assert target.read_bytes() == b"content"


def test_what_is_made_of_nothing_has_the_usual_permissions(tmp_path):
    with replacing(tmp_path / "a") as temporary:
        temporary.touch()
    (tmp_path / "b").touch()
    assert mode(tmp_path / "a") == mode(tmp_path / "b")
