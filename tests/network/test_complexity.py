"""What networks cost: by hand for a tiny one, beside PyTorch's counter for every form, and the published figures."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mambairv2.network.complexity import cost, items
from mambairv2.network.config import MambaIRv2Config, variant
from mambairv2.network.model import MambaIRv2

E, N, T, R, M = 12, 2, 4, 3, 8
TINY = MambaIRv2Config(embed_dim=E, d_state=N, depths=(2,), num_heads=(2,), num_tokens=T, inner_rank=R, window_size=M)
FORMS = {
    "light": {},
    "conv": {"ffn": "conv", "mlp_ratio": 2.0, "depths": (1, 2), "num_heads": (2, 3)},
    "3conv": {"resi_connection": "3conv"},
    "grey ×1": {"upscale": 1, "upsampler": "", "in_channels": 1},
    "pixelshuffle ×3": {"upscale": 3, "upsampler": "pixelshuffle"},
    "pixelshuffle ×4": {"upscale": 4, "upsampler": "pixelshuffle"},
    "nearest+conv": {"upscale": 4, "upsampler": "nearest+conv"},
    "attention only": {"attentive_scan": False},
    "prompt in B": {"prompt_target": "B"},
    "prompt in y": {"prompt_target": "y", "mlp_ratio": 2.0},
    "four directions": {"scan_directions": 4},
}


def test_a_tiny_network_by_hand():
    tokens = 16 * 24  # 10×20 in whole windows
    attention = E * 3 * E + 2 * M * M * E + E * E
    feed_forward = E * E + 25 * E // 2 + E // 2 * E
    route = E * (E // 3) + E // 3 * T
    scan = E * E + 9 * E + E * (1 + 2 * N) + 1 * E + 9 * E * N / 2 + E * E
    layer = attention + 2 * feed_forward + route + scan
    image = 9 * 3 * E + 2 * 9 * E * E + 9 * E * 3 * 4  # first, group's and body's, head
    pool = 2 * T * R * N  # once a layer
    counted = cost(TINY, 10, 20)
    assert counted.macs == tokens * (2 * layer + image) + pool
    norms = 2 * (4 * E + 2 * (E // 2) + E) + 2 * E  # of two layers, and before and after them
    more = 2 * (9 * E * N / 2 + E + T * N) + 5 * norms  # half the scan, D · u, the one-hot product
    assert counted.published == counted.macs + tokens * more


@pytest.mark.parametrize("changes", FORMS.values(), ids=FORMS)
def test_it_counts_what_pytorch_counts(changes):
    config = replace(TINY, **changes)
    with torch.device("meta"):
        network = MambaIRv2(config).eval().set_backend("chunked", "sdpa", "torch")  # what torch's counter can see
        image = torch.empty(1, config.in_channels, 16, 24)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    scan = sum(item.macs for item in items(config, 16, 24) if item.step == "scan")
    seen = scan * 2 / 9  # of the scan, torch's counter sees the multiplication and sum of C · h
    counted = cost(config, 16, 24)
    assert counted.macs - scan + seen == counter.get_total_flops() / 2
    assert counted.parameters == sum(p.numel() for p in network.parameters())


def test_items_name_modules_of_the_network():
    with torch.device("meta"):
        modules = {name for name, _ in MambaIRv2(TINY).named_modules()}
    found = items(TINY, 8, 8)
    assert {item.module for item in found} <= modules
    assert len({(item.module, item.step) for item in found}) == len(found)


def test_parts_that_are_left_out_cost_nothing():
    whole, plain = cost(TINY, 16, 16), cost(replace(TINY, attentive_scan=False), 16, 16)
    assert plain.macs < whole.macs
    assert plain.parameters < whole.parameters


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("light", (774_092, 780_587, 789_680)),
        ("small", (9_621_935, 9_806_575, 9_769_647)),
        ("base", (22_903_001, 23_087_641, 23_050_713)),
        ("large", (34_090_523, 34_275_163, 34_238_235)),
    ],
)
def test_parameters_are_the_published_ones_to_the_digit(name, parameters):
    assert tuple(cost(variant(name, upscale=s), 48, 48).parameters for s in (2, 3, 4)) == parameters


@pytest.mark.parametrize(("scale", "giga"), [(2, 286.3), (3, 126.7), (4, 75.6)])
def test_by_their_rules_the_published_figures_come_out(scale, giga):
    counted = cost(variant("light", upscale=scale), -(-720 // scale), -(-1280 // scale))
    assert counted.published / 1e9 == pytest.approx(giga, abs=0.05)  # they have one decimal
