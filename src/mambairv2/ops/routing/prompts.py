"""Routing: the likeliest prompt of each token or one drawn, and the tokens in the order of their prompts.

Shape legend: B batch, L tokens, E channels, T prompts, N width of a prompt.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mambairv2.ops.backend_choice import DenseBackend, dense_backend, index_backend
from mambairv2.ops.dense.linear import Affine, Norm, linear
from mambairv2.ops.library import loader, structs
from mambairv2.ops.registration import define, needs_gradient


def likeliest_prompt(logits: Tensor, *, backend: DenseBackend = "auto") -> Tensor:
    """Return the first largest of each token's logits: (B, L, T), float, → (B, L) int64."""
    if dense_backend(logits, backend) == "native":
        label: Tensor = _likeliest(logits.detach())
        return label
    return logits.argmax(-1)


def choose_prompt(
    x: Tensor, norm: Norm, first: Affine, second: Affine, pool: Tensor, *, backend: DenseBackend = "auto"
) -> tuple[Tensor, Tensor]:
    """Give each token the likeliest prompt by second(GELU(first(norm(x)))).

    x: (B, L, E). norm: weight (E,), bias (E,) and epsilon. first: weight (F, E), bias (F,). second: weight (T, F), bias
    (T,). pool: (T, N). Floating point of one dtype. Returns the labels (B, L) int64 and the prompts (B, L, N).
    """
    gamma, beta, eps = norm
    given = (x, gamma, beta, *first, *second, pool)
    if dense_backend(x, backend) == "native" and not needs_gradient(*given):
        label, prompt = _choose(*given, eps)
        return label, prompt
    label = likeliest_prompt(route_logits(x, norm, first, second, backend=backend), backend=backend)
    return label, F.embedding(label, pool)


def route_logits(x: Tensor, norm: Norm, first: Affine, second: Affine, *, backend: DenseBackend = "auto") -> Tensor:
    """Return second(GELU(first(norm(x)))), the logits of each token's prompts: (B, L, E) → (B, L, T)."""
    return linear(linear(x, *first, norm=norm, gelu=True, backend=backend), *second, backend=backend)


def draw_prompt(
    logits: Tensor, noise: Tensor, pool: Tensor, temperature: float, *, backend: DenseBackend = "auto"
) -> tuple[Tensor, Tensor]:
    """Draw each token's prompt by a hard Gumbel-softmax of its logits, with the straight-through gradient.

    logits: (B, L, T). noise: (B, L, T), standard exponential; its -log is Gumbel noise. pool: (T, N). Floating point.
    Returns the labels (B, L) int64 and the prompts (B, L, N). Source: section 3.2, F.gumbel_softmax(hard=True).
    """
    if dense_backend(logits, backend) == "native":
        keep = needs_gradient(logits, pool)
        prompt, label, _ = _draw(logits, noise, pool, temperature, keep)
        return label, prompt
    soft = ((logits - noise.log()) / temperature).softmax(-1)
    label = soft.argmax(-1)
    hard = torch.zeros_like(soft).scatter_(-1, label[..., None], 1.0)
    return label, (hard - soft.detach() + soft) @ pool


def neighbour_order(label: Tensor, prompts: int, *, backend: DenseBackend = "auto") -> Tensor:
    """Return the tokens sorted by label, ties in image order: (B, L) int64 in 0..prompts-1 → (B, L) int64.

    The published code leaves ties to the device: CUDA sorts in image order, a CPU in any order.
    """
    if index_backend(label.device, backend) == "native":
        order: Tensor = _sort(label, prompts)
        return order
    return label.argsort(dim=1, stable=True)


def _likeliest_forward(logits: Tensor) -> Tensor:
    logits = logits.contiguous()
    label = _labels(logits)
    batch, length, prompts = logits.shape
    args = structs.RoutingArgs(
        logits=logits, label=label, batch=batch, length=length, prompts=prompts, threads=torch.get_num_threads()
    )
    loader.call("likeliest", logits.dtype, args)
    return label


def _labels(logits: Tensor) -> Tensor:
    return logits.new_empty(logits.shape[:2], dtype=torch.int64)


