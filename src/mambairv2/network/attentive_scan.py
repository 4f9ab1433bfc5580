"""The attentive state space module (ASSM, section 3.2 of the paper).

Shape legend: B batch, H W height and width, L = H·W tokens, E embed_dim, D hidden channels, N d_state, T num_tokens
(prompts), R inner_rank, K dt_rank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.gumbel_sampling import Generators, exponential_like
from mambairv2.network.layers import affine_of, norm_of, to_image, to_tokens
from mambairv2.network.semantic_neighbouring import prompt_of_token, scan_order
from mambairv2.ops.backend_choice import Backends
from mambairv2.ops.blocks.conv_block import conv_block
from mambairv2.ops.dense.linear import linear
from mambairv2.ops.routing.prompts import choose_prompt, draw_prompt, likeliest_prompt, route_logits
from mambairv2.ops.scan.low_rank_scan import low_rank_scan
from mambairv2.ops.scan.selective_scan import selective_scan

Routed = tuple[Tensor, Tensor]
"""Labels (B, L) int64, and prompts P (B, L, N)."""


class AttentiveStateSpaceModule(nn.Module):
    """ASSM: tokens mixed by one attentive scan, (B, H, W, E) → (B, H, W, E).

    Each token is routed to one prompt of a pool. Semantic guided neighbouring (SGN) puts tokens of the same prompt
    side by side. The attentive state-space equation (ASE) adds the prompt to the output matrix C, so that a token
    asks about tokens that the scan has not reached yet. With prompts, one scan in one direction is enough.

    In training mode, or with a generator (one in all, or a sequence of one an image), each token draws its prompt by
    a hard Gumbel-softmax. Otherwise it takes the likeliest one, and every run gives the same result.
    """

    def __init__(self, config: MambaIRv2Config) -> None:
        super().__init__()
        self.config = config
        self.backends = Backends()
        dim, hidden, rank, states = config.embed_dim, config.hidden_dim, config.dt_rank, config.d_state
        copies = config.scan_directions
        self.in_proj = nn.Conv2d(dim, hidden, 1)
        self.position = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.x_proj_weight = nn.Parameter(torch.empty(copies, rank + 2 * states, hidden))
        self.dt_weight = nn.Parameter(torch.empty(copies, hidden, rank))
        self.dt_bias = nn.Parameter(torch.empty(copies, hidden))
        self.A_log = nn.Parameter(torch.empty(copies * hidden, states))
        self.D = nn.Parameter(torch.ones(copies * hidden))
        self.out_norm = nn.LayerNorm(hidden)
        self.out_proj = nn.Linear(hidden, dim)
        self.has_prompts = copies == 1
        if self.has_prompts:
            width = states if config.prompt_target in ("B", "C") else hidden
            self.route = nn.Sequential(nn.Linear(dim, dim // 3), nn.GELU(), nn.Linear(dim // 3, config.num_tokens))
            self.pool_left = nn.Embedding(config.num_tokens, config.inner_rank)
            self.pool_right = nn.Embedding(config.inner_rank, width)
        self._reset_scan()

    def _reset_scan(self) -> None:
        """Initial values of the scan: A = -(1..N), steps log-uniform in [1e-3, 1e-1]."""
        if self.dt_bias.is_meta:
            return  # there are no values, and PyTorch would load hundreds of modules to compute none
        nn.init.kaiming_uniform_(self.x_proj_weight[0], a=math.sqrt(5))
        for i in range(1, self.x_proj_weight.shape[0]):
            nn.init.kaiming_uniform_(self.x_proj_weight[i], a=math.sqrt(5))
        bound = self.config.dt_rank**-0.5
        nn.init.uniform_(self.dt_weight, -bound, bound)
        with torch.no_grad():
            step = torch.exp(torch.empty_like(self.dt_bias).uniform_(math.log(1e-3), math.log(1e-1)))
            step = step.clamp(min=1e-4)
            self.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))
            self.A_log.copy_(torch.log(torch.arange(1.0, self.config.d_state + 1)).expand_as(self.A_log))

    def reset_prompts(self) -> None:
        """Initial values of the prompt pool: uniform in ±1/rows."""
        if self.has_prompts:
            for table in (self.pool_left, self.pool_right):
                bound = 1 / table.num_embeddings
                nn.init.uniform_(table.weight, -bound, bound)

    def forward(self, x: Tensor, generator: Generators = None, routed: Routed | None = None) -> Tensor:
        """Mix the tokens; x is normalised, H and W are free. routed: labels and prompts chosen by the caller."""
        if self.has_prompts and routed is None:
            routed = self._route(x.flatten(1, 2), generator)
        u = self.in_proj(to_image(x))
        u = to_tokens(u * torch.sigmoid(self.position(u)))
        return self.out_proj(self.out_norm(self._mix(u, routed)))

    def fused(
        self, x: Tensor, norm: nn.LayerNorm, generator: Generators = None, routed: Routed | None = None
    ) -> Tensor:
        """Return x + self(norm(x)), each line in one kernel; equal but for rounding."""
        if self.has_prompts and routed is None:
            routed = self._route_fused(x.flatten(1, 2), norm, generator)
        weight, bias = affine_of(self.in_proj)
        taps, dense, products = affine_of(self.position), self.backends.dense, self.backends.products
        into = (weight.flatten(1), bias)
        u = conv_block(x, norm_of(norm), into, taps, "sigmoid", backend=dense, products=products)
        y, out, norm = self._mix(u, routed), affine_of(self.out_proj), self.out_norm
        return linear(y, *out, norm=norm_of(norm), residual=x, overwrite=True, backend=dense, products=products)

    def _mix(self, u: Tensor, routed: Routed | None) -> Tensor:
        """Scan u (B, H, W, D) with its labels and prompts, or in four directions without."""
        y = self._four_directions(u) if routed is None else self.attend(u.flatten(1, 2), *routed)
        return y.view(u.shape)

    def attend(self, u: Tensor, label: Tensor, prompt: Tensor) -> Tensor:
        """Scan with prompts: u (B, L, D), label (B, L) and prompt P (B, L, N) → y (B, L, D).

        ASE: h_i = exp(Δ_i A) h_{i-1} + Δ_i B_i u_i and y_i = (C_i + P_i) · h_i + D u_i, i in the order of SGN.
        """
        order = scan_order(label, self.config, self.backends.dense)
        P = prompt_of_token(prompt, order, self.config)
        dt, B, C = self._project(u, 0)
        if self.config.prompt_target == "C":
            C = C + P
        elif self.config.prompt_target == "B":
            B = B + P
        A, bias, backends = -torch.exp(self.A_log), self.dt_bias[0], self.backends
        if self.config.prompt_target == "delta":
            delta = linear(dt, self.dt_weight[0], backend=backends.dense) + P
            return selective_scan(u, delta, A, B, C, self.D, bias, order=order, backend=backends.scan)[0]
        scan = (u, dt, self.dt_weight[0], A, B, C, self.D, bias)
        y = low_rank_scan(*scan, order=order, backend=backends.scan, dense=backends.dense)
        return y + P if self.config.prompt_target == "y" else y

    def prompts_of(self, label: Tensor) -> Routed:
        """Return labels (B, L) with their prompts of the pool."""
        return label, F.embedding(label, self.pool_left.weight @ self.pool_right.weight)

    def _route(self, tokens: Tensor, generator: Generators) -> Routed:
        """Route normalised tokens (B, L, E) to prompts of the pool."""
        pool = _rows(self.pool_left) @ _rows(self.pool_right)
        logits = self.route(tokens)
        if self._draws(generator):
            return self._draw(logits, pool, generator)
        label = likeliest_prompt(logits, backend=self.backends.dense)
        return label, F.embedding(label, pool)

    def _route_fused(self, tokens: Tensor, norm: nn.LayerNorm, generator: Generators) -> Routed:
        """Route norm(tokens), with the layer norm and the maps inside the kernels."""
        pool, dense = self.pool_left.weight @ self.pool_right.weight, self.backends.dense
        first, _, second = self.route
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        route = (norm_of(norm), affine_of(first), affine_of(second))
        if self._draws(generator):
            return self._draw(route_logits(tokens, *route, backend=dense), pool, generator)
        return choose_prompt(tokens, *route, pool, backend=dense)

    def _draws(self, generator: Generators) -> bool:
        return self.training or generator is not None

    def _draw(self, logits: Tensor, pool: Tensor, generator: Generators) -> Routed:
        """Draw labels and prompts by a hard Gumbel-softmax with the straight-through gradient."""
        dense = self.backends.dense
        noise = exponential_like(logits, generator, backend=dense)
        return draw_prompt(logits, noise, pool, self.config.temperature, backend=dense)

    def _project(self, u: Tensor, direction: int) -> tuple[Tensor, Tensor, Tensor]:
        """Project u (B, L, D) to dt (B, L, K), from which the steps Δ are made, B and C (B, L, N)."""
        rank, states = self.config.dt_rank, self.config.d_state
        dense, products = self.backends.dense, self.backends.products
        projected = linear(u, self.x_proj_weight[direction], backend=dense, products=products)
        dt, B, C = projected.split((rank, states, states), dim=-1)
        return dt, B, C

    def _four_directions(self, u: Tensor) -> Tensor:
        """Sum the scans by row, by column and both reversed, as plain Mamba restoration does (ablation)."""
        _, height, width, _ = u.shape
        u = u.flatten(1, 2)
        rows = torch.arange(height * width, device=u.device)
        columns = rows.view(height, width).T.reshape(-1)
        A, hidden, y = -torch.exp(self.A_log), self.config.hidden_dim, torch.zeros_like(u)
        for i, order in enumerate((rows, columns, rows.flip(0), columns.flip(0))):
            part = slice(i * hidden, (i + 1) * hidden)
            dt, B, C = self._project(u, i)
            delta = linear(dt, self.dt_weight[i], backend=self.backends.dense)
            scan, orders = (u, delta, A[part], B, C, self.D[part], self.dt_bias[i]), order.expand(u.shape[0], -1)
            y = y + selective_scan(*scan, order=orders, backend=self.backends.scan)[0]
        return y


def _rows(table: nn.Embedding) -> Tensor:
    """Return every row of a table, through the module, so that its hooks run."""
    rows: Tensor = table(torch.arange(table.num_embeddings, device=table.weight.device))
    return rows
