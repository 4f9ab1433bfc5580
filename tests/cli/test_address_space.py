"""`mambairv2 restore` under a limit on its address space: smaller tiles or one line, never a signal or a traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache

import pytest

from small_weights import save_tiny
from stand_in import picture

resource = pytest.importorskip("resource", reason="a system without limits on the address space")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, where the limit is kept"),
]
MIB = 2**20

LOADED = """
import sys
import torch
from mambairv2.restoration.restorer import Restorer
Restorer(sys.argv[1], "cpu")
print(int(open("/proc/self/statm").read().split()[0]) * 4096)
"""
COMMAND = """
import sys
from mambairv2.cli.main import app
sys.argv[0] = "mambairv2"
app()
"""
SURPRISED = (
    """
import mambairv2.restoration.planning
mambairv2.restoration.planning.free_memory = lambda device: None  # so that tiles are planned as if all were free
"""
    + COMMAND
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a picture and a network of one layer whose tiles take much memory."""
    folder = tmp_path_factory.mktemp("limits")
    save_tiny(folder / "wide.safetensors", embed_dim=180, mlp_ratio=2.0, ffn="conv", upscale=1, upsampler="")
    picture(200, 300, 3).pngsave(str(folder / "in.png"))
    return folder


@cache
def loaded(weights: str) -> int:
    """Return the bytes of address space of a process that has loaded the network."""
    return int(python(LOADED, weights).stdout)


def python(script: str, *arguments: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    command = [sys.executable, "-c", script, *arguments]
    settings = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(
        command, preexec_fn=restrict, env=settings, capture_output=True, text=True, check=False, timeout=600
    )


@cache
def expected(folder: str, tile: int) -> bytes:
    """Return the file that tiles of a size give without a limit."""
    output = f"{folder}/tile{tile}.png"
    arguments = ("restore", f"{folder}/in.png", "--weights", f"{folder}/wide.safetensors", "--tile", str(tile))
    done = python(COMMAND, *arguments, "-o", output)
    assert done.returncode == 0, done.stderr
    with open(output, "rb") as file:
        return file.read()


def restore_under(folder, limit: int, script: str, place) -> int | None:
    """Restore with a limit and check how it ended; returns the tile that it took, None where it was refused."""
    arguments = ("restore", str(folder / "in.png"), "--weights", str(folder / "wide.safetensors"))
    done = python(script, *arguments, "-o", str(place / "out.png"), limit=limit)
    told = f"limit {limit / MIB:.0f} MiB: exit {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.returncode in (0, 1), told
    assert "Traceback" not in done.stderr, told
    assert "libgomp" not in done.stderr, told
    if done.returncode == 0:
        found = re.search(r"\(tile (\d+) for lack of memory\)", done.stdout)
        tile = int(found[1]) if found else 256
        assert (place / "out.png").read_bytes() == expected(str(folder), tile), told
        return tile
    assert [line.startswith("error: ") for line in done.stderr.splitlines()].count(True) == 1, told
    assert done.stderr.splitlines()[-1].startswith("error: "), told
    assert not any(place.iterdir()), told
    return None


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9, 1.0])
def test_a_limit_at_which_torch_or_the_network_does_not_load(folder, share, tmp_path):
    restore_under(folder, int(loaded(str(folder / "wide.safetensors")) * share), COMMAND, tmp_path)


@pytest.mark.parametrize(
    ("script", "room"),
    [(COMMAND, 20), (COMMAND, 300), (SURPRISED, 20), (SURPRISED, 300)],
    ids=["planned, 20 MiB", "planned, 300 MiB", "surprised, 20 MiB", "surprised, 300 MiB"],
)
def test_a_limit_at_which_tiles_are_short_of_memory(folder, script, room, tmp_path):
    restore_under(folder, loaded(str(folder / "wide.safetensors")) + room * MIB, script, tmp_path)


def test_smaller_tiles_finish_where_the_planned_ones_do_not(folder, tmp_path):
    tiles = []
    for room in (100, 150, 200, 250):  # what a tile takes beside its tensors differs from machine to machine
        place = tmp_path / str(room)
        place.mkdir()
        limit = loaded(str(folder / "wide.safetensors")) + room * MIB
        tiles.append(restore_under(folder, limit, SURPRISED, place))
        if tiles[-1] is not None and tiles[-1] < 256:
            return
    raise AssertionError(tiles)
