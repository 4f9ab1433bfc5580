"""What networks cost: counted by hand for a tiny one, and the published sizes."""

from dataclasses import replace

import pytest

from mambairv2.network.complexity import Cost, cost
from mambairv2.network.config import MambaIRv2Config, variant

E, N, T, R, M = 12, 2, 4, 3, 8
TINY = MambaIRv2Config(embed_dim=E, d_state=N, depths=(2,), num_heads=(2,), num_tokens=T, inner_rank=R, window_size=M)


def test_a_tiny_network_by_hand():
    tokens = 16 * 24  # 10×20 in whole windows
    attention = E * 3 * E + 2 * M * M * E + E * E
    feed_forward = E * E + 25 * E // 2 + E // 2 * E
    route = E * (E // 3) + E // 3 * T
    scan = E * E + 9 * E + E * (1 + 2 * N) + 1 * E + 9 * E * N / 2 + E * E
    layer = attention + 2 * feed_forward + route + scan
    image = 9 * 3 * E + 2 * 9 * E * E + 9 * E * 3 * 4  # first, group's and body's, head
    pool = 2 * T * R * N  # once a layer
    assert cost(TINY, 10, 20).macs == tokens * (2 * layer + image) + pool


def test_parts_that_are_left_out_cost_nothing():
    whole, plain = cost(TINY, 16, 16), cost(replace(TINY, attentive_scan=False), 16, 16)
    assert plain.macs < whole.macs
    assert plain.parameters < whole.parameters


def test_the_light_network_has_the_published_size():
    light = cost(variant("light", upscale=4), 180, 320)
    assert light == Cost(789_680, pytest.approx(71.03e9, rel=1e-3))  # published: 790 K, 75.6 G
