"""Tensors and batches of them: equal to arrays one by one, run at once, left on their device."""

import numpy as np
import pytest
import torch

from mambairv2 import MambaIRv2, Restorer
from mambairv2.restoration import planning
from small_weights import SMALL
from stand_in import StandIn, pixels, restorer


def batch(channels=3, dtype="uint8", height=70, width=90, images=3):
    arrays = [pixels(height, width, channels, dtype, seed=seed) for seed in range(images)]
    return arrays, torch.stack([torch.from_numpy(array).permute(2, 0, 1) for array in arrays])


def grid_sizes(tool):
    return [shape[0] for shape in tool.model.seen]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("options", [{}, {"tile": 32}, {"margin": False}, {"strength": 0.5}, {"self_ensemble": True}])
def test_a_batch_gives_what_arrays_give_one_by_one(channels, dtype, options):
    arrays, tensors = batch(channels, dtype)
    tool = restorer(**options)
    found = tool.restore(tensors)
    assert (found.dtype, found.shape) == (tensors.dtype, (3, channels, 140, 180))
    for array, one, alone in zip(arrays, found, tensors, strict=True):
        expected = tool.restore(array).astype(np.float64)
        least = 1e-6 if dtype == "float32" else 1  # rounding to integers
        assert np.abs(one.permute(1, 2, 0).double().numpy() - expected).max() <= least
        assert (one.double() - tool.restore(alone).double()).abs().max() <= least


def test_a_batch_of_a_real_network_gives_what_images_give_alone():
    torch.manual_seed(0)
    tool = Restorer(MambaIRv2(SMALL), "cpu", tile=64)
    tensors = batch()[1].float() / 255
    torch.testing.assert_close(tool.restore(tensors), torch.stack([tool.restore(one) for one in tensors]))


def test_a_batch_runs_at_once_where_memory_allows(monkeypatch):
    tool, told = restorer(tile=64), []
    tool.restore(batch()[1], progress=lambda *counts: told.append(counts))
    assert grid_sizes(tool) == [3, 3, 3, 3]
    assert told == [(done, 4) for done in (1, 2, 3, 4)]
    one = tool._planner.working_memory(tool.plan((70, 90)))
    monkeypatch.setattr(planning, "free_memory", lambda device: 2.5 * one / planning.SHARE)
    tool.model.seen.clear()
    told.clear()
    tool.restore(batch()[1], progress=lambda *counts: told.append(counts))
    assert grid_sizes(tool) == [2] * 4 + [1] * 4
    assert told == [(done, 8) for done in range(1, 9)]


class Small(StandIn):
    """Has no memory for more than one image, or for more than a number of pixels."""

    def __init__(self, pixels):
        super().__init__()
        self.pixels = pixels

    def forward(self, x):
        if len(x) > 1 or x[0, 0].numel() > self.pixels:
            raise MemoryError
        return super().forward(x)


@pytest.mark.parametrize("room", [10**6, 100 * 100])
def test_a_batch_that_does_not_fit_is_halved_before_its_tiles(room):
    tensors = batch()[1]
    tool = Restorer(Small(room), "cpu", overlap=0)
    assert torch.equal(tool.restore(tensors), restorer(tile=256 if room == 10**6 else 64, overlap=0).restore(tensors))
    assert set(grid_sizes(tool)) == {1}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats_are_computed_in_float32_and_given_back(dtype):
    tensors = batch(dtype="float32")[1].to(dtype)
    found = restorer().restore(tensors)
    assert torch.equal(found, restorer().restore(tensors.float()).to(dtype))


def test_a_mixed_batch_keeps_pictures_without_colour():
    tensors = batch()[1]
    tensors[1] = tensors[1, :1]
    tool = restorer()
    with torch.no_grad():
        tool.model.kernel[0] *= 0.9
    found = tool.restore(tensors)
    colourless = [bool((one == one[:1]).all()) for one in found]
    assert colourless == [False, True, False]


def test_colour_never_leaves_the_device_of_the_tensor(monkeypatch):
    def refuse(*_):
        raise AssertionError("copied")

    tool, tensors = restorer(tile=32), batch()[1]
    monkeypatch.setattr(torch.Tensor, "numpy", refuse)
    monkeypatch.setattr(torch.Tensor, "cpu", refuse)
    assert tool.restore(tensors).shape == (3, 3, 140, 180)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("channels", [3, 4])
def test_tensors_on_a_gpu_stay_there(device, channels):
    tensors = batch(channels)[1]
    found = Restorer(StandIn(), device).restore(tensors.cuda())
    assert found.device.type == "cuda"
    assert (found.cpu().int() - restorer().restore(tensors).int()).abs().max() <= 1


def test_the_result_can_be_trained_on():
    """A tensor that was made in inference mode could not."""
    for image in (batch(dtype="float32")[1], batch(dtype="float32")[1][0]):
        for made in (restorer().restore(image), restorer().infer(image)):
            assert not made.is_inference()


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (torch.zeros(3, 4, 4, dtype=torch.int32), "samples are uint8, uint16 or floats, got torch.int32"),
        (torch.zeros(3, 4, 4, dtype=torch.bool), "samples are uint8, uint16 or floats, got torch.bool"),
        (torch.full((2, 3, 4, 4), 1.5), "floats must lie in 0 to 1, found 1.5 to 1.5; rescale the image first"),
        (torch.full((3, 4, 4), torch.nan), "floats must lie in 0 to 1, found nan to nan"),
        (torch.zeros(2, 3, 0, 4), "an image has at least 1x1 pixels"),
        (torch.zeros(2, 5, 4, 4), "with C 1 to 4, got"),
    ],
)
def test_what_is_no_picture_is_refused(image, says):
    with pytest.raises(ValueError, match=says):
        restorer().restore(image)


def test_values_around_the_range_are_inferred_as_they_are():
    values = 3 * torch.randn(2, 3, 20, 30)
    found = restorer(margin=False).infer(values)
    assert found.min() < 0
    assert found.max() > 1
    assert torch.equal(found[1], restorer(margin=False).infer(values[1]))
