"""torch.export: one program for every batch, height and width, with the numbers of the network."""

import io
from dataclasses import replace

import pytest
import torch
from torch.export import Dim, export, load, save

from mambairv2 import MambaIRv2
from mambairv2.ops import backends
from run_python import run_python
from small_weights import SMALL

FREE = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
native = pytest.mark.skipif(backends()["native"] is not None, reason=f"no native kernels: {backends()['native']}")
KINDS = {
    "light ×2": {},
    "grey ×1": {"upscale": 1, "upsampler": "", "in_channels": 1},
    "pixelshuffle ×4": {"upscale": 4, "upsampler": "pixelshuffle", "ffn": "conv", "resi_connection": "3conv"},
    "nearest ×4": {"upscale": 4, "upsampler": "nearest+conv"},
    "four directions": {"scan_directions": 4},
    "no scan": {"attentive_scan": False},
}
SIZES = [(1, 1, 1), (1, 37, 45), (2, 37, 18), (3, 16, 16), (1, 32, 45), (1, 45, 32), (2, 1, 17), (1, 200, 301)]


def network(**changes):
    torch.manual_seed(0)
    return MambaIRv2(replace(SMALL, **changes)).eval()


def images(model, batch, height, width):
    return torch.rand(batch, model.config.in_channels, height, width)


@native
@pytest.mark.parametrize(
    ("kind", "example"), [*((kind, (2, 17, 19)) for kind in KINDS), ("light ×2", (3, 32, 48))], ids=str
)
def test_a_program_gives_the_numbers_of_the_network_at_every_size(kind, example):
    model = network(**KINDS[kind])
    with torch.no_grad():
        program = export(model, (images(model, *example),), dynamic_shapes=FREE)
        saved = io.BytesIO()
        save(program, saved)
        loaded = load(io.BytesIO(saved.getvalue())).module()
        for size in SIZES:
            image = images(model, *size)
            assert torch.equal(loaded(image), model(image)), size


LOADED = """
import sys, torch
from mambairv2 import MambaIRv2
torch.set_num_threads(1)  # as these tests run
image, expected = torch.load(sys.argv[2])
print(torch.equal(torch.export.load(sys.argv[1]).module()(image), expected))
"""


@native
def test_a_program_is_loaded_in_another_process(tmp_path):
    model = network()
    image = images(model, 1, 37, 45)
    with torch.no_grad():
        save(export(model, (images(model, 2, 17, 19),), dynamic_shapes=FREE), tmp_path / "network.pt2")
        torch.save((image, model(image)), tmp_path / "image.pt")
    assert run_python(LOADED, tmp_path / "network.pt2", tmp_path / "image.pt") == "True\n"


@pytest.mark.parametrize("backend", ["chunked", "reference"])
def test_the_scan_in_plain_torch_is_refused_for_free_sizes(backend):
    model = network().set_backend(scan=backend, attention="sdpa", dense="torch")
    with torch.no_grad(), pytest.raises(RuntimeError, match="for one height and width only"):
        export(model, (images(model, 2, 17, 19),), dynamic_shapes=FREE)


def test_the_scan_in_plain_torch_is_exported_for_one_size():
    model = network().set_backend(scan="chunked", attention="sdpa", dense="torch")
    image = images(model, 1, 9, 16)
    with torch.no_grad():
        program = export(model, (image,))
        assert not any("mambairv2" in str(node.target) for node in program.graph.nodes)
        torch.testing.assert_close(program.module()(image), model(image))
