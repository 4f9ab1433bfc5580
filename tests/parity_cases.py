"""The parity cases: inputs and outputs of the published network in float64, with synthetic weights."""

from __future__ import annotations

import importlib.util
import json
import zlib
from pathlib import Path

import numpy as np
import torch

SORT_CHECKSUM = 891452818
ARGMAX = ("light_x2", "light_x4_batch2", "light_real_x4", "small_x3", "base_denoise", "base_jpeg_gray")


def load_case(folder: Path, name: str):
    """Return (description, arrays, published state_dict in float64) of a case."""
    spec = importlib.util.spec_from_file_location("synth", folder / "synth.py")
    synth = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(synth)
    case = json.loads((folder / f"{name}.json").read_text())
    arrays = {k: torch.from_numpy(v) for k, v in np.load(folder / f"{name}.npz").items()}
    state = synth.synth_state_dict(case["state_dict_shapes"], case["seed"])
    state = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()}
    for key in state:
        if key.endswith("A_logs"):  # the published code keeps this parameter in float32, in a float64 model too
            state[key] = state[key].float().double()
    return case, arrays, state


def image_order(label: torch.Tensor, prompts: int = 0) -> torch.Tensor:
    """Sort by label, ties in image order, as CUDA and this project do."""
    return label.argsort(dim=1, stable=True)


def device_order(label: torch.Tensor, prompts: int = 0) -> torch.Tensor:
    """Sort by label, ties as this CPU's fastest sort leaves them: how the cases were made."""
    return torch.sort(label, dim=-1, stable=False)[1]


def same_sort() -> bool:
    """Whether this CPU's fastest sort leaves ties as the one did that made the cases (torch 2.13, AVX-512)."""
    label = (torch.arange(2048) * 7919 % 613 % 64).view(2, 1024)
    return zlib.crc32(device_order(label).numpy().tobytes()) == SORT_CHECKSUM
