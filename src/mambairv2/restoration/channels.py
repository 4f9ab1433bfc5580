"""Images whose channels are not the network's, grey or colour; and a plain enlargement to blend results with."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mambairv2.images.degradation.resizing import resample

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma (BT.601)."""


def restore_channels(network: Callable[[Tensor], Tensor], channels: int, scale: int, image: Tensor) -> Tensor:
    """Run a network on images of 1 or 3 channels, whichever of the two it was trained on.

    network: (B, channels, h, w) to (B, channels, h·scale, w·scale). image: (B, C, h, w); the result has C channels too.
    A grey image goes through a colour network as three equal channels, whose restorations are averaged. Of a colour
    image a grey network restores the luma; the colour differences are interpolated.
    """
    if image.shape[1] == channels:
        return network(image)
    if channels == 3:
        return network(image.expand(-1, 3, -1, -1)).mean(1, keepdim=True)
    luma = (image * image.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return _enlarged(image, scale) + network(luma) - _enlarged(luma, scale)


def _enlarged(image: Tensor, scale: int) -> Tensor:
    return F.interpolate(image, scale_factor=scale, mode="bicubic") if scale > 1 else image


def plainly_enlarged(image: Tensor, scale: int) -> Tensor:
    """Enlarge (…, C, h, w) in float32 by Lanczos to (…, C, h·scale, w·scale), on the CPU; ×1 gives the image itself."""
    if scale == 1:
        return image.float()
    if image.ndim > 3:
        return torch.stack([plainly_enlarged(one, scale) for one in image])
    pixels = image.float().permute(1, 2, 0).cpu().numpy()
    enlarged = resample(pixels, (pixels.shape[0] * scale, pixels.shape[1] * scale), "lanczos")
    return torch.from_numpy(enlarged).permute(2, 0, 1).to(image.device)
