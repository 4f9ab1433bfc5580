"""Effective receptive fields that are made by hand, and what a scan can and cannot see."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mambairv2.analysis.receptive_field import (
    ReceptiveField,
    attention_only,
    causal,
    gradient_share,
    receptive_field,
    scan_fields,
)
from mambairv2.analysis.recording import scans_of
from small_scans import choosing, network
from stand_in import StandIn


def box(side):
    """A network that averages squares of 2·side + 1 pixels."""
    return lambda x: F.avg_pool2d(x, 2 * side + 1, stride=1, padding=side)


def images(count=3, size=40):
    return [torch.rand(3, size, size) for _ in range(count)]


def test_the_field_of_a_box_is_the_box():
    field = receptive_field(box(2), images(), scale=1)
    expected = np.zeros((25, 25))
    expected[10:15, 10:15] = 1 / 25
    np.testing.assert_allclose(field.share, expected, atol=1e-12)
    assert field.later == pytest.approx(12 / 25)
    np.testing.assert_allclose(field.within()[:4], [1 / 25, 9 / 25, 21 / 25, 1])
    assert (field.radius(0.5), field.radius(0.99)) == (2, 3)
    assert ReceptiveField(field.share / 2, 0).radius(0.9) is None


def test_the_field_of_an_enlarging_network_is_its_kernel():
    model = StandIn(scale=2)
    share = gradient_share(model, torch.rand(3, 20, 20), (10, 9), scale=2)
    assert share.sum() == pytest.approx(1)
    assert (share[8:13, 7:12] > 0).sum() == (share > 0).sum() == 9  # 5×5 large pixels around 2×2 lie in 3×3 small ones


def test_a_network_that_looks_back_has_nothing_later():
    field = receptive_field(lambda x: x + x.roll(1, dims=2) + x.roll(1, dims=3), images(), scale=1)
    assert field.later == 0
    middle = field.share.shape[0] // 2
    np.testing.assert_allclose(
        field.share[middle - 1 : middle + 1, middle - 1 : middle + 1], [[0, 1 / 3], [1 / 3, 1 / 3]]
    )


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="too small"):
        receptive_field(box(1), images(size=17), scale=1)


def test_attention_alone_sees_no_farther_than_its_windows():
    model = network(depths=(1,), num_heads=(2,))
    image = torch.rand(3, 64, 64)
    alone, whole = (gradient_share(m, image, (32, 32), 2) for m in (attention_only(model), model))
    # A window of 8, two 3×3 convolutions before and after it, and 5×5 twice in the feed-forwards.
    assert alone[:20].sum() == alone[:, :20].sum() == 0
    assert whole[:20].sum() > 0


def test_a_scan_sees_nothing_after_it():
    """Prompts tell a token of no other: nothing comes from later in the sequence, but with four directions it does."""
    for model in (network(), choosing(1), causal(network())):
        for scan in scan_fields(model, images(2, 32)):
            assert scan.later_in_sequence == 0
            assert 0 < scan.own < 1
    assert all(scan.later_in_image == 0 for scan in scan_fields(causal(network()), images(1, 32)))
    assert any(scan.later_in_image > 0 for scan in scan_fields(network(), images(1, 32)))
    four = scan_fields(network(scan_directions=4), images(1, 32))
    assert all(scan.later_in_sequence > 0 for scan in four)


def test_settings_of_what_is_left_out_are_no_obstacle():
    model = network(prompt_order="sorted", temperature=2.0)
    assert not attention_only(model).config.attentive_scan
    assert causal(model).config.temperature == 2


def test_the_causal_network_keeps_the_other_weights():
    model = network()
    other = causal(model)
    assert not other.config.semantic_neighbouring
    assert all((module.pool_right.weight == 0).all() for module in scans_of(other).values())
    assert all((module.pool_right.weight != 0).any() for module in scans_of(model).values())
    assert torch.equal(other.conv_first.weight, model.conv_first.weight)
    with pytest.raises(ValueError, match="four directions"):
        causal(network(scan_directions=4))
