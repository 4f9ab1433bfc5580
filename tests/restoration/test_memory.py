"""What memory is free, and that a restoration keeps within it."""

import os

import pytest
import pyvips
import torch

from mambairv2.restoration import memory
from mambairv2.restoration.restorer import Restorer
from peak_memory import in_process, needs_proc
from stand_in import StandIn, picture


def test_free_memory_heeds_the_limits_of_groups(tmp_path, monkeypatch):
    (tmp_path / "job" / "step").mkdir(parents=True)
    (tmp_path / "job" / "memory.max").write_text("5000000\n")
    (tmp_path / "job" / "memory.current").write_text("4000000\n")
    (tmp_path / "job" / "memory.stat").write_text("anon 1\ninactive_file 500000\n")
    (tmp_path / "job" / "step" / "memory.max").write_text("max\n")
    (tmp_path / "job" / "step" / "memory.current").write_text("4000000\n")
    read = memory._text
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_text", lambda path: "0::/job/step\n" if path.name == "cgroup" else read(path))
    assert memory.free_memory(torch.device("cpu")) == 1_500_000


@needs_proc
def test_free_memory_heeds_the_limit_on_the_address_space():
    script = """
import resource, torch
from mambairv2.restoration.memory import free_memory
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
print(free_memory(torch.device("cpu")))
"""
    assert 0 < int(in_process(script)[0]) <= 2**28


def test_free_memory_of_this_machine_is_some_number_or_unknown():
    free = memory.free_memory(torch.device("cpu"))
    assert free is None or 0 <= free < 2**50


HEIGHT = """
from mambairv2.images import canvas
from mambairv2.restoration.restorer import Restorer
from peak_memory import in_process, needs_proc
from stand_in import StandIn
class Enlarger(StandIn):
    def forward(self, x):
        return torch.nn.functional.interpolate(x, scale_factor=2)
canvas.IN_MEMORY = 0
Restorer(Enlarger(), "cpu").restore_file(sys.argv[1], sys.argv[2])
print(status("VmHWM"))
"""


@needs_proc
def test_memory_does_not_grow_with_the_height_of_an_image(tmp_path):
    """34 MB more to read and 134 MB more to write; the peaks of equal runs differ by some 20 MB on a busy machine."""
    peaks = []
    for height in (2000, 18000):
        picture(250, 700, 3).replicate(1, height // 250).pngsave(str(tmp_path / "in.png"))
        places = tmp_path / "in.png", tmp_path / f"{height}.tif"
        peaks.append(int(in_process(HEIGHT, *places, VIPS_DISC_THRESHOLD="100k", TMPDIR=str(tmp_path))[0]))
        assert pyvips.Image.new_from_file(str(places[1])).height == 2 * height
    assert peaks[1] - peaks[0] < 34e6, peaks


LARGE = """
import time
from mambairv2.restoration.restorer import Restorer
from peak_memory import in_process, needs_proc
from stand_in import StandIn
start = time.perf_counter()
Restorer(StandIn(), "cpu").restore_file(sys.argv[1], sys.argv[2])
print(status("VmHWM"), time.perf_counter() - start)
"""


@needs_proc
@pytest.mark.skipif("MAMBAIRV2_LARGE" not in os.environ, reason="takes minutes and 8 GB of disk: MAMBAIRV2_LARGE=1")
def test_400_megapixels_within_3_gib(tmp_path):
    picture(500, 500, 3).replicate(40, 40).tiffsave(str(tmp_path / "in.tif"))
    said = in_process(LARGE, tmp_path / "in.tif", tmp_path / "out.tif", TMPDIR=str(tmp_path))
    peak, seconds = map(float, said[0].split())
    print(f"20,000x20,000: {seconds:.0f} s, peak {peak / 2**30:.2f} GiB")
    assert pyvips.Image.new_from_file(str(tmp_path / "out.tif")).width == 40_000
    assert peak < 3 * 2**30


GREEDY = """
import resource
from mambairv2.restoration.restorer import Restorer
from peak_memory import in_process, needs_proc
from stand_in import StandIn
class Greedy(StandIn):
    def forward(self, x):
        torch.empty(x.shape[-1] * x.shape[-2] * 6000)  # what the plan does not expect
        return super().forward(x)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 600 * 2**20,) * 2)
for tile in ("auto", 256):
    try:
        print(Restorer(Greedy(), "cpu", tile=tile).restore_file(sys.argv[1], sys.argv[2]).notes)
    except MemoryError as error:
        print(error)
"""


@needs_proc
def test_a_real_limit_on_memory_is_met_with_smaller_tiles(tmp_path):
    picture(300, 400, 3).pngsave(str(tmp_path / "in.png"))
    shrunk, refused = in_process(GREEDY, tmp_path / "in.png", tmp_path / "out.png")
    assert shrunk == "('tile 128 for lack of memory',)"
    assert refused == "not enough memory on cpu for tiles of 256; try a smaller tile"
    Restorer(StandIn(), "cpu", tile=128).restore_file(tmp_path / "in.png", tmp_path / "same.png")
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "same.png").read_bytes()
