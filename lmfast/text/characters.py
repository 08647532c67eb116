"""Counted words as characters, for the trainers that do not begin with bytes."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from lmfast.text.words import WordCounts

__all__ = ["Characters"]


class Characters:
    """The characters of counted words.

    codes    uint32[n]: the code points of all words, one word after another
    offsets  int64[words + 1]: word i is codes[offsets[i]:offsets[i + 1]]
    counts   code point -> how often it occurs

    A byte that is no part of a character is U+FFFD.
    """

    def __init__(self, words: WordCounts) -> None:
        blob, at = _well_formed(words)
        self.codes = np.frombuffer(blob.decode().encode("utf-32-le"), np.uint32)
        self.offsets = np.append(0, np.cumsum(_begins(blob)))[at]
        weights = np.repeat(words.counts, np.diff(self.offsets))
        # In two halves, each of which a float64 adds up exactly.
        low, high = np.bincount(self.codes, weights & 0xFFFFFF), np.bincount(self.codes, weights >> 24)
        found = np.flatnonzero(low + high).tolist()
        self.counts: dict[int, int] = {code: int(low[code]) + (int(high[code]) << 24) for code in found}


def _begins(blob: bytes) -> NDArray[np.bool_]:
    """Whether each byte begins a character."""
    found: NDArray[np.bool_] = (np.frombuffer(blob, np.uint8) & 0xC0) != 0x80
    return found


def _well_formed(words: WordCounts) -> tuple[bytes, NDArray[np.int64]]:
    """The words and their offsets with U+FFFD for every byte that is no part of a character."""
    try:
        words.blob.decode()
        if bool(np.all(_begins(words.blob)[words.offsets[:-1]])):  # else words were only together well-formed
            return words.blob, words.offsets
    except UnicodeDecodeError:
        pass
    replaced = [_LONE.sub("\ufffd", word.decode("utf-8", "surrogateescape")).encode() for word, _ in words]
    return b"".join(replaced), np.cumsum([0, *map(len, replaced)], dtype=np.int64)


_LONE = re.compile("[\udc80-\udcff]")
