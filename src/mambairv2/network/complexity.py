"""What a network costs: parameters and multiply-accumulates, counted on shapes alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-accumulates of one image; two operations are one multiply-accumulate."""

    parameters: int
    macs: float


@cache
def cost(config: MambaIRv2Config, height: int, width: int) -> Cost:
    """Count what restoring an image of height×width input pixels takes, padding to windows included.

    Convolutions and matrix products are those that torch's counter sees. The scan is 9 operations a state and step,
    exp counted as one. Normalisations, activations and sorting are left out.
    """
    with torch.device("meta"):
        network = MambaIRv2(config).eval().set_backend("chunked", "sdpa", "torch")  # what torch's counter can see
        image = torch.empty(1, config.in_channels, height, width)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    side, scans = config.window_size, sum(config.depths) * config.scan_directions * config.attentive_scan
    steps = -(-height // side) * -(-width // side) * side**2 * scans
    unseen = 7 * config.hidden_dim * config.d_state  # of 9: the counter sees the multiplication and sum of C·h
    operations = counter.get_total_flops() + steps * unseen
    return Cost(sum(p.numel() for p in network.parameters()), operations / 2)
