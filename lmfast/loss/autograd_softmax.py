"""Softmax of tensors: the kernels with autograd about them. What is traced or not on the CPU is torch's own."""

from __future__ import annotations

from typing import Any

import torch

from lmfast.loss.autograd import is_plain
from lmfast.loss.softmax import _run

__all__ = ["apply", "backward"]


def apply(x: Any, dim: int, log: bool) -> Any:
    """Softmax or log-softmax along `dim`."""
    if not is_plain(x):
        return torch.log_softmax(x, dim) if log else torch.softmax(x, dim)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return _run(x, None, dim, log)
    return _Softmax.apply(x, dim, log)


def backward(grad: Any, output: Any, dim: int, log: bool) -> Any:
    """The gradient by the input; differentiable where that is needed, then in torch operations."""
    traced = not (is_plain(grad) and is_plain(output))
    if traced or (torch.is_grad_enabled() and (grad.requires_grad or output.requires_grad)):
        if log:
            return grad - output.exp() * grad.sum(dim, keepdim=True)
        return output * (grad - (grad * output).sum(dim, keepdim=True))
    return _run(output, grad, dim, log)


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, dim: int, log: bool) -> Any:
        output = _run(x.detach(), None, dim, log)
        ctx.save_for_backward(output)
        ctx.dim, ctx.log = dim, log
        return output

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (output,) = ctx.saved_tensors
        return backward(grad, output, ctx.dim, ctx.log), None, None
