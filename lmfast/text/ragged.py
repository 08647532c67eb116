"""The ids of many texts in two flat arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import overload

import numpy as np
from numpy.typing import NDArray

from lmfast.text import _text

__all__ = ["Ragged", "joined", "offsets_of"]


class Ragged:
    """Rows of different lengths, one after another: row i is `ids[offsets[i]:offsets[i + 1]]`.

    ids      uint32[n]         all rows
    offsets  int64[rows + 1]   rising from 0 to n

    Rows are views, nothing is copied. An integer index gives a row, a slice gives a `Ragged` that shares `ids`.
    `ints`, where a tokenizer gives it, returns its table of ready-made ints, which makes `tolist` several times faster.
    """

    __slots__ = ("ids", "ints", "offsets")

    def __init__(
        self, ids: NDArray[np.uint32], offsets: NDArray[np.int64], ints: Callable[[], list[int]] | None = None
    ) -> None:
        self.ids = ids
        self.offsets = offsets
        self.ints = ints
        if offsets.ndim != 1 or offsets.size == 0 or offsets[0] != 0 or offsets[-1] != ids.size:
            raise ValueError(f"offsets: want one dimension rising from 0 to {ids.size}, got {offsets!r}")
        if offsets.size > 1 and bool(np.any(offsets[1:] < offsets[:-1])):
            at = int(np.argmax(offsets[1:] < offsets[:-1]))
            raise ValueError(f"offsets[{at + 1}] = {offsets[at + 1]} is less than offsets[{at}] = {offsets[at]}")

    def __len__(self) -> int:
        return int(self.offsets.size) - 1

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint32]: ...
    @overload
    def __getitem__(self, index: slice) -> Ragged: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint32] | Ragged:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                rows = range(start, stop, step)
                empty = np.empty(0, np.uint32)
                lengths = np.array([0, *(self.offsets[i + 1] - self.offsets[i] for i in rows)], np.int64)
                return Ragged(np.concatenate([empty, *(self[i] for i in rows)]), np.cumsum(lengths), self.ints)
            stop = max(start, stop)
            offsets = self.offsets[start : stop + 1]
            return Ragged(self.ids[offsets[0] : offsets[-1]], offsets - offsets[0], self.ints)
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} is outside [{-len(self)}, {len(self)})")
        return self.ids[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[NDArray[np.uint32]]:
        at = self.offsets.tolist()
        for i in range(len(self)):
            yield self.ids[at[i] : at[i + 1]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ragged):
            return NotImplemented
        return np.array_equal(self.ids, other.ids) and np.array_equal(self.offsets, other.offsets)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Ragged({len(self)} rows, {self.ids.size} ids)"

    def tolist(self) -> list[list[int]]:
        """A list of ints for each row; with `ints`, one that the garbage collector does not visit."""
        if self.ints is None:
            return [row.tolist() for row in self]
        return _text.lists(self.ints(), self.ids, self.offsets)

    def __reduce__(self) -> tuple[type[Ragged], tuple[NDArray[np.uint32], NDArray[np.int64]]]:
        return Ragged, (self.ids, self.offsets)


def joined(groups: list[Ragged]) -> Ragged:
    """The rows of each of `groups`, one after another."""
    if len(groups) == 1:
        return groups[0]
    starts = accumulate((group.ids.size for group in groups), initial=0)
    offsets = [np.zeros(1, np.int64), *(group.offsets[1:] + at for group, at in zip(groups, starts, strict=False))]
    ids = np.concatenate([np.empty(0, np.uint32), *(group.ids for group in groups)])
    return Ragged(ids, np.concatenate(offsets), groups[0].ints if groups else None)


def offsets_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The offsets of rows of so many ids: int64[len(counts) + 1]."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
