"""The estimate of what a network takes, against what processes took."""

from dataclasses import replace

import pytest

from mambairv2.network.config import variant
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.footprint import bytes_per_pixel
from peak_memory import in_process, needs_proc

NETWORK = """
from mambairv2.restoration.footprint import bytes_per_pixel
from test_footprint import shallow
model, x = shallow(sys.argv[1]), torch.rand(1, 3, 96, 96)
with torch.inference_mode():
    model(x[..., :16, :16])
    before = status("VmRSS")
    model(x)
print((status("VmHWM") - before) / 96**2, bytes_per_pixel(model))
"""


def shallow(name):
    """A variant as wide as it is published, of two groups of two layers."""
    return MambaIRv2(replace(variant(name), depths=(2, 2), num_heads=(4, 4))).eval()


@needs_proc
@pytest.mark.parametrize(("name", "without_kernels"), [("light", ""), ("small", ""), ("light", "1")])
def test_what_a_network_takes_is_estimated_not_too_low_and_not_far_too_high(name, without_kernels):
    """Not below what a process takes, with the holes that its heap happens to have; nor far above its tensors alone."""
    usual = in_process(NETWORK, name, MAMBAIRV2_NO_NATIVE=without_kernels)[0]
    without_holes = in_process(NETWORK, name, MAMBAIRV2_NO_NATIVE=without_kernels, MALLOC_MMAP_THRESHOLD_="65536")[0]
    taken, estimated = map(float, usual.split())
    tensors = float(without_holes.split()[0])
    assert taken < estimated < 3 * tensors


def test_the_estimate_knows_which_backend_was_chosen():
    model = shallow("light")
    in_torch = bytes_per_pixel(model.set_backend("chunked", "sdpa", "torch"))
    assert in_torch == pytest.approx(424 * 48)
    assert bytes_per_pixel(model.double()) == 2 * in_torch
    assert bytes_per_pixel(model.set_backend("auto", "sdpa")) <= 2 * in_torch
