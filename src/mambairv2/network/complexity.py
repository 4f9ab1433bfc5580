"""What a network costs: parameters and multiply-accumulates, from exact formulae, module by module.

Letters: E embed_dim, D hidden channels, N d_state, T num_tokens, R inner_rank, K dt_rank, M window_size, L tokens of
the image padded to whole windows. docs/analysis.md has the formulae in a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mambairv2.network.config import MambaIRv2Config

SCAN_MACS = 4.5
"""A state's step takes 9 operations, exp counted as one; two operations are one multiply-accumulate."""
SCAN_PUBLISHED = 9.0
"""The published count takes each of the 9 operations for a multiply-accumulate."""
NORM_PUBLISHED = 5
"""It takes 5 for each value of a layer norm."""


@dataclass(frozen=True)
class Item:
    """The cost of one step of one module, for one image."""

    module: str
    """Its name in the network, such as `groups.0.layers.1.attention`."""
    step: str
    """What it does, such as `qkv` or `scan`."""
    parameters: int
    macs: float
    """Multiply-accumulates: matrix products and convolutions without their biases, and half the scan's operations."""
    published: float
    """The same as the papers of MambaIR and MambaIRv2 count: see `Cost.published`."""


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-accumulates of one image; two operations are one multiply-accumulate."""

    parameters: int
    macs: float
    published: float = 0.0
    """By the rules of the published tables: 9 for each state and step of the scan and 1 for D · u, 5 for each value of
    a layer norm, and the choice of a prompt as the product of a one-hot matrix with the pool."""


def cost(config: MambaIRv2Config, height: int, width: int) -> Cost:
    """Count what restoring an image of height×width input pixels takes, padding to windows included.

    Activations, softmax, additions and sorting are left out of both counts, normalisations of `macs`.
    """
    found = items(config, height, width)
    parameters = sum(item.parameters for item in found)
    return Cost(parameters, sum(item.macs for item in found), sum(item.published for item in found))


def items(config: MambaIRv2Config, height: int, width: int) -> list[Item]:
    """Return the cost of every step of every module, in the order of the network; sizes as `cost` takes them."""
    side = config.window_size
    tokens = (-(-height // side) * side) * (-(-width // side) * side)
    count, E = _Counter(tokens), config.embed_dim
    found = [count.conv("conv_first", "convolution", config.in_channels, E, 3), count.norm("norm_first", "norm", E)]
    for g, depth in enumerate(config.depths):
        for i in range(depth):
            found += _block(count, f"groups.{g}.layers.{i}", config, config.num_heads[g])
        found += _residual_conv(count, f"groups.{g}.conv", config)
    found.append(count.norm("norm", "norm", E))
    found += _residual_conv(count, "conv_after_body", config)
    return found + list(_head(count, config))


@dataclass(frozen=True)
class _Counter:
    """Formulae of the kinds of steps, for an image of so many tokens."""

    tokens: int

    def conv(self, module: str, step: str, inside: int, outside: int, kernel: int, groups: int = 1) -> Item:
        """A convolution: k²·inside/groups·outside for each place."""
        weights = kernel**2 * inside // groups * outside
        return Item(module, step, weights + outside, self.tokens * weights, self.tokens * weights)

    def linear(self, module: str, step: str, inside: int, outside: int, bias: bool = True, copies: int = 1) -> Item:
        """A linear map: inside·outside for each token."""
        weights = copies * inside * outside
        macs = self.tokens * weights
        return Item(module, step, weights + copies * outside * bias, macs, macs)

    def norm(self, module: str, step: str, width: int) -> Item:
        """A layer norm: no multiply-accumulates, 5 for each value as published."""
        return Item(module, step, 2 * width, 0, self.tokens * NORM_PUBLISHED * width)


def _block(count: _Counter, name: str, config: MambaIRv2Config, heads: int) -> Iterator[Item]:
    E, M = config.embed_dim, config.window_size
    yield count.norm(name, "norm1", E)
    yield count.linear(f"{name}.attention", "qkv", E, 3 * E)
    products = count.tokens * 2 * M**2 * E  # Q·Kᵀ and the sum over V: each token with the M² of its window
    yield Item(f"{name}.attention", "products", (2 * M - 1) ** 2 * heads, products, products)
    yield count.linear(f"{name}.attention", "proj", E, E)
    yield count.norm(name, "norm2", E)
    yield from _feed_forward(count, f"{name}.ffn1", config)
    yield Item(name, "scales", 2 * E, 0, 0)
    if config.attentive_scan:
        yield count.norm(name, "norm3", E)
        yield from _attentive_scan(count, f"{name}.attentive_scan", config)
    yield count.norm(name, "norm4", E)
    yield from _feed_forward(count, f"{name}.ffn2", config)


def _feed_forward(count: _Counter, name: str, config: MambaIRv2Config) -> Iterator[Item]:
    E, D, gated = config.embed_dim, config.hidden_dim, config.ffn == "gated"
    inner = D // 2 if gated else D
    yield count.linear(name, "fc1", E, D)
    if gated:
        yield count.norm(name, "norm", inner)
    yield count.conv(name, "depthwise", inner, inner, config.ffn_kernel_size, groups=inner)
    yield count.linear(name, "fc2", inner, E)


def _attentive_scan(count: _Counter, name: str, config: MambaIRv2Config) -> Iterator[Item]:
    E, D, N, K, scans = config.embed_dim, config.hidden_dim, config.d_state, config.dt_rank, config.scan_directions
    if scans == 1:
        yield from _routing(count, name, config)
    yield count.conv(name, "in_proj", E, D, 1)
    yield count.conv(name, "position", D, D, 3, groups=D)
    yield count.linear(name, "x_proj", D, K + 2 * N, bias=False, copies=scans)
    yield count.linear(name, "dt", K, D, copies=scans)
    steps = scans * count.tokens * D
    parameters = scans * (D * N + D)
    yield Item(name, "scan", parameters, SCAN_MACS * steps * N, SCAN_PUBLISHED * steps * N + steps)
    yield count.norm(name, "out_norm", D)
    yield count.linear(name, "out_proj", D, E)


def _routing(count: _Counter, name: str, config: MambaIRv2Config) -> Iterator[Item]:
    E, T, R = config.embed_dim, config.num_tokens, config.inner_rank
    width = config.d_state if config.prompt_target in ("B", "C") else config.hidden_dim
    yield count.linear(name, "route 1", E, E // 3)
    yield count.linear(name, "route 2", E // 3, T)
    pool = T * R * width  # the pool is multiplied out once a layer, whatever the image
    yield Item(name, "pool", T * R + R * width, pool, pool)
    yield Item(name, "choice", 0, 0, count.tokens * T * width)


def _residual_conv(count: _Counter, name: str, config: MambaIRv2Config) -> Iterator[Item]:
    E = config.embed_dim
    if config.resi_connection == "1conv":
        yield count.conv(name, "convolution", E, E, 3)
    else:
        for step, (inside, outside, kernel) in enumerate(((E, E // 4, 3), (E // 4, E // 4, 1), (E // 4, E, 3))):
            yield count.conv(name, f"convolution {step + 1}", inside, outside, kernel)


def _head(count: _Counter, config: MambaIRv2Config) -> Iterator[Item]:
    E, channels, scale = config.embed_dim, config.in_channels, config.upscale
    if config.upsampler == "":
        yield count.conv("head", "conv_last", E, channels, 3)
    elif config.upsampler == "pixelshuffledirect":
        yield count.conv("head", "conv", E, channels * scale**2, 3)
    else:
        yield count.conv("head", "conv_before", E, 64, 3)
        for i, factor in enumerate([2, 2] if scale == 4 else [scale]):
            shuffled = config.upsampler == "pixelshuffle"
            count, outside = (count, 64 * factor**2) if shuffled else (_enlarged(count, factor), 64)
            yield count.conv("head", f"convs.{i}" if shuffled else f"conv_up{i + 1}", 64, outside, 3)
            count = _enlarged(count, factor) if shuffled else count
        if config.upsampler == "nearest+conv":
            yield count.conv("head", "conv_hr", 64, 64, 3)
        yield count.conv("head", "conv_last", 64, channels, 3)


def _enlarged(count: _Counter, factor: int) -> _Counter:
    return replace(count, tokens=count.tokens * factor**2)
