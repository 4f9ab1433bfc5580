"""Exponential noise by counter: what an image draws depends on its seed alone, not on batch, threads or device."""

from __future__ import annotations

import torch
from torch import Tensor

from mambairv2.ops.backend_choice import DenseBackend, index_backend
from mambairv2.ops.library import loader, structs
from mambairv2.ops.registration import define

# SplitMix64 (Steele, Lea and Flood, 2014), as signed integers.
_GAMMA, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


def exponential(seeds: Tensor, count: int, dtype: torch.dtype, *, backend: DenseBackend = "auto") -> Tensor:
    """Draw standard exponential noise, -log(1 - v): seeds (B,) int64 → (B, count) of float32 or float64.

    v = (k + 1/2) / 2³², k the upper half of SplitMix64's n-th number: alike on every device, but for rounding.
    """
    if index_backend(seeds.device, backend) == "native":
        noise: Tensor = _noise(seeds, count, dtype)
        return noise
    if seeds.device.type == "mps":  # which has no float64
        return exponential(seeds.cpu(), count, dtype).to(seeds.device)
    x = seeds[:, None] + torch.arange(1, count + 1, device=seeds.device) * _GAMMA
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    v = (_shifted(x ^ _shifted(x, 31), 32).double() + 0.5) * 2.0**-32
    return -torch.log1p(-v).to(dtype)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift int64 to the right, zeros coming in."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _noise_forward(seeds: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    seeds = seeds.contiguous()
    noise = _noise_output(seeds, count, dtype)
    threads = torch.get_num_threads()
    args = structs.NoiseArgs(seeds=seeds, noise=noise, batch=len(seeds), count=count, threads=threads)
    loader.call("noise", dtype, args)
    return noise


def _noise_output(seeds: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    return seeds.new_empty(len(seeds), count, dtype=dtype)


_noise = define(
    "exponential_noise_native", "(Tensor seeds, int count, ScalarType dtype) -> Tensor", _noise_forward, _noise_output
)
