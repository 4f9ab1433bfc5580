"""Reconstruction heads: from features to the image."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mambairv2.network.config import MambaIRv2Config


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
