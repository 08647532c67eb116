"""The loss of a language model's head: hidden states to logits to cross-entropy, without ever holding the logits.

The rows are taken in chunks whose logits fit into a budget of bytes. The logits of a chunk are made by a matrix
product, become their own gradient in place while they are at hand, and go into the gradients of the hidden states and
of the weight by two more products. Rows whose label is ignored are dropped before the first one.
"""

from __future__ import annotations

from typing import Any

import torch

from lmfast.loss import _device
from lmfast.loss.autograd import divisor_of, formula, reduce
from lmfast.loss.cross_entropy import CrossEntropyOutput
from lmfast.loss.linear_chunks import Head, Upstream
from lmfast.loss.rows import Options

__all__ = ["linear_cross_entropy"]

REDUCTIONS = ("mean", "sum", "none")
OPTIONS = ("ignore_index", "label_smoothing", "z_loss", "softcap", "logit_scale", "on_bad_label")


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    bias: torch.Tensor | None = None,
    class_weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    return_lse: bool = False,
    return_logprobs: bool = False,
    return_accuracy: bool = False,
    return_entropy: bool = False,
    empty: str = "nan",
    on_bad_label: str = "raise",
    budget_bytes: int | None = None,
) -> Any:
    """`cross_entropy(hidden @ weight.T + bias, target, ...)` in less memory, and its gradients.

    hidden        [..., H]; float32, float64, bfloat16 or float16
    weight        [V, H] of the same dtype; the head of the model, one row for each class
    target        labels [...], any integers
    bias          [V] or None
    class_weight  [V], a factor for each class, or None
    budget_bytes  how much memory the logits of a chunk may take, by default 64 MiB on the CPU and 1 GiB on a GPU. More
                  chunks mean more passes over the gradient of `weight`

    The other options, and what is returned, are those of `lmfast.loss.cross_entropy`; with one of `return_*` a
    `CrossEntropyOutput`. Targets are labels: distributions over the classes would be of the size of the logits.

    Memory: the logits of a chunk and the gradients, nothing else that grows with N * V; a gradient of the entropy by a
    weight of 16 bits is summed beside it in float32. Gradients that nobody needs (of a frozen head, of hidden states
    that are data) are not computed.

    Exactness: logits have the dtype of `hidden`, as those of `torch.nn.functional.linear`; their loss is that of
    `cross_entropy`. The gradient of `weight` is summed over chunks in float32 and rounded once at the end.

    A second derivative is computed by the composite formula and holds the logits. A backward pass after the first one
    (`retain_graph=True`) computes the gradients anew. Under autocast hidden, weight and bias are cast as `linear` does.

    >>> import torch
    >>> hidden, weight = torch.zeros(3, 8), torch.zeros(5, 8, requires_grad=True)
    >>> loss = linear_cross_entropy(hidden, weight, torch.tensor([0, 4, -100]))
    >>> round(loss.item(), 4)  # log(5)
    1.6094
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction = {reduction!r}: allowed are {', '.join(REDUCTIONS)}")
    if empty not in ("nan", "zero"):
        raise ValueError(f"empty = {empty!r}: allowed are nan, zero")
    if budget_bytes is not None and budget_bytes < 1:
        raise ValueError(f"budget_bytes = {budget_bytes}: at least 1 is allowed")
    options = Options(ignore_index, label_smoothing, z_loss, softcap or 0.0, logit_scale, on_bad_label)
    hidden, weight, bias = _as_autocast(hidden, weight, bias)
    _check(hidden, weight, target, bias, class_weight)
    rows, labels = hidden.reshape(-1, hidden.shape[-1]), target.reshape(-1).to(torch.int64)
    more = return_lse or return_logprobs or return_accuracy or return_entropy
    needs = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (hidden, weight, bias))
    # The upstream gradient of a scalar is one number, by which to multiply later. In half precision that would be too
    # late: the small gradients that a GradScaler is to save would be 0 by then.
    early = needs and reduction != "none" and not more and hidden.dtype != torch.float16
    loss, lse, logprobs, entropy, correct, *_ = _linear_op(
        rows,
        weight,
        labels,
        bias,
        class_weight,
        *(getattr(options, name) for name in OPTIONS),
        reduction,
        empty,
        budget_bytes or 0,
        return_lse,
        return_entropy,
        return_accuracy,
        early and hidden.requires_grad,
        early and weight.requires_grad,
        early and bias is not None and bias.requires_grad,
    )
    kind = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    loss = loss.to(kind).reshape(target.shape if reduction == "none" else ())
    if not more:
        return loss
    asked = ("lse", lse, return_lse), ("logprobs", logprobs, return_logprobs), ("entropy", entropy, return_entropy)
    each = {name: values.to(kind).reshape(target.shape) for name, values, wanted in asked if wanted}
    if return_accuracy:
        counts, _ = divisor_of(labels, weight.shape[0], None, options)
        accuracy = reduce(correct, counts, reduction, empty).to(kind)
        each["accuracy"] = accuracy.reshape(target.shape if reduction == "none" else ())
    return CrossEntropyOutput(loss, **each)


def _as_autocast(hidden: Any, weight: Any, bias: Any) -> tuple[Any, Any, Any]:
    device = hidden.device.type
    if not torch.is_autocast_enabled(device):
        return hidden, weight, bias
    dtype = torch.get_autocast_dtype(device)
    return hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def _check(hidden: Any, weight: Any, target: Any, bias: Any, class_weight: Any) -> None:
    if hidden.dim() < 1 or weight.dim() != 2 or hidden.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"weight: want shape (V, {hidden.shape[-1] if hidden.dim() else 'H'}), got {tuple(weight.shape)} "
            f"beside hidden {tuple(hidden.shape)}"
        )
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(f"target: want integer labels, got {target.dtype}")
    if target.shape != hidden.shape[:-1]:
        raise ValueError(f"target: want shape {tuple(hidden.shape[:-1])}, got {tuple(target.shape)}")
    for name, x, dtypes in ("weight", weight, True), ("bias", bias, True), ("class_weight", class_weight, False):
        if x is None:
            continue
        if name != "weight" and x.shape != weight.shape[:1]:
            raise ValueError(f"{name}: want shape ({weight.shape[0]},), got {tuple(x.shape)}")
        if dtypes and x.dtype != hidden.dtype:
            raise TypeError(f"{name}: want the dtype of hidden, {hidden.dtype}, got {x.dtype}")
        if x.device != hidden.device:
            raise ValueError(f"{name}: want the device of hidden, {hidden.device}, got {x.device}")
    if target.device != hidden.device:
        raise ValueError(f"target: want the device of hidden, {hidden.device}, got {target.device}")


@torch.library.custom_op("lmfast::linear_cross_entropy", mutates_args=())
def _linear_op(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    bias: torch.Tensor | None,
    class_weight: torch.Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float,
    logit_scale: float,
    on_bad_label: str,
    reduction: str,
    empty: str,
    budget_bytes: int,
    with_lse: bool,
    with_entropy: bool,
    with_correct: bool,
    early_hidden: bool,
    early_weight: bool,
    early_bias: bool,
) -> tuple[
    torch.Tensor,
    torch.Tensor,
    torch.Tensor,
    torch.Tensor,
    torch.Tensor,
    torch.Tensor,
    torch.Tensor,
    torch.Tensor,
    torch.Tensor,
]:
    """(loss, lse, logprob, entropy, correct, divisor, d_hidden, d_weight, d_bias), all but the gradients in float64.

    loss is [N] for "none"; lse to correct are [N], 0 where not asked for. divisor is 1 unless the reduction is "mean".
    The gradients are those of the loss, empty where not asked for.
    """
    options = Options(ignore_index, label_smoothing, z_loss, softcap, logit_scale, on_bad_label)
    head = Head(hidden, weight, target, bias, class_weight, options, budget_bytes)
    divisor = head.divisor() if reduction == "mean" else hidden.new_ones((), dtype=torch.float64)
    early = (early_hidden, early_weight, early_bias)
    # A mean over nothing has a gradient of 0, not 0 / 0.
    upstream = Upstream(scale=torch.where(divisor == 0, 0.0, 1.0 / divisor)) if any(early) else None
    asked = {"lse": with_lse, "entropy": with_entropy, "correct": with_correct}
    results = head.run(("loss", "logprob", *(name for name, on in asked.items() if on)), upstream, *early)
    loss = results.loss
    if reduction != "none":
        loss = loss.sum() / divisor
    if reduction == "mean" and empty == "zero":
        loss = torch.where(divisor == 0, 0.0, loss)
    gradients = (hidden.new_empty(0) if g is None else g for g in results[5:])
    return (loss, *results[1:5], divisor, *gradients)


@_linear_op.register_fake
def _(hidden: Any, weight: Any, target: Any, bias: Any, *words: Any) -> tuple[Any, ...]:
    reduction, early = words[7], words[-3:]
    n = target.shape[0]
    shapes = (n if reduction == "none" else (), n, n, n, n, ())
    results = [hidden.new_empty(shape, dtype=torch.float64) for shape in shapes]
    like = zip((hidden, weight, bias), early, strict=True)
    return (*results, *(torch.empty_like(x) if wanted else hidden.new_empty(0) for x, wanted in like))


@torch.library.custom_op("lmfast::linear_cross_entropy_backward", mutates_args=())
def _backward_op(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    bias: torch.Tensor | None,
    class_weight: torch.Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float,
    logit_scale: float,
    on_bad_label: str,
    budget_bytes: int,
    d_loss: torch.Tensor,
    d_lse: torch.Tensor | None,
    d_logprob: torch.Tensor | None,
    d_entropy: torch.Tensor | None,
    with_hidden: bool,
    with_weight: bool,
    with_bias: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(d_hidden, d_weight, d_bias) of sum(d_loss * loss + d_lse * lse + d_logprob * logprob + d_entropy * entropy), all
    of these float64 [N].
    """
    options = Options(ignore_index, label_smoothing, z_loss, softcap, logit_scale, on_bad_label)
    head = Head(hidden, weight, target, bias, class_weight, options, budget_bytes)
    upstream = Upstream(None, d_loss.contiguous(), d_lse, d_logprob, d_entropy)
    results = head.run((), upstream, with_hidden, with_weight, with_bias)
    return tuple(hidden.new_empty(0) if g is None else g for g in results[5:])


