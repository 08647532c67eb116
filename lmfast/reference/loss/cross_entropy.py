"""Cross-entropy of rows of logits, row by row in float64: the formulas of csrc/loss/cross_entropy.h as read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "cross_entropy", "cross_entropy_rows", "log_softmax", "softmax"]

Array = NDArray[np.float64]


class Rows(NamedTuple):
    """What is known of each row. Arrays of shape [N], the gradient [N, V]."""

    loss: Array
    lse: Array
    logprob: Array
    entropy: Array
    correct: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    weight: Array
    gradient: Array


def log_softmax(z: Array) -> Array:
    """log(exp(z) / sum(exp(z))) along the last axis, with every digit where a probability is nearly 1.

    The largest logit is left out of the sum, so that log(1 + others) is log1p(others).
    """
    z = np.asarray(z, np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        top = z.argmax(-1)[..., None]
        d = z - np.take_along_axis(z, top, -1)
        others = np.exp(d)
        np.put_along_axis(others, top, 0.0, -1)
        others[np.isnan(z).any(-1)] = np.nan
        others[np.isinf(np.take_along_axis(z, top, -1)[..., 0])] = np.nan
        result: Array = d - np.log1p(others.sum(-1, keepdims=True))
        return result


def softmax(z: Array) -> Array:
    """exp(z) / sum(exp(z)) along the last axis."""
    return np.exp(log_softmax(z))


def cross_entropy_rows(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    *,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    logit_scale: float = 1.0,
    scale: Any = 1.0,
    d_lse: Any = 0.0,
    d_logprob: Any = 0.0,
    d_entropy: Any = 0.0,
) -> Rows:
    """Rows [N, V] of logits against labels [N] or distributions [N, V].

    The gradient is that of sum(scale * loss + d_lse * lse + d_logprob * logprob + d_entropy * entropy) by the
    logits. A label that is neither
    a class nor `ignore_index` raises IndexError.
    """
    x = np.asarray(logits, np.float64)
    n, v = x.shape
    w = np.ones(v) if weight is None else np.asarray(weight, np.float64)
    target = np.asarray(target)
    soft = target.ndim == 2
    columns = {"loss": np.zeros(n), "lse": np.zeros(n), "logprob": np.zeros(n), "entropy": np.zeros(n)}
    correct, valid, weights = np.zeros(n, bool), np.ones(n, bool), np.ones(n)
    gradient = np.zeros((n, v))
    asked = (scale, d_lse, d_logprob, d_entropy)
    scale, d_lse, d_logprob, d_entropy = (np.broadcast_to(np.asarray(a, np.float64), (n,)) for a in asked)
    for i in range(n):
        tanh = np.tanh(x[i] / softcap) if softcap else np.zeros(v)
        z = logit_scale * (softcap * tanh if softcap else x[i])
        dz = logit_scale * (1.0 - tanh**2)
        logp = log_softmax(z)
        p = np.exp(logp)
        top = z.max()
        with np.errstate(invalid="ignore"):
            lse = top + np.log(np.exp(z - top).sum()) if np.isfinite(top) else top if top < 0 else np.nan
        inner = np.where(p > 0, p * logp, 0.0)
        entropy = -inner.sum() if np.isfinite(p).all() else np.nan

        want = np.zeros(v)  # the loss is sum(want * -logp)
        label = None
        if soft:
            want = w * ((1 - label_smoothing) * target[i].astype(np.float64) + label_smoothing / v)
        elif target[i] == ignore_index:
            valid[i], weights[i] = False, 0.0
        elif not 0 <= target[i] < v:
            raise IndexError(f"target[{i}] = {target[i]} is outside [0, {v}) and is not ignore_index = {ignore_index}")
        else:
            label = int(target[i])
            want = w * (label_smoothing / v)
            want[label] += w[label] * (1 - label_smoothing)
            weights[i] = w[label]
            columns["logprob"][i] = logp[label]
            correct[i] = bool(np.argmax(z) == label) and not np.isnan(p).any()
        columns["lse"][i], columns["entropy"][i] = lse, entropy
        if valid[i]:
            penalty = z_loss * lse**2 if z_loss else 0.0
            columns["loss"][i] = -np.where(want != 0, want * logp, 0.0).sum() + penalty
            if np.isnan(p).any():
                columns["loss"][i] = np.nan
            total = want.sum()
            g = total * p - want
            if label is not None:  # total * p - want[label] at the label, from what the others have of p
                others = np.delete(p, label).sum()
                g[label] = (total - want[label]) * p[label] - want[label] * others
            g = scale[i] * (g + (2 * z_loss * lse * p if z_loss else 0.0))
        else:
            g = np.zeros(v)
        g = g + (d_lse[i] * p if d_lse[i] else 0.0)
        if d_logprob[i] and label is not None:
            g = g - d_logprob[i] * p
            g[label] += d_logprob[i]
        if d_entropy[i]:
            g = g - d_entropy[i] * np.where(p > 0, p * (logp + entropy), 0.0)
        gradient[i] = g * dz if valid[i] or d_lse[i] or d_entropy[i] else 0.0
    return Rows(**columns, correct=correct, valid=valid, weight=weights, gradient=gradient)


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    logit_scale: float = 1.0,
    empty: str = "nan",
) -> tuple[Any, Array]:
    """The loss of rows [N, V], reduced as `torch.nn.functional.cross_entropy` does, and its gradient [N, V]."""
    options: dict[str, Any] = {"z_loss": z_loss, "softcap": softcap, "logit_scale": logit_scale}
    rows = cross_entropy_rows(logits, target, weight, ignore_index, label_smoothing, **options)
    if reduction == "none":
        return rows.loss, rows.gradient
    if reduction == "sum":
        return rows.loss.sum(), rows.gradient
    if not rows.valid.any():
        return np.float64(np.nan if empty == "nan" else 0.0), np.zeros_like(rows.gradient)
    divisor = rows.weight.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        return rows.loss.sum() / divisor, rows.gradient / divisor
