"""Cross-entropy of CUDA tensors: what the operators of autograd.py do there, and the fused way with a scalar loss.

`rows` and `rows_backward` have the signatures of `lmfast::cross_entropy_rows` and `..._backward`. What the kernels do
not take (float64, soft targets) is computed by the formula in torch operations. `fused_loss` makes the gradient in the
forward pass, with the divisor of the mean left on the device, and the backward pass multiplies it by the upstream
gradient only where that is not 1, which the device finds out by itself: nothing here waits.
"""

from __future__ import annotations

from typing import Any

import torch

from lmfast.loss import _device
from lmfast.loss.rows import Options

__all__ = ["fused_loss", "rows", "rows_backward"]


def rows(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, *words: Any
) -> tuple[torch.Tensor, ...]:
    """(loss, lse, logprob, entropy, correct) of each row, float64 [N], correct uint8; entropy [0] if not asked."""
    *options, with_entropy = words
    if not _takes(logits, target):
        from lmfast.loss.autograd import formula

        found = formula(logits, target, weight, Options(*options))
        return (*found[:3], found[3] if with_entropy else found[3][:0], found[4])
    want = ("loss", "lse", "logprob", "correct", *(("entropy",) if with_entropy else ()))
    got = _device.rows(_columns(logits), target, weight, **_named(options), want=want)
    each = [got[name].double() for name in ("loss", "lse", "logprob")]
    entropy = got["entropy"].double() if with_entropy else each[0].new_empty(0)
    return (*each, entropy, got["correct"].to(torch.uint8))


def rows_backward(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, *words: Any) -> torch.Tensor:
    """The gradient of sum(d_loss * loss + d_lse * lse + d_logprob * logprob + d_entropy * entropy) by the logits."""
    *options, d_loss, d_lse, d_logprob, d_entropy = words
    if not _takes(logits, target):
        return _formula_backward(logits, target, weight, Options(*options), (d_loss, d_lse, d_logprob, d_entropy))
    gradient = torch.empty_like(logits) if logits.is_contiguous() else logits.new_empty(logits.shape)
    given = {"row_scale": d_loss, "d_lse": d_lse, "d_logprob": d_logprob, "d_entropy": d_entropy}
    _device.rows(_columns(logits), target, weight, **_named(options), want=(), gradient=gradient, **given)
    return gradient


def fused_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: Options,
    reduction: str,
    empty: str,
    inplace: bool,
) -> torch.Tensor:
    """The mean or sum of the losses of rows [N, V] with labels, float32 []; their gradient is made at the same time."""
    loss: torch.Tensor = _Fused.apply(logits, target, weight, options, reduction, empty, inplace)
    return loss


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        options: Options,
        reduction: str,
        empty: str,
        inplace: bool,
    ) -> torch.Tensor:
        words = _named(_words(options))
        about_labels = {name: words[name] for name in ("ignore_index", "on_bad_label")}
        divisor = _device.divisor(target, logits.shape[1], weight, **about_labels) if reduction == "mean" else None
        ctx.gradient = logits.detach() if inplace else _device.empty_gradient(logits)
        ctx.words, ctx.inplace = _words(options), inplace
        if inplace:
            torch.autograd.graph.increment_version(logits)
        ctx.save_for_backward(target, weight, divisor, *(() if inplace else (logits,)))
        loss = _device.rows(logits, target, weight, **words, gradient=ctx.gradient, divisor=divisor)["loss"]
        total = loss.double().sum()
        if divisor is not None:
            nothing = total.new_full((), float("nan") if empty == "nan" else 0.0)
            total = torch.where(divisor == 0, nothing, total / divisor)
        return total.float()

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is not None and not torch.is_grad_enabled():
            _device.scale_gradient(gradient, upstream)
            return gradient, *(None,) * 6
        if ctx.inplace:
            raise RuntimeError(
                "cross_entropy(inplace=True): the logits are gone; neither a second backward pass nor a "
                "second derivative is possible"
            )
        from lmfast.loss.autograd import _backward_op

        target, weight, divisor, logits = ctx.saved_tensors
        by = upstream.double() if divisor is None else torch.where(divisor == 0, 0.0, upstream.double() / divisor)
        d_loss = by.expand(logits.shape[0])
        return _backward_op(logits, target, weight, *ctx.words, d_loss, None, None, None), *(None,) * 6


def _takes(logits: torch.Tensor, target: torch.Tensor) -> bool:
    return str(logits.dtype) in _device.SUFFIXES and target.dim() == 1


def _columns(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.stride(-1) == 1 or logits.shape[-1] < 2 else logits.contiguous()


def _words(options: Options) -> tuple[Any, ...]:
    return tuple(getattr(options, name) for name in OPTIONS)


def _named(words: Any) -> dict[str, Any]:
    return dict(zip(OPTIONS, words, strict=True))


OPTIONS = ("ignore_index", "label_smoothing", "z_loss", "softcap", "logit_scale", "on_bad_label")


def _formula_backward(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, options: Options, given: tuple[Any, ...]
) -> torch.Tensor:
    from lmfast.loss.autograd import formula

    with torch.enable_grad():
        x = logits.detach().requires_grad_()
        pairs = [(v, d) for v, d in zip(formula(x, target, weight, options), given, strict=False) if d is not None]
        (gradient,) = torch.autograd.grad([v for v, _ in pairs], x, [d.to(v.dtype) for v, d in pairs])
    return gradient
