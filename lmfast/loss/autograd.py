"""Cross-entropy of tensors: torch.library operators, autograd, and the fused way that makes the gradient early.

Two operators hold the kernel, `lmfast::cross_entropy_rows` and `lmfast::cross_entropy_rows_backward`; both work on rows
[N, V] and are differentiable, the first by the second and that by the formula in torch operations. They are what a
compiled graph contains. Eager code with a scalar loss takes the short way, `_Fused`: the gradient is written in the
forward pass, and the backward pass hands it on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lmfast.loss import _loss
from lmfast.loss.rows import Options, Rows, memory_of
from lmfast.loss.shapes import class_axis, to_rows

__all__ = [
    "counted",
    "cross_entropy",
    "divisor_of",
    "formula",
    "is_plain",
    "new_like",
    "reduce",
    "scalar",
    "target_rows",
]

LARGE = 1 << 22
"""Bytes of a new tensor from which on large pages are asked for."""


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any,
    options: Options,
    reduction: str,
    dim: int | None,
    want: tuple[str, ...],
    inplace: bool,
    empty: str,
) -> Any:
    """See `lmfast.loss.cross_entropy`."""
    from lmfast.loss.cross_entropy import CrossEntropyOutput

    axis = class_axis(logits, target, dim)
    shape = logits.shape[:axis] + logits.shape[axis + 1 :]
    rows, targets = to_rows(logits, axis), target_rows(logits, target, axis)
    if rows.stride(-1) != 1 and rows.shape[-1] > 1:
        rows = rows.contiguous()
    kind = torch.float64 if logits.dtype == torch.float64 else torch.float32
    needs = torch.is_grad_enabled() and logits.requires_grad
    more = torch.is_grad_enabled() and (target.requires_grad or (weight is not None and weight.requires_grad))
    if more:
        found = formula(rows, targets, weight, options)
    elif needs and _may_fuse(rows, options, reduction, want, inplace):
        _check_inplace(logits, inplace)
        loss, correct, n_valid = _Fused.apply(rows, targets, weight, options, reduction, empty, inplace, bool(want))
        if not want:
            return loss
        accuracy = correct.sum().to(kind)
        if reduction == "mean":
            accuracy = (
                accuracy / n_valid if n_valid else torch.full_like(accuracy, torch.nan if empty == "nan" else 0.0)
            )
        return CrossEntropyOutput(loss, accuracy=accuracy)
    elif needs and want == () and reduction != "none" and is_plain(rows, "cuda") and targets.ndim == 1 and _fits(rows):
        from lmfast.loss import _device_autograd

        _check_inplace(logits, inplace)
        return _device_autograd.fused_loss(rows, targets, weight, options, reduction, empty, inplace)
    elif not needs and is_plain(rows):
        return _without_grad(rows, targets, weight, options, reduction, want, empty, shape)
    else:
        found = _rows_op(rows, targets, weight, *_words(options), "entropy" in want)
    return _reduced(rows, found, targets, weight, options, reduction, want, empty, shape, kind)


def _check_inplace(logits: Any, inplace: bool) -> None:
    if inplace and logits.is_leaf:
        raise ValueError("inplace: a leaf that requires a gradient would lose its values; give a computed tensor")


def _fits(rows: Any) -> bool:
    from lmfast.loss import _device

    return _device.supports(rows)


def _may_fuse(rows: Any, options: Options, reduction: str, want: tuple[str, ...], inplace: bool) -> bool:
    """Whether the gradient may be made before the upstream gradient is known.

    In half precision it would be rounded twice, and a small one lost before a GradScaler could enlarge it.
    """
    return (
        is_plain(rows)
        and reduction != "none"
        and want in ((), ("accuracy",))
        and (rows.dtype != torch.float16 or inplace)
    )


def is_plain(rows: Any, device: str = "cpu") -> bool:
    """Whether these are numbers in memory of that kind of device, and nobody traces what is done with them."""
    return (
        not torch.compiler.is_compiling()
        and type(rows) in (torch.Tensor, torch.nn.Parameter)
        and rows.device.type == device
        and rows.layout == torch.strided
        and not torch._C._functorch.maybe_current_level()
        and torch.utils._python_dispatch._get_current_dispatch_mode() is None
    )


def _without_grad(
    rows: Any,
    targets: Any,
    weight: Any,
    options: Options,
    reduction: str,
    want: tuple[str, ...],
    empty: str,
    shape: Any,
) -> Any:
    from lmfast.loss.cross_entropy import results_of

    job = Rows(rows, targets, weight, options)
    found = results_of(
        job, reduction, want, empty, tuple(shape), np.float64 if rows.dtype == torch.float64 else np.float32
    )
    if not want:
        return torch.from_numpy(np.asarray(found))
    return type(found)(*(None if values is None else torch.from_numpy(np.asarray(values)) for values in found))


def _reduced(
    rows: Any,
    found: tuple[Any, ...],
    targets: Any,
    weight: Any,
    options: Options,
    reduction: str,
    want: tuple[str, ...],
    empty: str,
    shape: Any,
    kind: Any,
) -> Any:
    from lmfast.loss.cross_entropy import CrossEntropyOutput

    losses, lse, logprob, entropy, correct = found
    counts, divisor = divisor_of(targets, rows.shape[1], weight, options)
    reduced_shape = shape if reduction == "none" else ()
    loss = reduce(losses, divisor, reduction, empty).to(kind).reshape(reduced_shape)
    if not want:
        return loss
    each = {"lse": lse, "logprobs": logprob, "entropy": entropy}
    results = {name: each[name].to(kind).reshape(shape) for name in want if name in each}
    if "accuracy" in want:
        results["accuracy"] = reduce(correct, counts, reduction, empty).to(kind).reshape(reduced_shape)
    return CrossEntropyOutput(loss, **results)


def target_rows(logits: Any, target: Any, axis: int) -> Any:
    """Labels as int64 [N], or distributions as rows of the dtype of the logits."""
    if target.shape == logits.shape:
        if not target.is_floating_point():
            raise TypeError(f"target: want distributions over the classes as floats, got {target.dtype}")
        rows = to_rows(target.to(logits.dtype), axis)
        return rows if rows.stride(-1) == 1 or rows.shape[-1] < 2 else rows.contiguous()
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(f"target: want integers, or distributions of shape {tuple(logits.shape)}, got {target.dtype}")
    return target.reshape(-1).to(torch.int64)


def counted(targets: Any, n_classes: int, options: Options) -> Any:
    """Which labels are not ignored."""
    counts = targets != options.ignore_index
    return counts & (targets >= 0) & (targets < n_classes) if options.on_bad_label == "ignore" else counts


def divisor_of(targets: Any, n_classes: int, weight: Any, options: Options) -> tuple[Any, Any]:
    """(how many rows count, the sum of their weights) as float64 scalars on the device, without waiting for it."""
    if targets.ndim == 2:
        n = torch.full((), float(targets.shape[0]), dtype=torch.float64, device=targets.device)
        return n, n
    valid = counted(targets, n_classes, options)
    counts = valid.sum().to(torch.float64)
    if weight is None:
        return counts, counts
    inside = (targets >= 0) & (targets < n_classes)
    each = torch.where(inside, weight.to(torch.float64)[torch.where(inside, targets, 0)], 1.0)
    return counts, torch.where(valid, each, 0.0).sum()


def reduce(values: Any, divisor: Any, reduction: str, empty: str) -> Any:
    """What is returned of a number for each row; a sum or a mean is float64."""
    if reduction == "none":
        return values
    total = values.to(torch.float64).sum()
    if reduction == "sum":
        return total
    nothing = divisor == 0
    mean = total / torch.where(nothing, torch.ones_like(divisor), divisor)
    return torch.where(nothing, torch.full_like(mean, float("nan") if empty == "nan" else 0.0), mean)


def new_like(logits: Any) -> Any:
    """An uninitialised tensor of the shape, dtype and layout of the logits, on large pages if it is large."""
    room = torch.empty_like(logits)
    n_bytes = room.numel() * room.element_size()
    if n_bytes >= LARGE and room.device.type == "cpu" and room.is_contiguous():
        data, dtype = memory_of(room.view(1, -1))
        _loss.advise_large_pages(data, dtype)
    return room


def scalar(value: Any, logits: Any) -> Any:
    """A numpy scalar as a tensor."""
    return torch.tensor(float(value), dtype=torch.float64 if logits.dtype == torch.float64 else torch.float32)


def formula(rows: Any, targets: Any, weight: Any, options: Options) -> tuple[Any, ...]:
    """(loss, lse, logprob, entropy, correct) of each row in torch operations: differentiable as often as one likes."""
    z = rows.to(torch.float64)
    if options.softcap:
        z = options.softcap * torch.tanh(z / options.softcap)
    z = options.logit_scale * z
    n_classes = z.shape[-1]
    lse = torch.logsumexp(z, -1)
    logp = z - lse[:, None]
    entropy = -(logp.exp() * torch.where(logp == -torch.inf, 0.0, logp)).sum(-1)
    w = torch.ones(n_classes, dtype=torch.float64, device=z.device) if weight is None else weight.to(torch.float64)
    smoothing = options.label_smoothing
    if targets.ndim == 2:
        want = w * ((1 - smoothing) * targets.to(torch.float64) + smoothing / n_classes)
        loss = -torch.where(want == 0, 0.0, want * logp).sum(-1)
        logprob = torch.zeros_like(lse)
        correct = torch.zeros(z.shape[0], dtype=torch.uint8, device=z.device)
        return loss + options.z_loss * lse**2, lse, logprob, entropy, correct
    inside = (targets >= 0) & (targets < n_classes)
    ignored = targets == options.ignore_index
    bad = ~inside & ~ignored
    if options.on_bad_label == "ignore":
        ignored, bad = ignored | bad, bad & False
    label = torch.where(inside, targets, 0)
    own = logp.gather(1, label[:, None])[:, 0]
    loss = -(1 - smoothing) * w[label] * own
    if smoothing:
        loss = loss - smoothing / n_classes * (w * logp).sum(-1)
    loss = torch.where(bad, torch.nan, loss + options.z_loss * lse**2)
    logprob = torch.where(bad, torch.nan, torch.where(ignored, 0.0, own))
    correct = ((z.argmax(-1) == targets) & ~ignored).to(torch.uint8)
    return torch.where(ignored, 0.0, loss), lse, logprob, entropy, correct


class _Fused(torch.autograd.Function):
    """A scalar loss whose gradient is made with it. Backward multiplies it by the upstream gradient if not 1."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Any,
        targets: Any,
        weight: Any,
        options: Options,
        reduction: str,
        empty: str,
        inplace: bool,
        with_correct: bool,
    ) -> Any:
        rows = Rows(logits, targets, weight, options)
        n_valid, divisor = rows.count()
        ctx.scale = 1.0 if reduction == "sum" else 1.0 / divisor if divisor else 0.0
        ctx.options, ctx.inplace = options, inplace
        # In half precision the gradient waits for the upstream one, which may be a GradScaler's.
        early = logits.dtype != torch.float16
        ctx.gradient = (logits.detach() if inplace else new_like(logits)) if early else None
        if inplace and early:
            torch.autograd.graph.increment_version(logits)
            ctx.save_for_backward(targets, weight)
        else:
            ctx.save_for_backward(targets, weight, logits)
        want = ("loss", "correct") if with_correct else ("loss",)
        found = rows.run(want, gradient=ctx.gradient, scale=ctx.scale)
        total = float(found.loss.sum())
        if reduction == "mean":
            total = total / divisor if divisor else float("nan" if empty == "nan" else 0.0)
        correct = torch.from_numpy(found.correct) if with_correct else None
        if correct is not None:
            ctx.mark_non_differentiable(correct)
        return scalar(total, logits), correct, n_valid

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        nothing = (None,) * 7
        gradient, ctx.gradient = ctx.gradient, None
        if not torch.is_grad_enabled() and gradient is not None:
            factor = float(upstream[0])
            exact = gradient.dtype in (torch.float32, torch.float64) or abs(np.frexp(factor)[0]) == 0.5
            if factor == 1.0:
                return gradient, *nothing
            if exact or ctx.inplace:
                return gradient.mul_(factor), *nothing
        if (gradient is None and len(ctx.saved_tensors) == 2) or (torch.is_grad_enabled() and ctx.inplace):
            raise RuntimeError(
                "cross_entropy(inplace=True): the logits are gone; neither a second backward pass nor a "
                "second derivative is possible"
            )
        targets, weight, logits = ctx.saved_tensors
        if ctx.inplace:  # half precision
            torch.autograd.graph.increment_version(logits)
            rows = Rows(logits, targets, weight, ctx.options)
            room = logits.detach()
            rows.run((), gradient=room, scale=ctx.scale * float(upstream[0]))
            return room, *nothing
        d_loss = (upstream[0].to(torch.float64) * ctx.scale).expand(logits.shape[0])
        return _backward_op(logits, targets, weight, *_words(ctx.options), d_loss, None, None, None), *nothing