@_backward_op.register_fake
def _(hidden: Any, weight: Any, target: Any, bias: Any, *words: Any) -> tuple[Any, ...]:
    like = zip((hidden, weight, bias), words[-3:], strict=True)
    return tuple(torch.empty_like(x) if wanted else hidden.new_empty(0) for x, wanted in like)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    hidden, weight, target, bias, class_weight, *words = inputs
    ctx.words, ctx.reduction, ctx.budget, ctx.with_lse, ctx.with_entropy = words[:6], words[6], *words[8:11]
    ctx.asked = words[-3:]
    *_, correct, divisor, d_hidden, d_weight, d_bias = output
    gradients = (d_hidden, d_weight, d_bias)
    ctx.mark_non_differentiable(correct, divisor, *gradients)
    ctx.set_materialize_grads(False)
    traced = torch.compiler.is_compiling() or type(hidden) not in (torch.Tensor, torch.nn.Parameter)
    ctx.early = list(gradients) if any(ctx.asked) and not traced else None
    ctx.traced = any(ctx.asked) and traced
    ctx.save_for_backward(hidden, weight, target, bias, class_weight, divisor, *(gradients if ctx.traced else ()))


def _backward(ctx: Any, d_loss: Any, d_lse: Any, d_logprob: Any, d_entropy: Any, *_nothing: Any) -> tuple[Any, ...]:
    """Gradients that were made early are multiplied by the upstream one, once; else they are computed now."""
    hidden, weight, target, bias, class_weight, divisor, *saved = ctx.saved_tensors
    if all(d is None for d in (d_loss, d_lse, d_logprob, d_entropy)):
        return (None,) * 20
    early, ctx.early = ctx.early, None
    if (early or saved) and not torch.is_grad_enabled():
        found = [g * d_loss.to(g.dtype) for g in saved] if saved else _scaled(early, d_loss)
        found = [g if asked else None for g, asked in zip(found, ctx.asked, strict=True)]
        return found[0], found[1], None, found[2], *(None,) * 16
    if d_loss is None:
        d_loss = divisor.new_zeros(())
    if ctx.reduction != "none":
        d_loss = torch.where(divisor == 0, 0.0, d_loss / divisor).expand(target.shape[0])
    asked = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.needs_input_grad[3])
    given = (d_loss, d_lse if ctx.with_lse else None, d_logprob, d_entropy if ctx.with_entropy else None, *asked)
    given = (hidden, weight, target, bias, class_weight, *ctx.words, ctx.budget, *given)
    found = [g if on else None for g, on in zip(_backward_op(*given), asked, strict=True)]
    return found[0], found[1], None, found[2], *(None,) * 16


