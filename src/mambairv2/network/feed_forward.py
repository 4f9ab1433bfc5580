"""Feed-forward with a depthwise convolution inside."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.layers import affine_of, norm_of, to_image, to_tokens
from mambairv2.ops.backend_choice import Backends
from mambairv2.ops.blocks.conv_block import conv_block


class FeedForward(nn.Module):
    """Feed-forward with a depthwise convolution inside: (B, H, W, E) → (B, H, W, E).

    `gated`, of the light model: half the hidden channels, normalised and convolved, gate the other half.
    `conv`, of S, B and L: the convolution is added to its input.
    """

    def __init__(self, config: MambaIRv2Config) -> None:
        super().__init__()
        hidden, kernel, self.gated = config.hidden_dim, config.ffn_kernel_size, config.ffn == "gated"
        inner = hidden // 2 if self.gated else hidden
        self.backends = Backends()
        self.fc1 = nn.Linear(config.embed_dim, hidden)
        if self.gated:
            self.norm = nn.LayerNorm(inner)
        self.conv = nn.Conv2d(inner, inner, kernel, padding=kernel // 2, groups=inner)
        self.fc2 = nn.Linear(inner, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map each token and its neighbourhood; x is normalised."""
        t = F.gelu(self.fc1(x))
        if self.gated:
            u, v = t.chunk(2, dim=-1)
            t = u * to_tokens(self.conv(to_image(self.norm(v))))
        else:
            t = t + F.gelu(to_tokens(self.conv(to_image(t))))
        return self.fc2(t)

    def fused(self, x: Tensor, norm: nn.LayerNorm, skip: Tensor, scale: Tensor) -> Tensor:
        """Return x + self(norm(x)) + scale · skip in one pass over bands of rows."""
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
            backend=self.backends.dense,
            products=self.backends.products,
        )
