"""Softmax and log-softmax, their gradients and the explicit Jacobian, and the loss of log-probabilities.

Tensors or numpy arrays in, the same kind out, in the dtype they came in: float32, float64, bfloat16, float16. Along an
axis that is not the last, or whose elements do not lie side by side, a copy is made. Tensors are differentiable, twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lmfast.loss import _loss
from lmfast.loss.rows import is_tensor, memory_of, n_threads_for
from lmfast.loss.shapes import to_rows

__all__ = ["log_softmax", "log_softmax_backward", "nll_loss", "softmax", "softmax_backward", "softmax_jacobian"]


def softmax(x: Any, dim: int = -1) -> Any:
    """exp(x) / sum(exp(x)) along `dim`: each value to 2e-6 of itself, or rounded once in 16 bits.

    A row with a NaN, with +inf or of nothing but -inf is NaN, as in torch.
    """
    return _apply(x, dim, log=False)


def log_softmax(x: Any, dim: int = -1) -> Any:
    """X - log(sum(exp(x))) along `dim`, to the larger of 1e-6 and 2 ulp, or rounded once in 16 bits."""
    return _apply(x, dim, log=True)


def softmax_backward(grad: Any, output: Any, dim: int = -1) -> Any:
    """The gradient by x, output * (grad - sum(grad * output)), of what has `grad` by `output` = softmax(x)."""
    return _backward(grad, output, dim, log=False)


def log_softmax_backward(grad: Any, output: Any, dim: int = -1) -> Any:
    """The gradient by x, grad - exp(output) * sum(grad), of what has `grad` by `output` = log_softmax(x)."""
    return _backward(grad, output, dim, log=True)


def softmax_jacobian(x: Any, dim: int = -1) -> Any:
    """The matrix d softmax(x)[i] / d x[j] = p[i] * ((i == j) - p[j]) of each row: `dim` becomes two axes at the end.

    x [..., C] gives [..., C, C]: for learning and for small C. `softmax_backward` multiplies by it without making it.
    """
    if is_tensor(x):
        p = softmax(x.movedim(dim, -1))
        return p.diag_embed() - p[..., :, None] * p[..., None, :]
    p = softmax(np.moveaxis(np.asarray(x), dim, -1))
    return p[..., :, None] * (np.eye(p.shape[-1], dtype=p.dtype) - p[..., None, :])


def nll_loss(logprobs: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """-logprobs[label], weighted and reduced as `torch.nn.functional.nll_loss` does.

    logprobs [C], [N, C] or [N, C, d1, ...]; target of that shape without C. IndexError for a label out of range.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction = {reduction!r}: allowed are mean, sum, none")
    axis = 1 if logprobs.ndim > 1 else 0
    n_classes = logprobs.shape[axis]
    want = tuple(logprobs.shape[:axis] + logprobs.shape[axis + 1 :])
    if tuple(target.shape) != want:
        raise ValueError(f"target: want shape {want}, got {tuple(target.shape)}")
    _check_labels(target, n_classes, ignore_index)
    if is_tensor(logprobs):
        import torch

        return torch.nn.functional.nll_loss(
            logprobs, target.long(), weight, ignore_index=ignore_index, reduction=reduction
        )
    valid = target != ignore_index
    label = np.where(valid, target, 0).astype(np.int64)
    own = np.take_along_axis(logprobs, np.expand_dims(label, axis), axis).squeeze(axis)
    weights = np.where(valid, 1.0 if weight is None else np.asarray(weight)[label], 0.0)
    losses = np.where(valid, -own * weights, 0.0)
    if reduction == "none":
        return losses.astype(logprobs.dtype)
    total = losses.sum(dtype=np.float64)
    if reduction == "mean":
        divisor = weights.sum(dtype=np.float64)
        total = total / divisor if divisor else np.float64(np.nan)
    return logprobs.dtype.type(total)


def _check_labels(target: Any, n_classes: int, ignore_index: int) -> None:
    bad = ((target < 0) | (target >= n_classes)) & (target != ignore_index)
    if not bad.any():
        return
    flat, bad = target.reshape(-1), bad.reshape(-1)
    at = int(bad.nonzero()[0][0])
    label = int(flat[at])
    raise IndexError(f"target[{at}] = {label} is outside [0, {n_classes}) and is not ignore_index = {ignore_index}")


def _apply(x: Any, dim: int, log: bool) -> Any:
    if not is_tensor(x):
        return _run(np.asarray(x), None, dim, log)
    from lmfast.loss import autograd_softmax

    return autograd_softmax.apply(x, dim, log)


def _backward(grad: Any, output: Any, dim: int, log: bool) -> Any:
    if grad.shape != output.shape or grad.dtype != output.dtype:
        want = f"{tuple(output.shape)} of {output.dtype}"
        raise ValueError(f"grad: want shape {want}, got {tuple(grad.shape)} of {grad.dtype}")
    if not is_tensor(grad):
        return _run(np.asarray(output), np.asarray(grad), dim, log)
    from lmfast.loss import autograd_softmax

    return autograd_softmax.backward(grad, output, dim, log)


def _run(x: Any, grad: Any, dim: int, log: bool) -> Any:
    """The kernel, on tensors or arrays: forward, or backward of the output `x` where there is a `grad`."""
    tensors = is_tensor(x)
    axis = dim + x.ndim if dim < 0 else dim
    if not 0 <= axis < max(x.ndim, 1):
        raise ValueError(f"dim = {dim}: allowed is {-x.ndim} to {x.ndim - 1}")
    if x.ndim == 0:
        return _run(x.reshape(1), None if grad is None else grad.reshape(1), 0, log).reshape(())
    rows = _side_by_side(to_rows(x, axis))
    grad_rows = None if grad is None else _side_by_side(to_rows(grad, axis))
    if tensors:
        from lmfast.loss.autograd import new_like

        out = new_like(rows) if rows.is_contiguous() else rows.new_empty(rows.shape)
    else:
        out = np.empty(rows.shape, rows.dtype)
    data, dtype = memory_of(rows)
    _loss.softmax(
        data,
        dtype,
        memory_of(out)[0],
        None if grad_rows is None else memory_of(grad_rows)[0],
        log,
        n_threads_for(rows, data.nbytes),
    )
    shape = tuple(x.shape)
    out = out.reshape(shape[:axis] + shape[axis + 1 :] + shape[axis : axis + 1])
    return out.movedim(-1, axis) if tensors else np.moveaxis(out, -1, axis)


def _side_by_side(rows: Any) -> Any:
    if is_tensor(rows):
        return rows if rows.shape[-1] < 2 or rows.stride(-1) == 1 else rows.contiguous()
    good = rows.flags.aligned and (rows.shape[1] < 2 or rows.strides[1] == rows.itemsize) and rows.dtype.isnative
    good = good and rows.strides[0] % rows.itemsize == 0
    return rows if good else np.array(rows, rows.dtype.newbyteorder("="), order="C")
