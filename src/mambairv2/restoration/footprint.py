"""How much memory a network takes."""

from __future__ import annotations

from mambairv2.network.attention import WindowAttention
from mambairv2.network.attentive_scan import AttentiveStateSpaceModule
from mambairv2.network.backends import attention_backend, scan_backend
from mambairv2.network.config import ONE_CONVOLUTION
from mambairv2.network.model import MambaIRv2

_IN_TORCH = ("sdpa", "chunked", "reference")
"""Backends that keep intermediate results in memory, which the compiled ones compute on the fly."""


def bytes_per_pixel(model: MambaIRv2) -> float:
    """Estimate the memory that a network takes for each pixel of its input, by its size and the backends that run.

    The factors were fitted to the growth of the peak resident size over one forward pass on a CPU: float32, images of
    64×64 to 384×384. In bytes for each pixel and each channel of `embed_dim`:

    | backends    | network               | measured     | estimated |
    |-------------|-----------------------|--------------|-----------|
    | native      | light                 | 31 to 71     | 88        |
    | native      | small, ×4             | 50–56, 80–93 | 132, 202  |
    | native      | base, ×4              | 50–56, 63–91 | 132, 153  |
    | plain torch | light                 | 346 to 412   | 424       |
    | plain torch | small                 | 1253 to 1343 | 1476      |

    The upper ends are those of images up to 160×160. Their tensors leave holes in the heap of glibc, which differ from
    process to process.
    """
    config, weight = model.config, next(model.parameters())
    window, heads = config.window_size, max(config.num_heads)
    unfused = 0
    for module in model.modules():
        if isinstance(module, AttentiveStateSpaceModule):  # states of every token
            backend = scan_backend(weight, module.backends.scan, config.d_state)
            needed = 42 * config.hidden_dim * config.d_state
        elif isinstance(module, WindowAttention):  # a row of scores for every token
            backend = attention_backend(weight, window, module.backends.attention, heads)
            needed = 12 * window**2 * heads
        else:
            continue
        unfused = max(unfused, needed if backend in _IN_TORCH else 0)
    body = 44 * (config.embed_dim + config.hidden_dim) + unfused
    head = 0 if config.upsampler in ONE_CONVOLUTION else 26 * 64 * config.upscale**2
    return max(body, head) * weight.element_size() / 4
