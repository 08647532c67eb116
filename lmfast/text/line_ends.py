"""How the sentences of sentencepiece end and what comes next, on which its Unigram seeds depend.

It finds seeds in the bytes of all sentences one after another, each ending with NUL. A substring is one where different
bytes follow it, so what a word is followed by decides; and because a NUL is taken off the end of a substring, so does
what the sentence behind a NUL begins with. Its order of sentences is that of the lines, except that the last one takes
the place of each that is empty after normalization (`in_order`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Line", "LineEnds", "in_order", "marked"]


class Line(NamedTuple):
    """A sentence; empty if nothing was left of it."""

    first: bytes
    """its first character"""
    last: bytes
    """its last word"""
    times: int
    """how often it occurs, one behind the other"""


class LineEnds:
    """The lines of a text that is read in parts, by threads that have them in any order.

    keeps_all   else the first lines are forgotten as soon as they cannot hold the last sentence
    """

    def __init__(self, keeps_all: bool) -> None:
        self._keeps_all = keeps_all
        self._lock = threading.Lock()
        self._waiting: dict[int, _Part] = {}  # by position, those before which one is missing
        self._position = 0  # where the next one begins
        self._parts: deque[_Part] = deque()
        self._n_forgotten = self._n_forgotten_empty = 0  # lines
        self._n_sentences = 0  # that are not empty

    def add(self, position: int, n_bytes: int, ends: bytes, counts: NDArray[np.int64]) -> None:
        """The lines of n_bytes of text at a position, as `Sentences.count` returns them."""
        if not n_bytes:
            return
        part = _Part(n_bytes, ends, counts, _empty(ends))
        with self._lock:
            self._waiting[position] = part
            while self._position in self._waiting:
                part = self._waiting.pop(self._position)
                self._position += part.n_bytes
                self._n_sentences += len(part.counts) - part.n_empty
                self._parts.append(part)
            while not self._keeps_all and self._parts:
                # The last sentence is, or takes the place of, the line of this number; which only grows.
                if self._n_forgotten + len(self._parts[0].counts) >= self._n_sentences:
                    return
                gone = self._parts.popleft()
                self._n_forgotten += len(gone.counts)
                self._n_forgotten_empty += gone.n_empty

    def sentences(self) -> list[Line]:
        """In their order; without those of the forgotten lines."""
        return in_order([_EMPTY] * self._n_forgotten_empty + [line for part in self._parts for line in part.lines()])


class _Part(NamedTuple):
    n_bytes: int
    ends: bytes
    counts: NDArray[np.int64]
    n_empty: int

    def lines(self) -> Iterator[Line]:
        for end, count in zip(self.ends.split(b"\n"), self.counts.tolist(), strict=False):
            width = _width(end[0]) if end else 0
            yield Line(end[:width], end[width:], count) if end else _EMPTY


_EMPTY = Line(b"", b"", 0)


def in_order(lines: list[Line]) -> list[Line]:
    """The sentences that sentencepiece makes of lines, in its order."""
    lines = lines.copy()
    at = 0
    while at < len(lines):
        if lines[at].last:
            at += 1
        else:
            lines[at] = lines[-1]
            lines.pop()
    return lines


def marked(sentences: list[Line]) -> Iterator[tuple[bytes, int]]:
    """The last words of all sentences and how often they occur, each with a mark for csrc/text/unigram_train.h: two
    newlines and the characters with which the sentences behind it begin, or a newline for the end of the text.
    """
    for line, after in zip_longest(sentences, sentences[1:]):
        itself = line.first if line.times > 1 else b""
        yield line.last + b"\n\n" + itself + (after.first if after else b"\n"), line.times


def _empty(ends: bytes) -> int:
    """How many lines are empty."""
    found = np.flatnonzero(np.frombuffer(ends, np.uint8) == ord("\n"))
    return int(np.count_nonzero(np.diff(found, prepend=-1) == 1))


def _width(lead: int) -> int:
    """Of a character in UTF-8, by its first byte."""
    return 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
