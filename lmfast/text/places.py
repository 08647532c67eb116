"""Where in a text its tokens come from: around added tokens, behind a normalizer, in characters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lmfast.text import _text
from lmfast.text.utf8 import character_starts

__all__ = ["alignment", "character_offsets", "gaps"]


def gaps(n: int, matches: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int | None]]:
    """Matches (start, stop, id) and the gaps between them, (start, stop, None), in order."""
    done = 0
    for start, stop, token in matches:
        if start > done:
            yield done, start, None
        yield start, stop, token
        done = stop
    if done < n:
        yield done, n, None


def character_offsets(data: bytes, span: NDArray[np.int64]) -> NDArray[np.int64]:
    """Offsets in bytes of a text, int64[n, 2], as offsets in characters."""
    if data.isascii():
        return np.array(span)
    # Characters that begin at or before each byte; a token's first and last byte say which it touches.
    starts = np.cumsum(character_starts(data))
    characters = np.zeros_like(span)
    if len(span):
        filled = span[:, 1] > span[:, 0]
        first, last = span[filled, 0], span[filled, 1] - 1
        characters[filled] = np.stack([starts[first] - 1, starts[last]], axis=1)
        bare = np.append(starts, starts[-1:] + 1) if len(starts) else np.ones(1, np.int64)
        characters[~filled] = (bare[span[~filled, 0]] - 1)[:, None]
    return characters


def alignment(text: bytes, normalized: bytes) -> NDArray[np.int64]:
    """Where the bytes of a normalized text come from: int64[len(normalized) + 1, 2].

    For a token that begins at byte i of the normalized text, row i has where it begins in the text, and for one that
    ends there, where it ends.
    """
    back = np.empty((len(normalized) + 1, 2), np.int64)
    at = start = 0
    back[0] = 0
    for stop in _text.nfc_segments(text):
        new = _text.nfc(text[start:stop])
        if new == text[start:stop]:
            back[at + 1 : at + len(new) + 1, 1] = np.arange(start + 1, stop + 1)
            back[at : at + len(new), 0] = np.arange(start, stop)
        else:
            back[at + 1 : at + len(new) + 1, 1] = stop
            back[at : at + len(new), 0] = start
        at, start = at + len(new), stop
    back[at, 0] = len(text)
    return back
