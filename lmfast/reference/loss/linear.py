"""The loss of a language model's head, in float64: a matrix product and the cross-entropy of its rows, written out."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmfast.reference.loss.cross_entropy import Array, cross_entropy

__all__ = ["linear_cross_entropy"]


def linear_cross_entropy(
    hidden: Any,
    weight: Any,
    target: Any,
    bias: Any = None,
    class_weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    **options: Any,
) -> tuple[Any, Array, Array, Array]:
    """(loss, d_hidden, d_weight, d_bias) of hidden [N, H], weight [V, H], labels [N], bias [V]; options as in
    `cross_entropy`.

    With reduction "none" the gradients are those of the sum of the losses.
    """
    hidden, weight = np.asarray(hidden, np.float64), np.asarray(weight, np.float64)
    logits = hidden @ weight.T + (0.0 if bias is None else np.asarray(bias, np.float64))
    loss, gradient = cross_entropy(logits, target, class_weight, ignore_index, reduction, label_smoothing, **options)
    return loss, gradient @ weight, gradient.T @ hidden, gradient.sum(0)
