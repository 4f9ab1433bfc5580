"""What the boxes of the network share: views of tokens and images, the residual convolution.

Tokens are (B, H, W, E), channels last. Images are (B, E, H, W) in channels-last memory, which is the same bytes:
going from one to the other copies nothing.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from mambairv2.network.config import MambaIRv2Config
from mambairv2.ops.backend_choice import Products, rounds
from mambairv2.ops.dense.linear import Affine, Norm


def to_image(tokens: Tensor) -> Tensor:
    """View tokens (B, H, W, E) as an image (B, E, H, W)."""
    return tokens.permute(0, 3, 1, 2)


def to_tokens(image: Tensor) -> Tensor:
    """View an image (B, E, H, W) as tokens (B, H, W, E)."""
    return image.permute(0, 2, 3, 1)


def norm_of(norm: nn.LayerNorm) -> Norm:
    """Return weight, bias and epsilon of a layer norm, as the kernels take them."""
    return norm.weight, norm.bias, norm.eps


def affine_of(layer: nn.Linear | nn.Conv2d) -> Affine:
    """Return weight and bias of a layer that has both, as the kernels take them."""
    assert layer.bias is not None
    return layer.weight, layer.bias


def convolve(conv: nn.Module, tokens: Tensor, products: Products) -> Tensor:
    """Return the tokens (B, H, W, E) of a residual convolution.

    They are of bfloat16 where products are, summed in float32: the caller adds them to tokens of float32.
    """
    image = to_image(tokens)
    half = rounds(products, image, *conv.parameters()) if image.device.type == "cpu" else False
    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        return to_tokens(conv(image))


def residual_conv(config: MambaIRv2Config) -> nn.Module:
    """Return the convolution(s) that end a group and the body: one 3×3, or a 3-1-3 bottleneck."""
    dim = config.embed_dim
    if config.resi_connection == "1conv":
        return nn.Conv2d(dim, dim, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(dim, dim // 4, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(dim // 4, dim // 4, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(dim // 4, dim, 3, padding=1),
    )
