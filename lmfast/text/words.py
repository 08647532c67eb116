"""Counting the pieces of texts: what training reads, and all that it reads.

Training sees a text only through how often each piece occurs, so counting is the part that touches every byte, and the
part that can be spread over threads and machines: counts of parts of a text add up to those of the whole.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmfast import threads as _threads
from lmfast.files import atomic_write
from lmfast.text._train import PARTS, Words, cut, gather, spans
from lmfast.text.patterns import PATTERNS, splitter_of
from lmfast.text.spec import Split
from lmfast.text.tokenizer import Text, _utf8

__all__ = ["Progress", "Source", "WordCounts", "count_words"]

Source: TypeAlias = str | os.PathLike[str] | Iterable[Text | os.PathLike[str]]
"""One file (a lone str is its path), or any number of texts, and files as `pathlib.Path`."""

Rows: TypeAlias = tuple[bytes, NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]

_CHUNK = 1 << 20  # bytes that a thread counts at a time
_LEAST_MEMORY = 1 << 24


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
        _add(table, pairs, np.arange(len(pairs), dtype=np.uint64))
        return _counts(table, _regex(pattern))

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
        table.add(self.blob, self.offsets, self.counts, np.arange(len(self), dtype=np.uint64))
        firsts = np.arange(len(self), len(self) + len(other), dtype=np.uint64)
        table.add(other.blob, other.offsets, other.counts, firsts)
        return _counts(table, self.pattern)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the counts: Parquet where the name ends so (columns `word` binary and `count` int64; needs pyarrow),
        else numpy's .npz. The file is whole or not there.
        """
        if os.fspath(path).endswith(".parquet"):
            pyarrow, parquet = _pyarrow()
            words = pyarrow.Array.from_buffers(
                pyarrow.large_binary(), len(self), [None, pyarrow.py_buffer(self.offsets), pyarrow.py_buffer(self.blob)]
            )
            table = pyarrow.table({"word": words, "count": pyarrow.array(self.counts)})
            metadata = {} if self.pattern is None else {"pattern": self.pattern}
            with atomic_write(path) as file:
                parquet.write_table(table.replace_schema_metadata(metadata), file)
            return
        pattern = [] if self.pattern is None else [self.pattern]
        blob = np.frombuffer(self.blob, np.uint8)
        with atomic_write(path) as file:
            np.savez(file, words=blob, offsets=self.offsets, counts=self.counts, pattern=np.array(pattern, np.str_))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WordCounts:
        """Reads what `save` wrote; the contents tell which of the two it is.

        Errors: ValueError for a file that is damaged or something else.
        """
        with open(path, "rb") as file:
            magic = file.read(4)
        try:
            if magic == b"PAR1":
                pyarrow, parquet = _pyarrow()
                table = parquet.read_table(path, columns=["word", "count"])
                words = table["word"].cast(pyarrow.large_binary()).combine_chunks()
                if words.null_count:
                    raise ValueError(f"{words.null_count} words are null")
                found = (table.schema.metadata or {}).get(b"pattern")
                at = np.frombuffer(words.buffers()[1], np.int64)[words.offset : words.offset + len(words) + 1]
                blob = words.buffers()[2].to_pybytes()[at[0] : at[-1]] if len(words) else b""
                at = at - at[0] if len(words) else np.zeros(1, np.int64)
                return cls(blob, at, table["count"].to_numpy(), found.decode() if found is not None else None)
            if magic != b"PK\3\4":
                raise ValueError("neither .npz nor Parquet")
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                pattern = arrays["pattern"].tolist()
                blob = arrays["words"].tobytes()
                return cls(blob, arrays["offsets"], arrays["counts"], pattern[0] if pattern else None)
        except ImportError:
            raise
        except Exception as error:  # zipfile, zlib, numpy and pyarrow have many of them
            raise ValueError(f"{os.fspath(path)}: not a file of word counts: {error}") from error

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
    max_memory: int | None = None,
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
    max_memory about how many bytes counting may take beside its result, at least 16 MiB; past that, tables are put off
               to a temporary file. The result is the same. None: no limit
    progress   called with a `Progress` now and then, from any thread; what it raises ends the counting

    Text that is not UTF-8 is split by the rule of `Tokenizer`. Errors: OSError for a file that cannot be read,
    TypeError for an item that is neither text nor path.
    """
    regex = _regex(pattern)
    splitter = "none" if regex is None else splitter_of(regex)
    mark = separator.encode() if isinstance(separator, str) else separator
    if mark is not None and not mark:
        raise ValueError("separator is empty; want at least one byte, or None for one document a file")
    if max_memory is not None and max_memory < _LEAST_MEMORY:
        raise ValueError(f"max_memory = {max_memory}; want at least {_LEAST_MEMORY}, or None for no limit")
    workers = _threads.count(threads) if splitter else 1
    chunks = _Shared(_chunks(source, splitter or "none", mark), _size(source), progress)
    tables = [Words(splitter or "none", isa) for _ in range(workers)]
    count = _count if splitter else partial(_count_slowly, regex or "")
    with _Spill(max_memory and max_memory // workers) as spill:
        try:
            _threads.run([partial(count, table, chunks, spill) for table in tables], workers)
        finally:
            chunks.end()
        if spill.used:
            return spill.counts(tables, regex)
    while len(tables) > 1:
        tables[0].merge(tables.pop())
    return _counts(tables[0], regex)


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


class _Spill:
    """A temporary file of tables, each in parts by hash, so that a part of all tables can be put together in memory."""

    def __init__(self, limit: int | None) -> None:
        # A table that grows is there twice, once at double size.
        self._limit = limit and limit // 4
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._at: list[list[int]] = []  # of each table: where its parts begin

    def __enter__(self) -> _Spill:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def used(self) -> bool:
        return self._file is not None

    def relieve(self, table: Words) -> None:
        """Takes the words of a table that has become too large."""
        if self._limit is not None and table.memory() > self._limit:
            self.take(table)

    def take(self, table: Words) -> None:
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

    def counts(self, tables: list[Words], pattern: str | None) -> WordCounts:
        """All that was taken and what the tables still hold."""
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
        blob = b"".join(rows[0] for rows in found)
        lengths = np.concatenate([np.diff(rows[1]) for rows in found])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        counts = np.concatenate([rows[2] for rows in found])
        order = np.argsort(np.concatenate([rows[3] for rows in found]))
        found.clear()
        return WordCounts(*gather(blob, offsets, order), counts[order], pattern)


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


def _count(table: Words, chunks: Iterable[_Chunk], spill: _Spill) -> None:
    for chunk in chunks:
        table.count(chunk.text, chunk.spans, chunk.position)
        spill.relieve(table)


def _count_slowly(pattern: str, table: Words, chunks: Iterable[_Chunk], spill: _Spill) -> None:
    """The same for a pattern without a hand-written splitter, by the regex package, a document at a time."""
    from lmfast.text.regex_split import pieces, steps_of

    steps = steps_of((Split(pattern),))
    for chunk in chunks:
        counts: Counter[str] = Counter()
        for start, stop in chunk.spans.tolist():
            counts.update(pieces(bytes(chunk.text[start:stop]).decode("utf-8", "surrogateescape"), steps))
        firsts = np.arange(chunk.position, chunk.position + len(counts), dtype=np.uint64)
        _add(table, [(piece.encode("utf-8", "surrogateescape"), n) for piece, n in counts.items()], firsts)
        spill.relieve(table)


def _counts(table: Words, pattern: str | None) -> WordCounts:
    blob, offsets, counts, _ = table.export()
    return WordCounts(blob, offsets, counts, pattern)


def _pyarrow() -> tuple[Any, Any]:
    return import_module("pyarrow"), import_module("pyarrow.parquet")


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


def _add(table: Words, pairs: list[tuple[bytes, int]], firsts: NDArray[np.uint64]) -> None:
    offsets = np.cumsum([0, *(len(word) for word, _ in pairs)], dtype=np.int64)
    table.add(b"".join(word for word, _ in pairs), offsets, np.array([n for _, n in pairs], np.int64), firsts)
