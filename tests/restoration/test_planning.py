"""Which tiles are chosen, and smaller ones when memory runs out."""

import numpy as np
import pytest

from mambairv2.restoration import planning
from mambairv2.restoration.restorer import Restorer
from stand_in import StandIn, load, picture, restorer


class Greedy(StandIn):
    """Runs out of memory above 100×100 pixels, as torch says it."""

    def forward(self, x):
        if x.shape[2] * x.shape[3] > 100**2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return super().forward(x)


def test_out_of_memory_is_met_with_smaller_tiles_and_told(tmp_path):
    picture(200, 300, 3).pngsave(str(tmp_path / "in.png"))
    told = []
    done = Restorer(Greedy(), "cpu").restore_file(tmp_path / "in.png", tmp_path / "out.png", planned=told.append)
    assert [(one.tiles, one.tile, one.size) for one in told] == [
        (2, (200, 160), (200, 300)),
        (6, (112, 112), (200, 300)),
        (24, (64, 64), (200, 300)),
    ]
    assert told[2].memory < told[0].memory
    assert done.notes == ("tile 64 for lack of memory",)
    expected = restorer(tile=64).restore(tmp_path / "in.png")
    assert np.array_equal(load(tmp_path / "out.png").numpy(), expected)


@pytest.mark.parametrize("tile", [256, "whole"])
def test_out_of_memory_with_a_tile_that_was_asked_for_is_an_error(tile):
    with pytest.raises(MemoryError, match="not enough memory on cpu for tiles of 2"):
        Restorer(Greedy(), "cpu", tile=tile).restore(np.zeros((200, 256, 3), np.uint8))


def test_other_errors_are_not_taken_for_lack_of_memory():
    class Broken(StandIn):
        def forward(self, x):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        Restorer(Broken(), "cpu").restore(np.zeros((8, 8, 3), np.uint8))


def test_tiles_are_planned_from_free_memory(monkeypatch):
    one = restorer()
    for free, tile in [(None, 256), (10**12, 256), (30 * 2**20, 80), (0, 64)]:
        monkeypatch.setattr(planning, "free_memory", lambda device, free=free: free)
        assert one.plan((1000, 1000)).tile == tile
    assert restorer(tile=96).plan((1000, 1000)).tile == 96
    assert restorer(tile="whole").plan((1000, 1000)).tile is None


@pytest.mark.parametrize("options", [{"tile": 100}, {"overlap": 10}, {"tile": 32, "overlap": 32}])
def test_tiles_that_do_not_fit_are_refused_at_once(options):
    with pytest.raises(ValueError, match="multiple of 16"):
        restorer(**options)


@pytest.mark.parametrize("tile", ["full", None, 64.0])
def test_tiles_of_other_kinds_are_refused(tile):
    with pytest.raises(ValueError, match="tile must be auto, whole or a number of pixels, got "):
        restorer(tile=tile)
