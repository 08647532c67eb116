"""Perplexity: of logits, of log-probabilities, and of a long text under a model that sees a window of it.

Perplexity is exp of the mean negative log-likelihood of the tokens in nats, which is 2 to the mean in bits: the number
of equally likely tokens among which the model would have to guess as badly.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lmfast.loss.rows import is_tensor

__all__ = ["TextPerplexity", "bits_per_byte", "perplexity", "perplexity_from_logprobs", "perplexity_of_text"]


class TextPerplexity(NamedTuple):
    """What `perplexity_of_text` found.

    perplexity   exp(nll / n_tokens)
    nll          the sum of the negative log-likelihoods of the scored tokens, in nats; for `bits_per_byte`
    n_tokens     how many tokens were scored: all but the first
    """

    perplexity: float
    nll: float
    n_tokens: int


def perplexity(logits: Any, target: Any, ignore_index: int = -100, **options: Any) -> Any:
    """The perplexity of logits and labels: shapes, types and options are those of `lmfast.loss.cross_entropy`.

    >>> perplexity(np.zeros((3, 50)), np.array([7, 0, -100])).round(9).item()
    50.0
    """
    from lmfast.loss import cross_entropy

    nats = cross_entropy(logits, target, ignore_index=ignore_index, **options)
    return nats.exp() if is_tensor(nats) else np.exp(nats)


def perplexity_from_logprobs(logprobs: Any, mask: Any = None, base: float = math.e) -> Any:
    """Perplexity from the log-probabilities of the tokens, in logarithms to `base`; `mask` says which of them count.

    >>> perplexity_from_logprobs([-1.0, -3.0], base=2).item()
    4.0
    """
    if not (0 < base < math.inf) or base == 1:
        raise ValueError(f"base = {base}: a positive number other than 1 is allowed")
    tensor = is_tensor(logprobs)
    if not tensor:
        logprobs = np.asarray(logprobs)
        logprobs = logprobs.astype(np.float64 if logprobs.dtype.itemsize > 4 else np.float32, copy=False)
    elif logprobs.element_size() < 4:
        logprobs = logprobs.float()
    if mask is None:
        mean = logprobs.mean()
    else:
        mask = mask.to(bool) if is_tensor(mask) else np.asarray(mask, bool)
        if tuple(mask.shape) != tuple(logprobs.shape):
            raise ValueError(f"mask: want shape {tuple(logprobs.shape)}, got {tuple(mask.shape)}")
        where = sys.modules["torch"].where if tensor else np.where
        mean = where(mask, logprobs, 0.0).sum() / mask.sum()
    nats = -mean * math.log(base)
    return nats.exp() if tensor else np.exp(nats)


def bits_per_byte(nll: Any, n_bytes: int, base: float = math.e) -> Any:
    """The bits that a model spends on each byte of a text: comparable between models whatever their tokens are.

    nll       the sum of the negative log-likelihoods of the text's tokens, in logarithms to `base`
    n_bytes   how long the text is in UTF-8

    >>> round(bits_per_byte(100 * math.log(2), 50), 9)
    2.0
    """
    if n_bytes < 1:
        raise ValueError(f"n_bytes = {n_bytes}: at least 1 is allowed")
    return nll * (math.log(base) / math.log(2)) / n_bytes


def perplexity_of_text(
    model: Callable[[Any], Any], ids: Any, *, max_length: int, stride: int | None = None
) -> TextPerplexity:
    """The perplexity of a text that is longer than what the model sees: windows of `max_length` tokens, `stride` apart.

    model        takes ids [1, L], an array or tensor as `ids` is, and gives logits [1, L, V], or an object with
                 `.logits` as the models of Hugging Face do. Logits at i are about token i + 1
    ids          [T] or [1, T], at least two tokens
    max_length   the longest window
    stride       how many new tokens each window scores, below `max_length`; the others are their context. By default
                 half of `max_length`. Smaller is slower and closer to what the model could do

    This is the recipe of Hugging Face's documentation with each token weighted exactly once: every token but the first
    is scored, each in the first window that contains it. (The recipe counts a token too few in each window after the
    first.)

    >>> uniform = lambda ids: np.zeros((*ids.shape, 50))
    >>> result = perplexity_of_text(uniform, np.arange(40), max_length=16)
    >>> round(result.perplexity, 9), result.n_tokens
    (50.0, 39)
    """
    from lmfast.loss import cross_entropy

    ids = ids if is_tensor(ids) else np.asarray(ids)
    if ids.ndim not in (1, 2) or (ids.ndim == 2 and ids.shape[0] != 1) or ids.shape[-1] < 2:
        raise ValueError(f"ids: want shape (T,) or (1, T) with T at least 2, got {tuple(ids.shape)}")
    if max_length < 2:
        raise ValueError(f"max_length = {max_length}: at least 2 is allowed")
    stride = max_length // 2 if stride is None else stride
    if not 1 <= stride < max_length:
        raise ValueError(f"stride = {stride}: allowed is 1 to {max_length - 1}, so that each token has a context")
    ids = ids.reshape(-1)
    n, nll, scored_to = ids.shape[0], 0.0, 1
    for begin in range(0, n, stride):
        end = min(begin + max_length, n)
        window = ids[begin:end]
        logits = model(window[None])
        logits = getattr(logits, "logits", logits)
        if logits.ndim != 3 or tuple(logits.shape[:2]) != (1, end - begin):
            raise ValueError(f"model: want logits of shape (1, {end - begin}, V), got {tuple(logits.shape)}")
        about = logits[0, scored_to - begin - 1 : end - begin - 1]  # the logits before the tokens that are new
        nll += float(cross_entropy(about, ids[scored_to:end], ignore_index=-(2**62), reduction="sum"))
        scored_to = end
        if end == n:
            break
    return TextPerplexity(math.exp(nll / (n - 1)) if nll / (n - 1) < 700 else math.inf, nll, n - 1)
