"""The parity cases: inputs and outputs of the published network in float64, with synthetic weights."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mambairv2.network.config import MambaIRv2Config, variant
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.published_names import to_published

FOLDER = Path(__file__).parent / "parity"
CASES = json.loads((FOLDER / "cases.json").read_text())
GRADIENTS: dict[str, tuple[float, float]] = json.loads((FOLDER / "light_x2_grad.json").read_text())
"""Norm and sum of every gradient of the case `light_x2_grad`, by published name."""
ARGMAX = sorted(name for name, case in CASES.items() if case["mode"] == "argmax")

# Mean and spread of the parameters that another rule than their shape decides.
SCALES = {
    "scale1": (0.3, 0.1),
    "scale2": (0.3, 0.1),
    "Ds": (1.0, 0.2),
    "dt_projs_bias": (-3.0, 0.7),
    "relative_position_bias_table": (0.0, 0.5),
}


@dataclass(frozen=True)
class Case:
    """One case; `state` has the published names and float64 values, `arrays` the files' `input`, `output`, `target`."""

    seed: int
    arrays: dict[str, torch.Tensor]
    state: dict[str, torch.Tensor]


def load_case(name: str) -> Case:
    """Read a case and draw its weights."""
    seed = CASES[name]["seed"]
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    shapes = published_shapes(config_of(name))
    state = {key: torch.from_numpy(synthetic_weight(key, shape, seed)) for key, shape in shapes.items()}
    return Case(seed, arrays, state)


def config_of(name: str) -> MambaIRv2Config:
    """Return the configuration of a case: a published variant, with what the case changes."""
    case = CASES[name]
    config = variant(case["variant"], upscale=case["upscale"], in_channels=case["in_channels"])
    return replace(config, **case["changes"])


def published_shapes(config: MambaIRv2Config) -> dict[str, tuple[int, ...]]:
    """Return every parameter of a published checkpoint with its shape."""
    with torch.device("meta"):
        state = MambaIRv2(config).state_dict()
    return to_published({key: tuple(tensor.shape) for key, tensor in state.items()}, config)


def layout_digest(shapes: dict[str, tuple[int, ...]]) -> str:
    """Return a SHA-256 over sorted names and shapes, which `cases.json` holds as the published code has them."""
    lines = (f"{name} {'x'.join(map(str, shape))}\n" for name, shape in sorted(shapes.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def synthetic_weight(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Draw one float64 parameter from a generator that its published name and the seed of the case start.

    The spreads give each part of the network a visible share of the output, so that an error in any part shows:
    layer scales of a third, prompts far apart, and matrices that keep the variance of what they multiply.
    """
    noise = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32).standard_normal(shape)
    leaf = name.split(".")[-1]
    if leaf == "A_logs":
        mean, spread = np.log(np.arange(1, shape[1] + 1)), 0.2
    elif leaf in SCALES:
        mean, spread = SCALES[leaf]
    elif "embedding" in name:
        mean, spread = 0.0, 0.6
    elif len(shape) == 1:
        mean, spread = float(leaf == "weight"), 0.1
    else:
        fan_in = shape[-1] if leaf in ("x_proj_weight", "dt_projs_weight") else np.prod(shape[1:])
        mean, spread = 0.0, (1 / fan_in) ** 0.5
    return mean + spread * noise
