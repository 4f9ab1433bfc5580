"""The scan: decays, directions and orders whose answer is known."""

import numpy as np
import pytest
import torch

from mambairv2.analysis.recording import ScanTensors, scan_input, scan_tensors, scans_of, visit_scans
from mambairv2.analysis.scan import (
    EDGES,
    directions,
    half_life,
    jump,
    memory,
    memory_between,
    run,
    similarities,
    steps_apart,
    study_scans,
    whole_windows,
)
from small_scans import choosing, network

DELTA = 0.1


def tensors(tokens, channels=3, states=2, delta=DELTA, decay=1.0):
    """A scan whose steps are all alike, with A = -decay · (1, 2, …)."""
    generator = torch.Generator().manual_seed(0)
    A = -decay * torch.arange(1.0, states + 1).expand(channels, states)
    u, B, C = (torch.randn(tokens, n, generator=generator) for n in (channels, states, states))
    return ScanTensors(u, torch.full((tokens, channels), delta), A, B, C, torch.ones(channels))


def test_memory_decays_as_the_steps_say():
    left = memory(tensors(100), np.random.default_rng(0).permutation(100))
    distances = steps_apart(100)
    assert list(distances) == [1, 2, 4, 8, 16, 32, 64]
    for state in range(2):
        np.testing.assert_allclose(left[state], np.exp(-(state + 1) * DELTA * distances), rtol=1e-5)


def test_half_life_is_where_one_half_is_left():
    distances = steps_apart(1000)
    left = np.exp(-0.02 * distances)
    assert half_life(left, distances) == pytest.approx(np.log(2) / 0.02, rel=0.05)
    assert half_life(np.array([0.0, 0.0]), np.array([1, 2])) == 0.5
    assert half_life(np.array([0.9, 0.8]), np.array([1, 2])) == float("inf")


def test_memory_between_pixels_goes_by_their_places_in_the_sequence():
    height = width = 16
    raster = np.arange(height * width)
    columns = directions(height, width)[1]
    labels = raster % width % 2  # columns alternate
    random = np.random.default_rng(0)
    alternate = np.argsort(labels, kind="stable")
    found = memory_between(tensors(256, decay=0.2), (raster, columns, alternate), labels, width, random)
    assert found.shape == (3, 2, len(EDGES) - 1)
    assert np.isnan(found[:, :, -1]).all()  # no pixels are so far apart
    near, far = found[0, 0, 0], found[0, 0, 3]
    assert near > far
    assert found[0, 0, 0] == pytest.approx(found[1, 0, 0], rel=0.15)  # a square image, rows and columns alike
    assert found[2, 1, 1] > found[0, 1, 1]  # pixels of one label come nearer to each other


def test_a_scan_that_forgets_at_once_is_the_same_in_every_direction():
    forgetful = tensors(48, decay=1e6)
    outputs = np.stack([run(forgetful, order) for order in directions(6, 8)])
    np.testing.assert_allclose(outputs, np.broadcast_to(outputs[0], outputs.shape), atol=1e-12)
    np.testing.assert_allclose(similarities(outputs), np.ones((4, 4)))
    slow = similarities(np.stack([run(tensors(48, decay=0.01), order) for order in directions(6, 8)]))
    assert slow[0, 2] < 0.9
    np.testing.assert_allclose(np.diag(slow), 1)


def test_similarity_of_opposite_outputs_is_minus_one():
    y = np.random.default_rng(0).normal(size=(10, 3))
    np.testing.assert_allclose(similarities(np.stack([y, -y, 2 * y]))[0], [1, -1, 1])


def test_directions_are_rows_columns_and_both_reversed():
    assert directions(2, 3).tolist() == [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0]]


def test_jumps_are_known():
    assert jump(np.arange(8), 8) == 1
    assert jump(np.array([0, 7, 0]), 8) == 7
    assert jump(np.array([0, 9]), 8) == pytest.approx(2**0.5)


@pytest.mark.parametrize("changes", [{}, {"scan_directions": 4}, {"mlp_ratio": 2.0}])
def test_the_scan_is_the_networks_own(changes):
    """Scanned here step by step, the module gives what it gives itself."""
    model = network(**({"semantic_neighbouring": False} if "scan_directions" not in changes else {}), **changes)
    for module in scans_of(model).values():
        if module.has_prompts:
            torch.nn.init.zeros_(module.pool_right.weight)
    seen = []

    def visit(name, module, x):
        u = scan_input(module, x)
        one = [scan_tensors(module, u[0].flatten(0, 1), i) for i in range(module.config.scan_directions)]
        orders = directions(*x.shape[1:3])
        y = sum(run(t, orders[i]) + (t.D * t.u).numpy() for i, t in enumerate(one))
        there = module.out_proj(module.out_norm(torch.from_numpy(y).float())).view(x.shape)
        torch.testing.assert_close(there, module.forward(x), atol=1e-4, rtol=1e-4)
        seen.append(name)

    visit_scans(model, torch.rand(3, 16, 16), visit)
    assert seen == ["0.0", "1.0", "1.1"]


def test_one_prompt_changes_no_order():
    for layer in study_scans(choosing(2), torch.rand(3, 16, 16)):
        np.testing.assert_array_equal(layer.memory[0], layer.memory[1])
        assert layer.jump[0] == layer.jump[1]
        assert layer.alikeness[0] == layer.alikeness[1]


def test_drawn_prompts_order_the_tokens_anew():
    model, image = network(), torch.rand(3, 16, 16)
    plain, drawn = study_scans(model, image), study_scans(model, image, drawn=True)
    assert all(a.jump[1] != b.jump[1] and a.jump[0] == b.jump[0] for a, b in zip(plain, drawn, strict=True))
    certain = choosing(0)
    assert [a.jump[1] for a in study_scans(certain, image)] == [
        b.jump[1] for b in study_scans(certain, image, drawn=True)
    ]


def test_sorting_makes_neighbours_alike_and_far():
    for layer in study_scans(network(), torch.rand(3, 24, 32)):
        assert layer.jump[1] > layer.jump[0]
        assert layer.alikeness[1] > layer.alikeness[2]
        assert layer.similarity.shape == (4, 4)


def test_images_are_cut_to_whole_windows():
    assert whole_windows(torch.rand(3, 17, 30), network()).shape == (3, 16, 24)
    with pytest.raises(ValueError, match="smaller than a window"):
        whole_windows(torch.rand(3, 7, 30), network())