def _choose_forward(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    first: Tensor,
    first_bias: Tensor,
    second: Tensor,
    second_bias: Tensor,
    pool: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    tensors = (x, gamma, beta, first, first_bias, second, second_bias, pool)
    loader.check_dtype(*tensors)
    x, gamma, beta, first, first_bias, second, second_bias, pool = (t.contiguous() for t in tensors)
    label, prompt = _choice(x, pool)
    (middle, inside), rows, threads = first.shape, x.shape[0] * x.shape[1], torch.get_num_threads()
    args = structs.ChoiceArgs(
        first=structs.LinearArgs(
            x=x,
            weight=first,
            bias=first_bias,
            gamma=gamma,
            beta=beta,
            rows=rows,
            inside=inside,
            outside=middle,
            x_stride=inside,
            eps=eps,
            gelu=True,
            threads=threads,
        ),
        second=structs.LinearArgs(
            weight=second,
            bias=second_bias,
            rows=rows,
            inside=middle,
            outside=len(second),
            x_stride=middle,
            threads=threads,
        ),
        pool=pool,
        label=label,
        prompt=prompt,
        width=pool.shape[1],
    )
    loader.call("choose", x.dtype, args)
    return label, prompt


def _choice(x: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    return _labels(x), x.new_empty(*x.shape[:2], pool.shape[1])


def _sort_forward(label: Tensor, prompts: int) -> Tensor:
    label = label.contiguous()
    order = torch.empty_like(label)
    batch, length = label.shape
    args = structs.RoutingArgs(
        label=label, order=order, batch=batch, length=length, prompts=prompts, threads=torch.get_num_threads()
    )
    loader.call("sort_by_label", torch.float32, args)  # labels only: it reads no real number
    return order


def _draw_args(
    logits: Tensor, noise: Tensor | None, pool: Tensor, temperature: float, **results: Tensor | None
) -> structs.DrawArgs:
    loader.check_dtype(logits, noise, pool)
    batch, length, prompts = logits.shape
    return structs.DrawArgs(
        logits=logits.contiguous(),
        noise=None if noise is None else noise.contiguous(),
        pool=pool.contiguous(),
        **results,
        tokens=batch * length,
        prompts=prompts,
        width=pool.shape[1],
        temperature=temperature,
        threads=torch.get_num_threads(),
    )


def _draw_outputs(logits: Tensor, pool: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    prompt = logits.new_empty(*logits.shape[:2], pool.shape[1])
    return prompt, _labels(logits), logits.new_empty(logits.shape if keep else (0,))


def _draw_forward(
    logits: Tensor, noise: Tensor, pool: Tensor, temperature: float, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    prompt, label, soft = _draw_outputs(logits, pool, keep)
    results = {"label": label, "prompt": prompt, "soft": soft if keep else None}
    loader.call("draw_forward", logits.dtype, _draw_args(logits, noise, pool, temperature, **results))
    return prompt, label, soft


def _draw_backward(
    dprompt: Tensor, label: Tensor, soft: Tensor, pool: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    parts = loader.parts_for(label.numel() // 512)
    dlogits, dpool = torch.empty_like(soft), pool.new_empty(parts, *pool.shape)
    args = structs.DrawGradArgs(
        forward=_draw_args(soft, None, pool, temperature, label=label, soft=soft),
        dprompt=dprompt.contiguous(),
        dlogits=dlogits,
        dpool=dpool,
        parts=parts,
    )
    loader.call("draw_backward", soft.dtype, args)
    return dlogits, dpool.sum(0)


_likeliest = define("likeliest_prompt_native", "(Tensor logits) -> Tensor", _likeliest_forward, _labels)
_choose = define(
    "choose_prompt_native",
    "(Tensor x, Tensor gamma, Tensor beta, Tensor first, Tensor first_bias, Tensor second, Tensor second_bias, "
    "Tensor pool, float eps) -> (Tensor, Tensor)",
    _choose_forward,
    lambda x, *others: _choice(x, others[-2]),
)
_sort = define(
    "sort_by_label_native", "(Tensor label, int prompts) -> Tensor", _sort_forward, lambda t, _: t.new_empty(t.shape)
)
_run_draw_backward = define(
    "draw_prompt_backward_native",
    "(Tensor dprompt, Tensor label, Tensor soft, Tensor pool, float temperature) -> (Tensor, Tensor)",
    _draw_backward,
    lambda dprompt, label, soft, pool, _: (soft.new_empty(soft.shape), pool.new_empty(pool.shape)),
)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    _, _, pool, ctx.temperature, _ = inputs
    _, label, soft = output
    ctx.mark_non_differentiable(label)
    ctx.save_for_backward(label, soft, pool)


def _gradient(ctx, dprompt, _label, _soft):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    dlogits, dpool = _run_draw_backward(dprompt, *ctx.saved_tensors, ctx.temperature)
    return dlogits, None, dpool, None, None


_draw = define(
    "draw_prompt_native",
    "(Tensor logits, Tensor noise, Tensor pool, float temperature, bool keep_soft) -> (Tensor, Tensor, Tensor)",
    _draw_forward,
    lambda logits, noise, pool, _, keep: _draw_outputs(logits, pool, keep),
    gradient=_gradient,
    save=_save,
)
