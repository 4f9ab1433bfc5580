"""Where the cost goes: kinds and modules add up, and the published count is explained to the digit."""

from dataclasses import replace

import pytest

from mambairv2.analysis.complexity import KINDS, by_kind, by_module, count, input_size, published_extra
from mambairv2.network.complexity import cost
from mambairv2.network.config import MambaIRv2Config, variant

TINY = MambaIRv2Config(embed_dim=12, d_state=2, depths=(1, 2), num_heads=(2, 3), num_tokens=4, inner_rank=3)


@pytest.mark.parametrize("changes", [{}, {"attentive_scan": False}, {"ffn": "conv"}, {"scan_directions": 4}])
def test_kinds_and_modules_add_up(changes):
    config = replace(TINY, **changes)
    found, total = count(config, (50, 70)), cost(config, 25, 35)
    for shares in (by_kind(found), by_module(found, 1), by_module(found, 5)):
        assert sum(share.parameters for share in shares.values()) == total.parameters
        assert sum(share.macs for share in shares.values()) == total.macs
        assert sum(share.published for share in shares.values()) == total.published


def test_parts_are_of_the_kind_that_they_look_like():
    E, D, N, tokens = 12, 12, 2, 32 * 48
    shares = by_kind(count(TINY, (64, 96)))
    assert list(shares) == list(KINDS)
    assert shares["scan: recurrence"].macs == 3 * tokens * D * N * 4.5  # three layers
    assert shares["3×3 convolutions"].macs == tokens * (9 * 3 * E + 3 * 9 * E * E)  # first, two groups, body
    assert shares["head"].macs == tokens * 9 * E * 12
    assert shares["layer norms and scales"].macs == 0
    assert shares["layer norms and scales"].published == tokens * 5 * (3 * (5 * E + E) + 2 * E)
    assert by_kind(count(replace(TINY, attentive_scan=False), (64, 96)))["scan: routing and pool"].parameters == 0


def test_modules_are_cut_at_a_depth():
    found = count(TINY, (64, 64))
    assert list(by_module(found, 1)) == ["conv_first", "norm_first", "groups", "norm", "conv_after_body", "head"]
    assert [name for name in by_module(found, 4) if "layers" in name] == [
        "groups.0.layers.0",
        "groups.1.layers.0",
        "groups.1.layers.1",
    ]


def test_the_rules_explain_the_published_count():
    found = count(variant("light"), (720, 1280))
    extra, total = published_extra(found), cost(variant("light"), 360, 640)
    assert sum(extra.values()) == pytest.approx(total.published - total.macs)
    assert total.published / total.macs == pytest.approx(1 / 0.938, rel=1e-3)  # the 6 %
    tokens = 368 * 640
    assert list(extra.values()) == [
        20 * tokens * 48 * 8 * 4.5,
        20 * tokens * 48,
        5 * tokens * (20 * 288 + 96),
        20 * tokens * 512,
    ]


def test_an_output_is_covered():
    assert input_size(variant("light", upscale=3), (720, 1280)) == (240, 427)
