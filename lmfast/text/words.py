"""Counting the pieces of texts: what training reads, and all that it reads.

Training sees a text only through how often each piece occurs, so counting is the part that touches every byte, and the
part that can be spread over threads and machines: counts of parts of a text add up to those of the whole.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmfast import threads as _threads
from lmfast.text._train import Words, cut, spans
from lmfast.text.patterns import PATTERNS, splitter_of
from lmfast.text.spec import Split
from lmfast.text.tokenizer import Text, _utf8

__all__ = ["Progress", "Source", "WordCounts", "count_words"]

Source: TypeAlias = str | os.PathLike[str] | Iterable[Text | os.PathLike[str]]
"""One file (a lone str is its path), or any number of texts, and files as `pathlib.Path`."""

_CHUNK = 1 << 20  # bytes that a thread counts at a time


class Progress(NamedTuple):
    """How far training has come."""

    stage: str
    """"count" or "merge" """
    done: int
    """bytes counted, or merges made"""
    total: int | None
    """of how many; None where the source does not say"""
    token: bytes = b""
    """the token made last"""


class WordCounts:
    """Different words and how often each occurs, in the order in which they were first seen.

    blob     bytes         all words one after another
    offsets  int64[n + 1]  word i is `blob[offsets[i]:offsets[i + 1]]`
    counts   int64[n]      how often it occurs, at least 1
    pattern  str | None    the regular expression that split the text into words; None: each text is one word

    `a + b` is what counting the text of `a` and then that of `b` gives, order included. Iterating gives pairs
    (word, count). Immutable; equal where the contents are.
    """

    __slots__ = ("blob", "counts", "offsets", "pattern")

    def __init__(self, blob: bytes, offsets: NDArray[np.int64], counts: NDArray[np.int64], pattern: str | None) -> None:
        self.blob = blob
        self.offsets = np.ascontiguousarray(offsets, np.int64)
        self.counts = np.ascontiguousarray(counts, np.int64)
        self.pattern = pattern
        if self.offsets.shape != (self.counts.size + 1,):
            raise ValueError(f"offsets: want shape ({self.counts.size + 1},), got {self.offsets.shape}")
        if self.offsets[0] != 0 or self.offsets[-1] != len(blob):
            raise ValueError(f"offsets: want the range [0, {len(blob)}], got [{self.offsets[0]}, {self.offsets[-1]}]")
        if bool(np.any(bad := self.offsets[1:] <= self.offsets[:-1])):
            raise ValueError(f"word {int(np.argmax(bad))} is empty: every word has at least one byte")
        if bool(np.any(bad := self.counts < 1)):
            at = int(np.argmax(bad))
            raise ValueError(f"word {at}: counted {int(self.counts[at])} times; at least 1 is allowed")
        self.offsets.flags.writeable = False
        self.counts.flags.writeable = False

    @classmethod
    def from_items(
        cls, items: Mapping[bytes, int] | Iterable[tuple[bytes, int]], pattern: str | None = "cl100k"
    ) -> WordCounts:
        """From pairs (word, count). Counts of a repeated word add up.

        `pattern` says how the words were split, for the tokenizers that are trained on them: a name in `PATTERNS`, a
        regular expression, or None.
        """
        pairs = list(items.items() if isinstance(items, Mapping) else items)
        table = Words("none")
        _add(table, pairs, 0)
        return cls(*table.export(), _regex(pattern))

    def __len__(self) -> int:
        """How many different words there are."""
        return int(self.counts.size)

    @property
    def total(self) -> int:
        """How many words were counted."""
        return sum(self.counts.tolist())

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        at = self.offsets.tolist()
        for i, count in enumerate(self.counts.tolist()):
            yield self.blob[at[i] : at[i + 1]], count

    def __add__(self, other: WordCounts) -> WordCounts:
        if not isinstance(other, WordCounts):
            return NotImplemented
        if self.pattern != other.pattern:
            raise ValueError(f"counts of words split by {self.pattern!r} and by {other.pattern!r} do not add up")
        table = Words("none")
        table.add(self.blob, self.offsets, self.counts, 0)
        table.add(other.blob, other.offsets, other.counts, len(self))
        return WordCounts(*table.export(), self.pattern)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, WordCounts)
            and self.pattern == other.pattern
            and self.blob == other.blob
            and np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[WordCounts], tuple[object, ...]]:
        return WordCounts, (self.blob, self.offsets, self.counts, self.pattern)

    def __repr__(self) -> str:
        return f"WordCounts({len(self)} different of {self.total} words)"


def count_words(
    source: Source,
    pattern: str | None = "cl100k",
    *,
    separator: str | bytes | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], object] | None = None,
    isa: str | None = None,
) -> WordCounts:
    """The pieces of texts and how often each occurs.

    source     a path, or an iterable of texts (str or bytes) and files (`pathlib.Path`). Files are read in parts, as
               bytes; nothing is decoded, and of a text with gaps between words no more than a few parts are in memory.
    pattern    a name in `lmfast.text.patterns.PATTERNS` or a regular expression; None: each text is one word
    separator  cuts the contents of files, not other texts, into documents; it belongs to none. No piece crosses from
               one document to the next.
    threads    how many; None: as many as there are processors. The result is the same for any number.
    progress   called with a `Progress` now and then, from any thread; what it raises ends the counting

    Text that is not UTF-8 is split by the rule of `Tokenizer`. Errors: OSError for a file that cannot be read,
    TypeError for an item that is neither text nor path.
    """
    regex = _regex(pattern)
    splitter = "none" if regex is None else splitter_of(regex)
    mark = separator.encode() if isinstance(separator, str) else separator
    if mark is not None and not mark:
        raise ValueError("separator is empty; want at least one byte, or None for one document a file")
    workers = _threads.count(threads)
    if splitter is None:
        return _counted_slowly(source, regex or "", mark, progress)
    chunks = _Shared(_chunks(source, splitter, mark), _size(source), progress)
    tables = [Words(splitter, isa) for _ in range(workers)]
    try:
        _threads.run([partial(_count, table, chunks) for table in tables], workers)
    finally:
        chunks.end()
    while len(tables) > 1:
        tables[0].merge(tables.pop())
    return WordCounts(*tables[0].export(), regex)


class _Chunk(NamedTuple):
    """Documents, text[start:stop] for each row (start, stop) of spans, and how many bytes come before text[0]."""

    text: bytes | memoryview
    spans: NDArray[np.int64]
    position: int


class _Shared:
    """An iterator that threads share, each chunk going to one of them."""

    def __init__(
        self, chunks: Iterator[_Chunk], total: int | None, progress: Callable[[Progress], object] | None
    ) -> None:
        self._chunks: Iterator[_Chunk] = chunks
        self._total = total
        self._progress = progress
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[_Chunk]:
        while True:
            with self._lock:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                if self._progress is not None:
                    self._progress(Progress("count", chunk.position + len(chunk.text), self._total))
            yield chunk

    def end(self) -> None:
        """Lets all threads come to their end after the chunk that they have."""
        self._chunks = iter(())


def _count(table: Words, chunks: Iterable[_Chunk]) -> None:
    for chunk in chunks:
        table.count(chunk.text, chunk.spans, chunk.position)


def _regex(pattern: str | None) -> str | None:
    return None if pattern is None else PATTERNS.get(pattern, pattern)


def _items(source: Source) -> Iterable[Text | os.PathLike[str]]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        raise TypeError(f"source: want a path or an iterable of texts, got {type(source).__name__}; [text] counts one")
    return [Path(source)] if isinstance(source, (str, os.PathLike)) else source


def _size(source: Source) -> int | None:
    """The bytes of the files, where the source is files only."""
    items = _items(source)
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, os.PathLike) for item in items):
        return None
    return sum(os.path.getsize(item) for item in items if isinstance(item, os.PathLike))


def _chunks(source: Source, splitter: str, separator: bytes | None) -> Iterator[_Chunk]:
    """All of a source in parts of about _CHUNK bytes."""
    done = n_items = n_bytes = 0
    batch: list[bytes] = []
    for item in chain(_items(source), [None]):  # None: there are no more
        if isinstance(item, (str, bytes, bytearray, memoryview)):
            batch.append(_utf8(item, False))
            n_bytes += len(batch[-1])
            n_items += 1
            if n_bytes < _CHUNK:
                continue
        if batch:
            for chunk in _batch_chunks(batch, splitter):
                yield chunk._replace(position=done + chunk.position)
            done += n_bytes
            batch, n_bytes = [], 0
        if isinstance(item, os.PathLike):
            size = 0
            for chunk in _file_chunks(item, splitter, separator):
                yield chunk._replace(position=done + chunk.position)
                size = chunk.position + len(chunk.text)
            done += size
            n_items += 1
        elif item is not None and not isinstance(item, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"source[{n_items}]: want str, bytes or pathlib.Path, got {type(item).__name__}")


def _batch_chunks(texts: list[bytes], splitter: str) -> Iterator[_Chunk]:
    """Texts in one chunk, but for a last one that is large, which is cut."""
    position = 0
    if len(texts[-1]) >= 2 * _CHUNK:
        large = texts.pop()
        if texts:
            yield from _batch_chunks(texts, splitter)
            position = sum(map(len, texts))
        rest, want = memoryview(large), _CHUNK
        while len(rest) > 2 * _CHUNK and want < len(rest):
            stop = cut(splitter, rest[:want])
            if not stop:
                want *= 2
                continue
            yield _Chunk(rest[:stop], np.array([[0, stop]]), position)
            rest, position, want = rest[stop:], position + stop, _CHUNK
        yield _Chunk(rest, np.array([[0, len(rest)]]), position)
        return
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    yield _Chunk(b"".join(texts), np.stack([ends[:-1], ends[1:]], axis=1), position)


def _file_chunks(path: os.PathLike[str], splitter: str, separator: bytes | None) -> Iterator[_Chunk]:
    """A file in parts, cut after separators and where no piece can cross.

    A separator that the end of a part cuts in two begins at most len(separator) - 1 bytes before it, so no cut is made
    past there.
    """
    keep = len(separator) - 1 if separator else 0
    done = 0
    with open(path, "rb", buffering=0) as file:
        data, want = b"", _CHUNK
        while block := file.read(want):
            data += block
            documents = spans(data, separator) if separator else np.array([[0, len(data)]])
            start = stop = int(documents[-1, 0])
            stop += cut(splitter, memoryview(data)[start : max(start, len(data) - keep)])
            documents[-1, 1] = stop
            if not stop:  # no place to cut yet: all of it is needed
                want = len(data)
                continue
            yield _Chunk(memoryview(data)[:stop], documents, done)
            data, done, want = data[stop:], done + stop, _CHUNK
    yield _Chunk(data, spans(data, separator) if separator else np.array([[0, len(data)]]), done)


def _counted_slowly(
    source: Source, pattern: str, separator: bytes | None, progress: Callable[[Progress], object] | None
) -> WordCounts:
    """The same for a pattern without a hand-written splitter, by the regex package, a document at a time."""
    from lmfast.text.regex_split import pieces, steps_of

    steps = steps_of((Split(pattern),))
    counts: Counter[str] = Counter()
    for chunk in _Shared(_chunks(source, "none", separator), _size(source), progress):
        for start, stop in chunk.spans.tolist():
            counts.update(pieces(bytes(chunk.text[start:stop]).decode("utf-8", "surrogateescape"), steps))
    table = Words("none")
    _add(table, [(piece.encode("utf-8", "surrogateescape"), count) for piece, count in counts.items()], 0)
    return WordCounts(*table.export(), pattern)


def _add(table: Words, pairs: list[tuple[bytes, int]], position: int) -> None:
    offsets = np.cumsum([0, *(len(word) for word, _ in pairs)], dtype=np.int64)
    table.add(b"".join(word for word, _ in pairs), offsets, np.array([n for _, n in pairs], np.int64), position)
