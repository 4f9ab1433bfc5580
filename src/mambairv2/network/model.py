"""MambaIRv2 (CVPR 2025): shallow features, groups of attentive layers, reconstruction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mambairv2.network.attention import WindowAttention
from mambairv2.network.attentive_scan import AttentiveStateSpaceModule
from mambairv2.network.config import MambaIRv2Config, Variant, variant
from mambairv2.network.feed_forward import FeedForward
from mambairv2.network.fusion import built_parts, runs_fused
from mambairv2.network.gumbel_sampling import Generators, check_generators, repeatable
from mambairv2.network.layers import convolve, residual_conv, to_image, to_tokens
from mambairv2.network.reconstruction import HEADS
from mambairv2.ops.backend_choice import AttentionBackend, Backends, DenseBackend, Products, ScanBackend

if TYPE_CHECKING:
    from typing import Self

RGB_MEAN = (0.4488, 0.4371, 0.4040)


class AttentiveStateSpaceBlock(nn.Module):
    """ASSB: window attention, then the attentive scan, each with a feed-forward: (B, H, W, E) → (B, H, W, E)."""

    def __init__(self, config: MambaIRv2Config, heads: int, shift: int) -> None:
        super().__init__()
        dim = config.embed_dim
        self.backends = Backends()
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.attention = WindowAttention(dim, heads, config.window_size, shift)
        self.ffn1 = FeedForward(config)
        self.ffn2 = FeedForward(config)
        self.scale1 = nn.Parameter(torch.full((dim,), 1e-4))
        self.scale2 = nn.Parameter(torch.full((dim,), 1e-4))
        self.has_scan = config.attentive_scan
        if self.has_scan:
            self.norm3 = nn.LayerNorm(dim)
            self.attentive_scan = AttentiveStateSpaceModule(config)
        self._parts = built_parts(self)

    def forward(self, x: Tensor, generator: Generators = None) -> Tensor:
        """Run one block (figure 3 of the paper)."""
        if runs_fused(x, self._parts, self, self.backends):
            return self.fused(x, generator)
        a = x + self.attention(self.norm1(x))
        a = a + self.ffn1(self.norm2(a))
        x1 = a + self.scale1 * x
        s = x1 + self.attentive_scan(self.norm3(x1), generator) if self.has_scan else x1
        s = s + self.ffn2(self.norm4(s))
        return s + self.scale2 * x1

    def fused(self, x: Tensor, generator: Generators = None) -> Tensor:
        """Do the same, each line in one kernel with its norm, shortcut and scale; equal but for rounding."""
        a = self.attention.fused(x, self.norm1)
        x1 = self.ffn1.fused(a, self.norm2, x, self.scale1)
        s = self.attentive_scan.fused(x1, self.norm3, generator) if self.has_scan else x1
        return self.ffn2.fused(s, self.norm4, x1, self.scale2)


class AttentiveStateSpaceGroup(nn.Module):
    """ASSG: blocks with plain and shifted windows in turn, a convolution, and the group's input added."""

    def __init__(self, config: MambaIRv2Config, depth: int, heads: int) -> None:
        super().__init__()
        shifts = (0, config.window_size // 2)
        self.layers = nn.ModuleList(AttentiveStateSpaceBlock(config, heads, shifts[i % 2]) for i in range(depth))
        self.backends = Backends()
        self.conv = residual_conv(config)
        self.checkpointing = False

    def forward(self, x: Tensor, generator: Generators = None) -> Tensor:
        """(B, H, W, E) → (B, H, W, E)."""
        y = x
        for layer in self.layers:
            if self.checkpointing and torch.is_grad_enabled():
                y = checkpoint(repeatable(layer, generator), y, use_reentrant=False)
            else:
                y = layer(y, generator)
        return convolve(self.conv, y, self.backends.products) + x


class MambaIRv2(nn.Module):
    """The network, in every variant: one class, the light model is a configuration.

    Input: (B, C, h, w) of any size from 1×1, values in [0, 1]. Output: (B, C, h·s, w·s), not clamped.
    In evaluation mode the result is deterministic; in training mode, or with a generator, prompts are drawn.
    """

    def __init__(self, config: MambaIRv2Config) -> None:
        super().__init__()
        self.config = config
        self.backends = Backends()
        dim, channels = config.embed_dim, config.in_channels
        self.conv_first = nn.Conv2d(channels, dim, 3, padding=1)
        self.norm_first = nn.LayerNorm(dim)
        self.groups = nn.ModuleList(
            AttentiveStateSpaceGroup(config, depth, heads)
            for depth, heads in zip(config.depths, config.num_heads, strict=True)
        )
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = residual_conv(config)
        self.head = HEADS[config.upsampler](config)
        self.apply(_init_weights)

    @classmethod
    def from_config(cls, name: MambaIRv2Config | Variant, *, upscale: int = 2, in_channels: int = 3) -> Self:
        """Make an untrained network from a configuration, or from a variant name, a scale and channels."""
        if isinstance(name, MambaIRv2Config):
            return cls(name)
        return cls(variant(name, upscale=upscale, in_channels=in_channels))

    def forward(self, image: Tensor, generator: Generators = None) -> Tensor:
        """Restore a batch (figure 3 of the paper).

        generator: one from which all prompts are drawn, or a sequence of one for each image, so that what
        an image draws does not depend on the batch it is in. Raises ValueError for another number of them.
        """
        height, width = self._check(image)
        check_generators(generator, image.shape[0])
        x = normalize(mirror_pad(image, self.config.window_size), self.config)
        features = self.conv_first(x)
        y = self.norm_first(to_tokens(features))
        for group in self.groups:
            y = group(y, generator)
        y = self.conv_after_body(to_image(self.norm(y))) + features
        y = self.head(y)
        if self.config.upscale == 1:
            y = y + x
        y = y / self.config.img_range + _mean(image, self.config)
        # A crop that copies: a view's strides would be conditions of torch.export on every later image.
        scale = self.config.upscale
        return F.pad(y, (0, width * scale - y.shape[3], 0, height * scale - y.shape[2]))

    def _check(self, image: Tensor) -> tuple[int, int]:
        channels = self.config.in_channels
        if image.ndim != 4 or image.shape[1] != channels or 0 in image.shape[2:]:
            raise ValueError(f"expected an image batch (B, {channels}, h, w), got {tuple(image.shape)}")
        return image.shape[2], image.shape[3]

    def set_backend(
        self,
        scan: ScanBackend = "auto",
        attention: AttentionBackend = "auto",
        dense: DenseBackend = "auto",
    ) -> Self:
        """Choose the backends of the scan, of window attention, and of everything else; returns self.

        dense covers linear maps, depthwise convolutions, routing, the sort by prompt and noise. Raises at the next
        call if a backend cannot run: ValueError for an unknown name, RuntimeError for one that is not there.
        """
        return self._set_backends(scan=scan, attention=attention, dense=dense)

    def set_products(self, products: Products) -> Self:
        """Choose what the native kernels round to before they multiply, where no gradient is asked for; returns self.

        bfloat16 is for a network in float32, which sums, norms, scan, routing and shortcuts stay in. Raises
        at the next call: ValueError for an unknown name, RuntimeError where the processor cannot.
        """
        return self._set_backends(products=products)

    def _set_backends(self, **changes: str) -> Self:
        backends = replace(self.backends, **changes)  # type: ignore[arg-type]
        blocks = AttentiveStateSpaceGroup, AttentiveStateSpaceBlock, AttentiveStateSpaceModule
        parts = MambaIRv2, *blocks, WindowAttention, FeedForward
        for module in self.modules():
            if isinstance(module, parts):
                module.backends = backends
        return self

    def set_checkpointing(self, enabled: bool) -> Self:
        """Recompute each layer in the backward pass instead of storing its activations; returns self."""
        for group in self.groups:
            assert isinstance(group, AttentiveStateSpaceGroup)
            group.checkpointing = enabled
        return self


def normalize(image: Tensor, config: MambaIRv2Config) -> Tensor:
    """Shift an image in [0, 1] by the mean colour and scale it, as the network sees it: (B, C, H, W) → (B, C, H, W)."""
    x = (image - _mean(image, config)) * config.img_range
    return x.contiguous(memory_format=torch.channels_last)


def _mean(image: Tensor, config: MambaIRv2Config) -> Tensor:
    return image.new_tensor(RGB_MEAN if config.in_channels == 3 else (0.0,)).view(1, -1, 1, 1)


def mirror_pad(image: Tensor, multiple: int) -> Tensor:
    """Pad below and to the right to multiples, by mirroring with the edge row repeated: (B, C, h, w) → (B, C, H, W)."""
    for dim in (2, 3):
        size = image.shape[dim]  # no condition on it: torch.export would make it one on every later image
        i = torch.arange(-(-size // multiple) * multiple, device=image.device) % (2 * size)
        image = image.index_select(dim, torch.where(i < size, i, 2 * size - 1 - i))
    return image


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, AttentiveStateSpaceModule):
        module.reset_prompts()
