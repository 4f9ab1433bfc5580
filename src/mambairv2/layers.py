"""The building blocks around the scan: window attention, feed-forwards, residual convolutions, reconstruction heads.

Tokens are (B, H, W, E), channels last; images are (B, C, H, W) in channels-last memory, which is the same
bytes, so going between the two copies nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambairv2.config import MambaIRv2Config
from mambairv2.ops.window_attention import Backend, window_attention


def to_image(tokens: Tensor) -> Tensor:
    """View tokens (B, H, W, E) as an image (B, E, H, W)."""
    return tokens.permute(0, 3, 1, 2)


def to_tokens(image: Tensor) -> Tensor:
    """View an image (B, E, H, W) as tokens (B, H, W, E)."""
    return image.permute(0, 2, 3, 1)


class WindowAttention(nn.Module):
    """Window multi-head self-attention with a learned relative position bias: (B, H, W, E) → (B, H, W, E)."""

    def __init__(self, dim: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.backend: Backend = "auto"
        self.qkv = nn.Linear(dim, 3 * dim)
        self.bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Attend inside each window; H and W are multiples of the window."""
        y = window_attention(self.qkv(x), self.bias_table, self.window, self.shift, self.backend)
        return self.proj(y)


class GatedFeedForward(nn.Module):
    """Feed-forward of the light model: half the hidden channels gate the other, convolved, half."""

    def __init__(self, dim: int, hidden: int, kernel: int) -> None:
        super().__init__()
        half = hidden // 2
        self.fc1 = nn.Linear(dim, hidden)
        self.norm = nn.LayerNorm(half)
        self.conv = nn.Conv2d(half, half, kernel, padding=kernel // 2, groups=half)
        self.fc2 = nn.Linear(half, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, E) → (B, H, W, E)."""
        u, v = F.gelu(self.fc1(x)).chunk(2, dim=-1)
        v = to_tokens(self.conv(to_image(self.norm(v))))
        return self.fc2(u * v)


class ConvFeedForward(nn.Module):
    """Feed-forward of S, B and L: a depthwise convolution in between, added to what it reads."""

    def __init__(self, dim: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.conv = nn.Conv2d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, E) → (B, H, W, E)."""
        t = F.gelu(self.fc1(x))
        return self.fc2(t + F.gelu(to_tokens(self.conv(to_image(t)))))


def feed_forward(config: MambaIRv2Config) -> nn.Module:
    """Return the feed-forward that the configuration names."""
    block = GatedFeedForward if config.ffn == "gated" else ConvFeedForward
    return block(config.embed_dim, config.hidden_dim, config.ffn_kernel_size)


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
