"""The building blocks around the scan: window attention, feed-forwards, residual convolutions, reconstruction heads.

Tokens are (B, H, W, E), channels last; images are (B, C, H, W) in channels-last memory, which is the same
bytes, so going between the two copies nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambairv2.config import MambaIRv2Config
from mambairv2.ops.attention_block import attention_block
from mambairv2.ops.conv_block import conv_block
from mambairv2.ops.linear import Affine, Norm
from mambairv2.ops.linear import Backend as DenseBackend
from mambairv2.ops.window_attention import Backend


def to_image(tokens: Tensor) -> Tensor:
    """View tokens (B, H, W, E) as an image (B, E, H, W)."""
    return tokens.permute(0, 3, 1, 2)


def to_tokens(image: Tensor) -> Tensor:
    """View an image (B, E, H, W) as tokens (B, H, W, E)."""
    return image.permute(0, 2, 3, 1)


def norm_of(norm: nn.LayerNorm) -> Norm:
    """Return what `linear` takes of a layer norm."""
    return norm.weight, norm.bias, norm.eps


def affine_of(layer: nn.Linear | nn.Conv2d) -> Affine:
    """Return the weight and bias of a layer that has both."""
    assert layer.bias is not None
    return layer.weight, layer.bias


class WindowAttention(nn.Module):
    """Window multi-head self-attention with a learned relative position bias: (B, H, W, E) → (B, H, W, E)."""

    def __init__(self, dim: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.backend: Backend = "auto"
        self.dense: DenseBackend = "auto"
        self.qkv = nn.Linear(dim, 3 * dim)
        self.bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """x + attention inside each window of norm(x); H and W are multiples of the window."""
        qkv, proj = affine_of(self.qkv), affine_of(self.proj)
        window = (self.window, self.shift)
        return attention_block(
            x, norm_of(norm), qkv, self.bias_table, proj, *window, backend=self.backend, dense=self.dense
        )


class FeedForward(nn.Module):
    """Feed-forward with a depthwise convolution inside: (B, H, W, E) → (B, H, W, E).

    `gated`, of the light model: half the hidden channels gate the other half, normalised and convolved. `conv`, of
    S, B and L: the convolution is added to what it reads.
    """

    def __init__(self, config: MambaIRv2Config) -> None:
        super().__init__()
        hidden, kernel, self.gated = config.hidden_dim, config.ffn_kernel_size, config.ffn == "gated"
        inner = hidden // 2 if self.gated else hidden
        self.dense: DenseBackend = "auto"
        self.fc1 = nn.Linear(config.embed_dim, hidden)
        if self.gated:
            self.norm = nn.LayerNorm(inner)
        self.conv = nn.Conv2d(inner, inner, kernel, padding=kernel // 2, groups=inner)
        self.fc2 = nn.Linear(inner, config.embed_dim)

    def forward(self, x: Tensor, norm: nn.LayerNorm, skip: Tensor, scale: Tensor) -> Tensor:
        """x + feed-forward of norm(x) + scale · skip."""
        return conv_block(
            x,
            norm_of(norm),
            affine_of(self.fc1),
            affine_of(self.conv),
            "gated" if self.gated else "gelu",
            gelu=True,
            conv_norm=norm_of(self.norm) if self.gated else None,
            last=affine_of(self.fc2),
            skip=skip,
            scale=scale,
            backend=self.dense,
        )


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


class PixelShuffleDirect(nn.Module):
    """Head of the light model: one 3×3 convolution to C·s² channels and a pixel shuffle."""

    def __init__(self, config: MambaIRv2Config) -> None:
        super().__init__()
        self.scale = config.upscale
        self.conv = nn.Conv2d(config.embed_dim, config.in_channels * self.scale**2, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, E, H, W) → (B, C, sH, sW)."""
        return F.pixel_shuffle(self.conv(features), self.scale)


class PixelShuffle(nn.Module):
    """Head of S, B and L: 64 channels, pixel shuffles by 2 (twice for ×4) or 3, a last 3×3 convolution."""

    def __init__(self, config: MambaIRv2Config) -> None:
        super().__init__()
        self.factors = {2: [2], 3: [3], 4: [2, 2]}[config.upscale]
        self.conv_before = nn.Conv2d(config.embed_dim, 64, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(64, 64 * s * s, 3, padding=1) for s in self.factors)
        self.conv_last = nn.Conv2d(64, config.in_channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, E, H, W) → (B, C, sH, sW)."""
        x = F.leaky_relu(self.conv_before(features), 0.01)
        for conv, factor in zip(self.convs, self.factors, strict=True):
            x = F.pixel_shuffle(conv(x), factor)
        return self.conv_last(x)


class NearestConv(nn.Module):
    """Head for real-world ×4: nearest-neighbour doublings, each followed by a convolution."""

    def __init__(self, config: MambaIRv2Config) -> None:
        super().__init__()
        self.conv_before = nn.Conv2d(config.embed_dim, 64, 3, padding=1)
        self.conv_up1 = nn.Conv2d(64, 64, 3, padding=1)
        self.conv_up2 = nn.Conv2d(64, 64, 3, padding=1)
        self.conv_hr = nn.Conv2d(64, 64, 3, padding=1)
        self.conv_last = nn.Conv2d(64, config.in_channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, E, H, W) → (B, C, 4H, 4W)."""
        x = F.leaky_relu(self.conv_before(features), 0.01)
        for conv in (self.conv_up1, self.conv_up2):
            x = F.leaky_relu(conv(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))


class Correction(nn.Module):
    """Head for ×1: a 3×3 convolution to the image channels; the network adds the result to its input."""

    def __init__(self, config: MambaIRv2Config) -> None:
        super().__init__()
        self.conv_last = nn.Conv2d(config.embed_dim, config.in_channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, E, H, W) → (B, C, H, W)."""
        return self.conv_last(features)


HEADS: dict[str, type[nn.Module]] = {
    "pixelshuffledirect": PixelShuffleDirect,
    "pixelshuffle": PixelShuffle,
    "nearest+conv": NearestConv,
    "": Correction,
}
