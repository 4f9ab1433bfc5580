"""The attentive state space module: prompts, routing, semantic-guided neighbouring, and one selective scan.

Shape legend: B batch, L = H·W tokens, E embed_dim, D hidden channels, N d_state, T num_tokens, R inner_rank, K dt_rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.layers import affine_of, norm_of
from mambairv2.network.prompt_sampling import Generators, exponential_like
from mambairv2.ops.backend_choice import DenseBackend, ScanBackend
from mambairv2.ops.blocks.conv_block import conv_block
from mambairv2.ops.blocks.scan_pass import ScanPass, scan_pass
from mambairv2.ops.dense.linear import linear
from mambairv2.ops.routing.prompts import choose_prompt, draw_prompt, neighbour_order, route_logits
from mambairv2.ops.scan.selective_scan import invert, selective_scan, take


class AttentiveScan(nn.Module):
    """Attentive state space module (section 3.2 of the paper): (B, H, W, E) → (B, H, W, E).

    In training mode, or with a generator (one in all, or a sequence of one an image), each token draws its
    prompt by a hard Gumbel-softmax; otherwise it takes the most likely one, and every run gives the same.
    """

    def __init__(self, config: MambaIRv2Config) -> None:
        super().__init__()
        self.config = config
        self.backend: ScanBackend = "auto"
        self.dense: DenseBackend = "auto"
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
        if copies == 1:
            width = states if config.prompt_target in ("B", "C") else hidden
            self.route = nn.Sequential(nn.Linear(dim, dim // 3), nn.GELU(), nn.Linear(dim // 3, config.num_tokens))
            self.pool_left = nn.Embedding(config.num_tokens, config.inner_rank)
            self.pool_right = nn.Embedding(config.inner_rank, width)
        self._reset_scan()

    def _reset_scan(self) -> None:
        """Initial values of the scan: A = -(1..N), steps log-uniform in [1e-3, 1e-1]."""
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
        if self.config.scan_directions == 1:
            for table in (self.pool_left, self.pool_right):
                bound = 1 / table.num_embeddings
                nn.init.uniform_(table.weight, -bound, bound)

    def forward(self, x: Tensor, norm: nn.LayerNorm, generator: Generators = None) -> Tensor:
        """x + the tokens of norm(x) mixed by one scan; H and W are free."""
        batch, height, width, dim = x.shape
        config, tokens = self.config, x.reshape(batch, height * width, dim)
        if config.scan_directions == 4:
            return self._mixed(x, norm, lambda u: self._four_directions(u, height, width))
        label, prompt = self.choose_prompts(tokens, norm, generator)
        order = neighbour_order(label, config.num_tokens) if config.semantic_neighbouring else None
        if config.prompt_target == "C" and config.prompt_order == "image":
            return self._published(x, norm, order, prompt)
        return self._mixed(x, norm, lambda u: self._scan(u, order, prompt))

    def _published(self, x: Tensor, norm: nn.LayerNorm, order: Tensor | None, prompt: Tensor) -> Tensor:
        """The module as published: a scan whose C takes the prompts, these in image order."""
        into, taps, out = affine_of(self.in_proj), affine_of(self.position), affine_of(self.out_proj)
        given = ScanPass(
            *(x, norm.weight, norm.bias),
            *(into[0].flatten(1), into[1], *taps),
            *(self.x_proj_weight[0], self.dt_weight[0], self.dt_bias[0], -torch.exp(self.A_log), self.D),
            *(self.out_norm.weight, self.out_norm.bias, *out),
            prompt=prompt,
            order=order,
            eps=norm.eps,
            out_eps=self.out_norm.eps,
        )
        return scan_pass(given, backend=self.backend, dense=self.dense)

    def _mixed(self, x: Tensor, norm: nn.LayerNorm, mix: Callable[[Tensor], Tensor]) -> Tensor:
        """x + the tokens that `mix`, (B, L, D) → (B, L, D), makes of norm(x)."""
        into, taps = affine_of(self.in_proj), affine_of(self.position)
        into = (into[0].flatten(1), into[1])
        u = conv_block(x, norm_of(norm), into, taps, "sigmoid", backend=self.dense)
        tokens, residual = u.flatten(1, 2), x.flatten(1, 2)
        norm_out, out = norm_of(self.out_norm), affine_of(self.out_proj)
        return linear(mix(tokens), *out, norm=norm_out, residual=residual, backend=self.dense).view(x.shape)

    def choose_prompts(self, x: Tensor, norm: nn.LayerNorm, generator: Generators) -> tuple[Tensor, Tensor]:
        """Route tokens norm(x) to prompts: x (B, L, E) → labels (B, L) int64 and prompts (B, L, N)."""
        pool = self.pool_left.weight @ self.pool_right.weight
        first, _, second = self.route
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        route = (norm_of(norm), affine_of(first), affine_of(second))
        if not self.training and generator is None:
            return choose_prompt(x, *route, pool, backend=self.dense)
        logits = route_logits(x, *route, backend=self.dense)
        noise = exponential_like(logits, generator)
        return draw_prompt(logits, noise, pool, self.config.temperature, backend=self.dense)

    def _scan(self, u: Tensor, order: Tensor | None, prompt: Tensor) -> Tensor:
        """Scan u (B, L, D) in the given order, with prompts in image order that are not used as published."""
        config = self.config
        delta, B, C = self._project(u, 0)
        if config.prompt_order == "image" and order is not None:
            prompt = take(prompt, invert(order))  # token order[i] meets the prompt of place i
        if config.prompt_target == "C":
            C = C + prompt
        elif config.prompt_target == "B":
            B = B + prompt
        elif config.prompt_target == "delta":
            delta = delta + prompt
        scan = (u, delta, -torch.exp(self.A_log), B, C, self.D, self.dt_bias[0])
        y, _ = selective_scan(*scan, order=order, backend=self.backend)
        return y + prompt if config.prompt_target == "y" else y

    def _project(self, u: Tensor, direction: int) -> tuple[Tensor, Tensor, Tensor]:
        """Project u (B, L, D) to delta (B, L, D), B and C (B, L, N)."""
        rank, states = self.config.dt_rank, self.config.d_state
        projected = linear(u, self.x_proj_weight[direction], backend=self.dense)
        dt, B, C = projected.split((rank, states, states), dim=-1)
        return linear(dt, self.dt_weight[direction], backend=self.dense), B, C

    def _four_directions(self, u: Tensor, height: int, width: int) -> Tensor:
        """Sum the scans by row, by column and both reversed, as plain Mamba restoration does."""
        rows = torch.arange(height * width, device=u.device)
        columns = rows.view(height, width).T.reshape(-1)
        A, hidden = -torch.exp(self.A_log), self.config.hidden_dim
        y = torch.zeros_like(u)
        for i, order in enumerate((rows, columns, rows.flip(0), columns.flip(0))):
            part = slice(i * hidden, (i + 1) * hidden)
            delta, B, C = self._project(u, i)
            orders = order.expand(u.shape[0], -1)
            args = (u, delta, A[part], B, C, self.D[part], self.dt_bias[i])
            y = y + selective_scan(*args, order=orders, backend=self.backend)[0]
        return y
