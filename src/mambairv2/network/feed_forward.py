"""TODO network.feed_forward."""

from __future__ import annotations

from torch import Tensor, nn

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.layers import affine_of, norm_of
from mambairv2.ops.backend_choice import DenseBackend
from mambairv2.ops.blocks.conv_block import conv_block


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