def _words(options: Options) -> tuple[Any, ...]:
    """The options as an operator takes them."""
    return (
        options.ignore_index,
        options.label_smoothing,
        options.z_loss,
        options.softcap,
        options.logit_scale,
        options.on_bad_label,
    )


def _columns(logits: Any) -> Any:
    return logits if logits.stride(-1) == 1 or logits.shape[-1] < 2 else logits.contiguous()


@torch.library.custom_op("lmfast::cross_entropy_rows", mutates_args=(), device_types="cpu")
def _rows_op(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float,
    logit_scale: float,
    on_bad_label: str,
    with_entropy: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(loss, lse, logprob, entropy, correct) of each row, float64 [N] (correct: uint8); entropy [0] if not asked."""
    options = Options(ignore_index, label_smoothing, z_loss, softcap, logit_scale, on_bad_label)
    rows = Rows(_columns(logits), target, weight, options)
    rows.count()
    found = rows.run(("loss", "lse", "logprob", "correct", *(("entropy",) if with_entropy else ())))
    entropy = np.empty(0) if found.entropy is None else found.entropy
    each = (found.loss, found.lse, found.logprob, entropy, found.correct)
    return tuple(torch.from_numpy(values) for values in each)


@_rows_op.register_fake
def _(logits: Any, target: Any, weight: Any, *rest: Any) -> tuple[Any, ...]:
    n, kind = logits.shape[0], torch.float64
    sizes = (n, n, n, n if rest[-1] else 0)
    return (*(logits.new_empty(size, dtype=kind) for size in sizes), logits.new_empty(n, dtype=torch.uint8))


@torch.library.custom_op("lmfast::cross_entropy_rows_backward", mutates_args=(), device_types="cpu")
def _backward_op(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float,
    logit_scale: float,
    on_bad_label: str,
    d_loss: torch.Tensor,
    d_lse: torch.Tensor | None,
    d_logprob: torch.Tensor | None,
    d_entropy: torch.Tensor | None,
) -> torch.Tensor:
    """The gradient of sum(d_loss * loss + d_lse * lse + d_logprob * logprob + d_entropy * entropy) by the logits."""
    options = Options(ignore_index, label_smoothing, z_loss, softcap, logit_scale, on_bad_label)
    gradient = new_like(logits) if logits.is_contiguous() else logits.new_empty(logits.shape)
    given = (d_loss, d_lse, d_logprob, d_entropy)
    scale, *others = (None if d is None else np.ascontiguousarray(d.detach().numpy(), np.float64) for d in given)
    rows = Rows(_columns(logits), target, weight, options)
    rows.run((), gradient=gradient, row_scale=scale, d_lse=others[0], d_logprob=others[1], d_entropy=others[2])
    return gradient


@_backward_op.register_fake
def _(logits: Any, *_rest: Any) -> Any:
    return torch.empty_like(logits) if logits.is_contiguous() else logits.new_empty(logits.shape)


def _save_rows(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    logits, target, weight, *words, ctx.with_entropy = inputs
    ctx.save_for_backward(logits, target, weight)
    ctx.words = words
    ctx.mark_non_differentiable(output[4])
    ctx.set_materialize_grads(False)


def _rows_backward(ctx: Any, d_loss: Any, d_lse: Any, d_logprob: Any, d_entropy: Any, _correct: Any) -> tuple[Any, ...]:
    logits, target, weight = ctx.saved_tensors
    if d_loss is None:
        d_loss = logits.new_zeros(logits.shape[0], dtype=torch.float64)
    entropy = d_entropy if ctx.with_entropy else None
    return _backward_op(logits, target, weight, *ctx.words, d_loss, d_lse, d_logprob, entropy), *(None,) * 9


def _save_gradient(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    logits, target, weight, *words = inputs[:9]
    ctx.save_for_backward(logits, target, weight, *inputs[9:])
    ctx.words = words


def _gradient_backward(ctx: Any, d_gradient: Any) -> tuple[Any, ...]:
    """The second derivative, by the formula in torch operations."""
    logits, target, weight, *given = ctx.saved_tensors
    options = Options(*ctx.words)
    with torch.enable_grad():
        x = logits.detach().requires_grad_()
        upstream = [None if d is None else d.detach().requires_grad_() for d in given]
        found = formula(x, target, weight, options)[:4]
        pairs = [(value, d) for value, d in zip(found, upstream, strict=True) if d is not None and value.requires_grad]
        (gradient,) = torch.autograd.grad([v for v, _ in pairs], x, [d for _, d in pairs], create_graph=True)
        asked = [x, *(d for d in upstream if d is not None)]
        seconds = iter(torch.autograd.grad(gradient, asked, d_gradient.to(gradient.dtype), allow_unused=True))
    first = next(seconds)
    return (first, *(None,) * 8, *(None if d is None else next(seconds) for d in upstream))


@_rows_op.register_kernel("cuda")
def _(*arguments: Any) -> tuple[torch.Tensor, ...]:
    from lmfast.loss import _device_autograd

    return _device_autograd.rows(*arguments)


@_backward_op.register_kernel("cuda")
def _(*arguments: Any) -> torch.Tensor:
    from lmfast.loss import _device_autograd

    return _device_autograd.rows_backward(*arguments)


_rows_op.register_autograd(_rows_backward, setup_context=_save_rows)
_backward_op.register_autograd(_gradient_backward, setup_context=_save_gradient)
