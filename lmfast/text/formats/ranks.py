"""From ranks to merges: the list of pairs that encodes as a rank file does."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from lmfast.text.spec import Vocab

__all__ = ["merges_of_ranks"]


def merges_of_ranks(vocab: Vocab) -> tuple[NDArray[np.uint32], bool]:
    """The merges of a rank file, and whether every token can be reached by them.

    merges  uint32[m, 2], pairs of ids by increasing rank of the token that they make; at most one pair for each token.

    With `ignore_merges`, this list gives the same ids as the ranks for every text. A token arises inside a longer
    piece by the same merges, in the same order, as when it is encoded alone, because until it is whole no merge crosses
    its borders. So only one pair ever makes it: the last one when it is encoded alone. A token that does not come out
    as one when it is encoded alone never arises from merges; only a piece equal to it gives it, which needs
    `ignore_merges`.
    """
    rank_of = dict(vocab)
    merges = []
    reachable = True
    for token in rank_of:
        if len(token) == 1:
            continue
        pair = _last_merge(token, rank_of)
        if pair is None:
            reachable = False
        else:
            merges.append(pair)
    return np.array(merges, np.uint32).reshape(-1, 2), reachable


def _last_merge(token: bytes, rank_of: dict[bytes, int]) -> tuple[int, int] | None:
    """The ids of the last two parts when a token is merged, lowest rank first; None where it does not become one.

    Parts are named by where they begin: `end[a]` is where part `a` ends and the next begins, `before[a]` the part to
    its left. The heap holds (rank of two neighbours joined, left part, end of the right part), stale ones too: one is
    still good when both parts are as they were.
    """
    n = len(token)
    end = list(range(1, n + 1))
    before = list(range(-1, n - 1))
    heap = [(rank_of[token[a : a + 2]], a, a + 2) for a in range(n - 1) if token[a : a + 2] in rank_of]
    heapify(heap)
    while heap:
        _, a, stop = heappop(heap)
        b = end[a]
        if b >= n or b < 0 or end[b] != stop:
            continue
        if a == 0 and stop == n:
            return rank_of[token[:b]], rank_of[token[b:]]
        end[a], end[b] = stop, -1
        if stop < n:
            before[stop] = a
            joined = token[a : end[stop]]
            if joined in rank_of:
                heappush(heap, (rank_of[joined], a, end[stop]))
        left = before[a]
        if left >= 0:
            joined = token[left:stop]
            if joined in rank_of:
                heappush(heap, (rank_of[joined], left, stop))
    return None
