"""N-gram language models from counts, with the smoothings of a course: the baseline of every neural model.

Counts are kept as a tree in sorted arrays, so that fitting and scoring are a few numpy calls for each order: level m
holds the m-grams that were seen, each as (place of its first m - 1 tokens in level m - 1) * (V + 1) + its last token.
Nothing overflows, however large the vocabulary and n are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["NGramModel"]

SMOOTHINGS = ("mle", "add_k", "interpolation", "backoff")

Ids = NDArray[np.int64]


class _Level(NamedTuple):
    """The m-grams of the texts and their marks, sorted. One that ends in a mark is only a context: its count is 0."""

    keys: Ids
    grams: Ids  # [n, m]
    counts: Ids


class _Contexts(NamedTuple):
    """Of each (m - 1)-gram: how many tokens followed it, how many different ones; for "backoff" what it holds back."""

    followers: Ids
    kinds: Ids
    discount: NDArray[np.float64]  # 0 where every token followed: nothing is left to give to
    share: NDArray[np.float64]  # by which the lower order is multiplied for the tokens that did not follow


class NGramModel:
    """P(token | the n - 1 before it), estimated from counts. Before a text stand n - 1 marks that no text contains.

    n            the order: 1 for unigrams, 2 for bigrams ...
    vocab_size   V; ids are 0 to V - 1
    smoothing    "mle"            c(h w) / c(h): 0 for what was never seen, and the perplexity infinite
                 "add_k"          (c(h w) + k) / (c(h) + k V); k = 1 is Laplace's
                 "interpolation"  l * mle + (1 - l) * the same of order n - 1, down to 1 / V; after a context never
                                  seen, the lower order alone (Jelinek and Mercer)
                 "backoff"        (c(h w) - d) / c(h) for what was seen; the rest of the probability goes to the others
                                  as the lower order divides it, down to 1 / V (Katz, with absolute discounting)
    k            of "add_k"
    weight       l of "interpolation", between 0 and 1; one, or one for each order from 1 to n
    discount     d of "backoff", between 0 and 1

    The probabilities of all V tokens add up to 1, except of "mle" after a context never seen, where they are 0.

    >>> model = NGramModel(2, 3, smoothing="add_k").fit([[0, 1, 0, 1, 2]])
    >>> model.probabilities([0, 1])  # (1 + 1) / (1 + 3) at the beginning, then (2 + 1) / (2 + 3)
    array([0.5, 0.6])
    """

    def __init__(
        self,
        n: int,
        vocab_size: int,
        *,
        smoothing: str = "interpolation",
        k: float = 1.0,
        weight: float | Sequence[float] = 0.5,
        discount: float = 0.75,
    ) -> None:
        if n < 1:
            raise ValueError(f"n = {n}: at least 1 is allowed")
        if vocab_size < 1:
            raise ValueError(f"vocab_size = {vocab_size}: at least 1 is allowed")
        if smoothing not in SMOOTHINGS:
            raise ValueError(f"smoothing = {smoothing!r}: allowed are {', '.join(SMOOTHINGS)}")
        if not k > 0:
            raise ValueError(f"k = {k}: above 0 is allowed")
        if not 0 < discount < 1:
            raise ValueError(f"discount = {discount}: between 0 and 1 is allowed")
        weights = np.broadcast_to(np.asarray(weight, np.float64), (n,)) if np.ndim(weight) == 0 else np.asarray(weight)
        if weights.shape != (n,) or not ((weights >= 0) & (weights < 1)).all():
            raise ValueError(f"weight = {weight}: want 1 or {n} numbers, each 0 or more and below 1")
        self.n, self.vocab_size, self.smoothing = n, vocab_size, smoothing
        self.k, self.discount, self.weights = k, discount, weights
        self._levels: list[_Level] = []
        self._contexts: list[_Contexts] = []

    def fit(self, texts: Iterable[Any]) -> NGramModel:
        """Count the n-grams of texts, each a sequence of ids; what was counted before is forgotten."""
        padded = [self._padded(text) for text in texts]
        if not any(len(text) >= self.n for text in padded):
            raise ValueError("texts: want at least one token, got none")
        self._levels, self._contexts = [], []
        mark = self.vocab_size
        for order in range(1, self.n + 1):
            grams = np.concatenate([_windows(text, order) for text in padded])
            keys = self._places(grams[:, :-1]) * (mark + 1) + grams[:, -1]
            keys, first, counts = np.unique(keys, return_index=True, return_counts=True)
            grams = grams[first]
            counts[grams[:, -1] == mark] = 0
            parents = keys // (mark + 1)
            n_parents = len(self._levels[-1].keys) if order > 1 else 1
            followers = np.bincount(parents, counts, n_parents).astype(np.int64)
            kinds = np.bincount(parents, counts > 0, n_parents).astype(np.int64)
            self._levels.append(_Level(keys, grams, counts))
            self._contexts.append(self._held_back(order, parents, followers, kinds))
        return self

    def probabilities(self, ids: Any) -> NDArray[np.float64]:
        """P of each token of a text after those before it, float64 [T]."""
        self._need_counts()
        return self._probabilities(_windows(self._padded(ids), self.n))

    def distribution(self, context: Any) -> NDArray[np.float64]:
        """P of every token after a context, of which the last n - 1 ids count, float64 [V]."""
        self._need_counts()
        context = self._padded(context)[len(context) :]
        every = np.arange(self.vocab_size)
        return self._probabilities(np.column_stack([np.tile(context, (self.vocab_size, 1)), every]))

    def perplexity(self, texts: Iterable[Any]) -> float:
        """The perplexity of all tokens of the texts together; infinite if one of them has probability 0."""
        found = [self.probabilities(text) for text in texts]
        p = np.concatenate(found) if found else np.empty(0)
        if not len(p):
            raise ValueError("texts: want at least one token, got none")
        with np.errstate(divide="ignore"):
            return float(np.exp(-np.log(p).mean()))

    def _need_counts(self) -> None:
        if not self._levels:
            raise ValueError("nothing was counted: call fit first")

    def _padded(self, text: Any) -> Ids:
        ids = np.asarray(text)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise TypeError(f"text: want integers of shape (T,), got {ids.dtype} of shape {ids.shape}")
        wrong = (ids < 0) | (ids >= self.vocab_size)
        if wrong.any():
            at = int(wrong.argmax())
            raise IndexError(f"text[{at}] = {ids[at]} is outside [0, {self.vocab_size})")
        return np.concatenate([np.full(self.n - 1, self.vocab_size), ids.astype(np.int64)])

    def _places(self, grams: Ids) -> Ids:
        """Where each gram is in the level of its order, -1 if nowhere; those of no tokens are at the root, 0."""
        places = np.zeros(len(grams), np.int64)
        for level, tokens in zip(self._levels, grams.T, strict=False):
            keys = places * (self.vocab_size + 1) + tokens
            at = np.minimum(np.searchsorted(level.keys, keys), len(level.keys) - 1)
            places = np.where((places >= 0) & (level.keys[at] == keys), at, -1)
        return places

    def _probabilities(self, grams: Ids) -> NDArray[np.float64]:
        """P of the last token of each gram after the others, by the smoothing, up to the order that the grams have."""
        p = np.full(len(grams), 1.0 / self.vocab_size)
        highest = grams.shape[1]
        for order in range(1 if self.smoothing in ("interpolation", "backoff") else highest, highest + 1):
            part = grams[:, highest - order :]
            gram, context = self._places(part), self._places(part[:, :-1])
            counts = np.where(gram >= 0, self._levels[order - 1].counts[gram], 0)
            about = self._contexts[order - 1]
            followers = np.where(context >= 0, about.followers[context], 0)
            seen = np.maximum(followers, 1)
            if self.smoothing == "mle":
                p = counts / seen
            elif self.smoothing == "add_k":
                p = (counts + self.k) / (followers + self.k * self.vocab_size)
            elif self.smoothing == "interpolation":
                weight = self.weights[order - 1]
                p = np.where(followers > 0, weight * (counts / seen) + (1 - weight) * p, p)
            else:
                followed = (counts - about.discount[context]) / seen
                p = np.where(followers == 0, p, np.where(counts > 0, followed, about.share[context] * p))
        return p

    def _held_back(self, order: int, parents: Ids, followers: Ids, kinds: Ids) -> _Contexts:
        if self.smoothing != "backoff":
            nothing = np.zeros(len(followers))
            return _Contexts(followers, kinds, nothing, nothing)
        level = self._levels[order - 1]
        lower = self._probabilities(level.grams[:, 1:]) if order > 1 else np.full(len(parents), 1.0 / self.vocab_size)
        to_others = 1.0 - np.bincount(parents, np.where(level.counts > 0, lower, 0.0), len(followers))
        discount = np.where(kinds < self.vocab_size, self.discount, 0.0)
        held = discount * kinds / np.maximum(followers, 1)
        share = np.where(discount > 0, held / np.where(to_others > 0, to_others, 1.0), 0.0)
        return _Contexts(followers, kinds, discount, share)


def _windows(ids: Ids, width: int) -> Ids:
    """Every stretch of `width` ids, [n, width]."""
    if len(ids) < width:
        return np.empty((0, width), np.int64)
    return np.lib.stride_tricks.sliding_window_view(ids, width)