def _scaled(gradients: list[Any], by: Any) -> list[Any]:
    """In place, and not at all where the number is 1: on a GPU the device finds that out, so that nobody waits."""
    if by.is_cuda:
        for g in gradients:
            if g.numel() and str(g.dtype) in _device.SUFFIXES:
                _device.scale_gradient(g.view(-1, g.shape[-1]), by)
            elif g.numel():
                g.mul_(by)
    elif float(by) != 1.0:
        for g in gradients:
            g.mul_(float(by))
    return gradients


def _save_for_second(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, with_hidden, with_weight, with_bias = inputs
    ctx.asked = (with_hidden, with_weight, with_bias)
    ctx.words = tensors[5:11]
    ctx.save_for_backward(*tensors[:5], *tensors[12:16])
    ctx.set_materialize_grads(False)


def _second(ctx: Any, *d_gradients: Any) -> tuple[Any, ...]:
    """The second derivative, by the formula in torch operations, which holds the logits."""
    hidden, weight, target, bias, class_weight, *given = ctx.saved_tensors
    options = Options(*ctx.words)
    with torch.enable_grad():
        inputs = [None if x is None else x.detach().requires_grad_() for x in (hidden, weight, bias)]
        upstream = [None if d is None else d.detach().requires_grad_() for d in given]
        logits = torch.nn.functional.linear(inputs[0], inputs[1], inputs[2])
        found = formula(logits, target, class_weight, options)[:4]
        pairs = [(value, d) for value, d in zip(found, upstream, strict=True) if d is not None]
        by = [x for x, on in zip(inputs, ctx.asked, strict=True) if on]
        first = torch.autograd.grad([v for v, _ in pairs], by, [d for _, d in pairs], create_graph=True)
        above = [d for d, on in zip(d_gradients, ctx.asked, strict=True) if on]
        chosen = [(g, d) for g, d in zip(first, above, strict=True) if d is not None]
        asked = [x for x in (*inputs, *upstream) if x is not None]
        if not chosen:
            return (None,) * 19
        seconds = torch.autograd.grad([g for g, _ in chosen], asked, [d for _, d in chosen], allow_unused=True)
    it = iter(seconds)
    h, w, b, *up = (None if x is None else next(it) for x in (*inputs, *upstream))
    return h, w, None, b, None, *(None,) * 7, *up, None, None, None


_linear_op.register_autograd(_backward, setup_context=_save)
_backward_op.register_autograd(_second, setup_context=_save_for_second)
