"""Counting words in bounded memory: tables that have become too large wait in a temporary file."""

from __future__ import annotations

import tempfile
import threading
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmfast.text._train import PARTS, Words, gather

__all__ = ["Rows", "Spill", "joined"]

Rows: TypeAlias = tuple[bytes, NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]
"""Words as `Words.export` gives them: bytes, offsets, counts, where each was seen first."""


class Spill:
    """A temporary file of tables, each in parts by hash, so that a part of all tables can be put together in memory.

    limit  about how many bytes a table may take; None: any number
    """

    def __init__(self, limit: int | None) -> None:
        # A table that grows is there twice, once at double size.
        self._limit = limit and limit // 4
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._at: list[list[int]] = []  # of each table: where its parts begin

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def used(self) -> bool:
        """Whether any table was put off."""
        return self._file is not None

    def relieve(self, table: Words) -> None:
        """Takes the words of a table that has become too large."""
        if self._limit is not None and table.memory() > self._limit:
            self.take(table)

    def take(self, table: Words) -> None:
        """Takes the words of a table."""
        with self._lock:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="lmfast-words-")  # noqa: SIM115
            (blob, offsets, counts, firsts), ends = table.export_parts()
            starts, start = [], 0
            for end in ends.tolist():
                starts.append(self._file.tell())
                at = offsets[start : end + 1]
                _write(self._file, (blob[at[0] : at[-1]], at - at[0], counts[start:end], firsts[start:end]))
                start = end
            self._at.append(starts)
        table.clear()

    def rows(self, tables: list[Words]) -> tuple[bytes, NDArray[np.int64], NDArray[np.int64]]:
        """Words, offsets and counts of all that was taken and of what the tables still hold."""
        while tables:
            self.take(tables.pop())
        assert self._file is not None
        found: list[Rows] = []
        table = Words("none")
        for part in range(PARTS):
            for starts in self._at:
                self._file.seek(starts[part])
                table.add(*_read(self._file))
            found.append(table.export())
            table.clear()
        return joined(found)


def joined(found: list[Rows]) -> tuple[bytes, NDArray[np.int64], NDArray[np.int64]]:
    """Words, offsets and counts of tables that have no word in common, by where each was seen first.

    Empties the list.
    """
    blob = b"".join(rows[0] for rows in found)
    offsets = np.append(0, np.cumsum(np.concatenate([np.diff(rows[1]) for rows in found])))
    counts = np.concatenate([rows[2] for rows in found])
    order = np.argsort(np.concatenate([rows[3] for rows in found]))
    found.clear()
    return *gather(blob, offsets, order), counts[order]


def _write(file: IO[bytes], rows: Rows) -> None:
    blob, *arrays = rows
    file.write(np.array([len(blob), len(arrays[1])], np.int64).tobytes() + blob)
    for array in arrays:
        file.write(array.tobytes())


def _read(file: IO[bytes]) -> Rows:
    def array(dtype: Any, n: int) -> NDArray[Any]:
        return np.frombuffer(file.read(8 * n), dtype)

    n_bytes, n = array(np.int64, 2).tolist()
    return file.read(n_bytes), array(np.int64, n + 1), array(np.int64, n), array(np.uint64, n)
