"""Information, entropy and the distances between distributions, for numpy arrays and torch tensors alike.

Array in, array out; tensors are differentiable. Everything is in bits unless `base` says otherwise: with `base=math.e`
in nats. `p` and `q` hold probabilities along `dim`. By the usual convention 0 * log(0) is 0, and its gradient too. What
is narrower than float32 is computed, and returned, in float32; integers in float64.

    information  I(x)    = -log p(x)                     how surprising one outcome is
    entropy      H(p)    = sum p I_p                     how surprising p is on average
    cross-       H(p, q) = sum p I_q                     the same to somebody who believes in q
    divergence   KL(p|q) = H(p, q) - H(p)                what believing in q costs
                 JS(p,q) = (KL(p|m) + KL(q|m)) / 2       of the middle m = (p + q) / 2: symmetric, at most one bit
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from lmfast.loss.rows import is_tensor

__all__ = ["cross_entropy_of", "entropy", "information", "js_div", "kl_div"]


def information(p: Any, base: float = 2.0) -> Any:
    """-log(p) of each probability: infinite at 0.

    >>> information(0.125).item()
    3.0
    """
    (p,) = _probabilities(base, p=p)
    return _scaled(-_log(p), base)


def entropy(p: Any = None, base: float = 2.0, dim: int = -1, *, logits: Any = None) -> Any:
    """The entropy of the distributions `p`, or of softmax(logits), along `dim`.

    From logits nothing is rounded to probabilities first; each row is read once.

    >>> entropy([0.5, 0.25, 0.25]).item()
    1.5
    >>> round(entropy(logits=np.zeros(8)).item(), 6)
    3.0
    """
    if (p is None) == (logits is None):
        raise TypeError("want either p or logits")
    if p is not None:
        (p,) = _probabilities(base, p=p)
        return _scaled(-(p * _log_where(p, p)).sum(dim), base)
    from lmfast.loss import cross_entropy

    _check_base(base)
    if not is_tensor(logits):
        logits = np.asarray(logits)
        logits = logits if logits.dtype.kind == "f" else logits.astype(np.float64)
        rows, labels = np.moveaxis(logits, dim, -1), np.zeros
    else:
        rows, labels = logits.movedim(dim, -1), logits.new_zeros
    no_labels = labels(rows.shape[:-1], dtype=sys.modules["torch"].int64 if is_tensor(logits) else np.int64)
    nats = cross_entropy(rows, no_labels, dim=-1, reduction="none", return_entropy=True).entropy
    return _scaled(nats, base)


def cross_entropy_of(p: Any, q: Any, base: float = 2.0, dim: int = -1) -> Any:
    """-sum(p * log(q)) along `dim`: of two distributions, where `cross_entropy` is of labels and logits.

    >>> cross_entropy_of([0.5, 0.5], [0.25, 0.75]).round(4).item()
    1.2075
    """
    p, q = _probabilities(base, p=p, q=q)
    return _scaled(-(p * _log_where(p, q)).sum(dim), base)


def kl_div(p: Any, q: Any, base: float = 2.0, dim: int = -1) -> Any:
    """KL(p | q) = sum(p * log(p / q)) along `dim`: 0 where the two are equal, infinite where q is 0 and p is not.

    >>> kl_div([0.5, 0.5], [0.25, 0.75]).round(4).item()
    0.2075
    """
    p, q = _probabilities(base, p=p, q=q)
    return _scaled((p * (_log_where(p, p) - _log_where(p, q))).sum(dim), base)


def js_div(p: Any, q: Any, base: float = 2.0, dim: int = -1) -> Any:
    """The Jensen-Shannon divergence along `dim`: symmetric, 0 to 1 bit; its square root is a metric.

    >>> js_div([1.0, 0.0], [0.0, 1.0]).item()
    1.0
    """
    p, q = _probabilities(base, p=p, q=q)
    middle = (p + q) / 2
    return (kl_div(p, middle, base, dim) + kl_div(q, middle, base, dim)) / 2


def _check_base(base: float) -> None:
    if not (0 < base < math.inf) or base == 1:
        raise ValueError(
            f"base = {base}: a positive number other than 1 is allowed, such as 2 for bits, math.e for nats"
        )


def _scaled(nats: Any, base: float) -> Any:
    return nats if base == math.e else nats / math.log(base)


def _probabilities(base: float, **given: Any) -> list[Any]:
    """Arrays or tensors in float32 or better; ValueError for a negative number where it can be seen without waiting."""
    _check_base(base)
    found = []
    tensors = any(is_tensor(x) for x in given.values())
    for name, x in given.items():
        if tensors:
            torch = sys.modules["torch"]
            x = torch.as_tensor(x)
            wide = torch.float64 if x.dtype == torch.float64 or not x.is_floating_point() else torch.float32
            x = x.to(wide)
            visible = x.device.type == "cpu" and not torch.compiler.is_compiling()
        else:
            x = np.asarray(x)
            x = x.astype(np.float32 if x.dtype == np.float32 or x.dtype.itemsize < 4 else np.float64, copy=False)
            visible = True
        if visible and bool((x < 0).any()):
            raise ValueError(f"{name}: want probabilities, got {x.min().item()}")
        found.append(x)
    return found


def _log(x: Any) -> Any:
    if is_tensor(x):
        return x.log()
    with np.errstate(divide="ignore"):
        return np.log(x)


def _log_where(p: Any, x: Any) -> Any:
    """log(x) where p is not 0, else 0, so that the product of the two and its gradient are 0 there whatever x is."""
    if is_tensor(p):
        return _log(sys.modules["torch"].where(p == 0, 1.0, x))
    return _log(np.where(p == 0, x.dtype.type(1), x))
