"""Information, entropy, divergences, perplexity and n-gram models, one number at a time in plain Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "cross_entropy_of",
    "entropy",
    "information",
    "js_div",
    "kl_div",
    "ngram_probability",
    "perplexity_from_logprobs",
    "perplexity_of_text",
]


def information(p: float, base: float = 2.0) -> float:
    """-log(p)."""
    return math.inf if p == 0 else -math.log(p) / math.log(base)


def entropy(p: Sequence[float], base: float = 2.0) -> float:
    """Sum of p * information(p), where 0 * inf is 0."""
    return math.fsum(x * information(x, base) for x in p if x > 0)


def cross_entropy_of(p: Sequence[float], q: Sequence[float], base: float = 2.0) -> float:
    """Sum of p * information(q)."""
    return math.fsum(x * information(y, base) for x, y in zip(p, q, strict=True) if x > 0)


def kl_div(p: Sequence[float], q: Sequence[float], base: float = 2.0) -> float:
    """Sum of p * log(p / q)."""
    return math.fsum(x * (information(y, base) - information(x, base)) for x, y in zip(p, q, strict=True) if x > 0)


def js_div(p: Sequence[float], q: Sequence[float], base: float = 2.0) -> float:
    """Half of the divergences of both from their middle."""
    middle = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    return (kl_div(p, middle, base) + kl_div(q, middle, base)) / 2


def perplexity_from_logprobs(logprobs: Sequence[float]) -> float:
    """The exponential of minus the mean."""
    return math.exp(-math.fsum(logprobs) / len(logprobs))


def perplexity_of_text(
    log_probability: Callable[[Sequence[int], int], float], ids: Sequence[int], max_length: int, stride: int
) -> float:
    """Each token but the first in the first window [k * stride, k * stride + max_length) that holds it.

    log_probability(context, token) is the model's, in nats.
    """
    found = []
    for at in range(1, len(ids)):
        begin = next(b for b in range(0, len(ids), stride) if at < b + max_length)
        found.append(log_probability(ids[begin:at], ids[at]))
    return perplexity_from_logprobs(found)


def ngram_probability(
    texts: Sequence[Sequence[int]],
    context: Sequence[int],
    token: int,
    n: int,
    vocab_size: int,
    *,
    smoothing: str,
    k: float = 1.0,
    weight: float = 0.5,
    discount: float = 0.75,
) -> float:
    """P(token | context) by the formulas of `lmfast.loss.NGramModel`, counting everything anew."""
    marks = [-1] * (n - 1)
    counts: Counter[tuple[int, ...]] = Counter()
    for text in texts:
        ids = [*marks, *text]
        for end in range(n - 1, len(ids)):
            for order in range(1, n + 1):
                counts[tuple(ids[end - order + 1 : end + 1])] += 1

    def probability(h: tuple[int, ...], w: int) -> float:
        seen: dict[int, int] = {t: c for t in range(vocab_size) if (c := counts.get((*h, t), 0))}
        total, c = sum(seen.values()), counts.get((*h, w), 0)
        if smoothing == "mle":
            return c / total if total else 0.0
        if smoothing == "add_k":
            return (c + k) / (total + k * vocab_size)

        def lower(t: int) -> float:
            return probability(h[1:], t) if h else 1.0 / vocab_size

        if not total:
            return lower(w)
        if smoothing == "interpolation":
            return weight * c / total + (1 - weight) * lower(w)
        if len(seen) == vocab_size:
            return c / total
        if c:
            return (c - discount) / total
        held_back = discount * len(seen) / total
        return held_back * lower(w) / math.fsum(lower(t) for t in range(vocab_size) if t not in seen)

    given: Any = [*marks, *context]
    return probability(tuple(given[len(given) - (n - 1) :]), token)
