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
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmfast import threads as _threads
from lmfast.files import atomic_write
from lmfast.text._train import Words, count_whitespace
from lmfast.text.patterns import PATTERNS, splitter_of
from lmfast.text.sources import Chunk, Source, chunks, optional, size
from lmfast.text.spec import Split
from lmfast.text.spill import Spill

__all__ = ["WHITESPACE", "Progress", "Source", "WordCounts", "count_by", "count_words"]

WHITESPACE = "whitespace"
r"""The pattern of the pre-tokenizer Whitespace: the matches of `\w+|[^\w\s]+`, and nothing that lies between them."""

_LEAST_MEMORY = 1 << 24

Count: TypeAlias = Callable[[Words, Chunk], object]
"""Adds the words of a chunk to a table."""


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
            pyarrow, parquet = _pyarrow(path)
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
                pyarrow, parquet = _pyarrow(path)
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
    column: str = "text",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Callable[[Progress], object] | None = None,
    isa: str | None = None,
) -> WordCounts:
    """The pieces of texts and how often each occurs.

    source     a path, or an iterable of texts (str or bytes) and files (`pathlib.Path`). Files are read in parts, as
               bytes; nothing is decoded, and of a text with gaps between words no more than a few parts are in memory.
               A name in .jsonl or .parquet is one of rows, each a document (Parquet needs pyarrow); .gz and .zst
               behind it are decompressed (the latter needs zstandard)
    pattern    a name in `lmfast.text.patterns.PATTERNS` or a regular expression; None: each text is one word;
               "whitespace": as the pre-tokenizer Whitespace, white space is no part of any word
    separator  cuts the contents of text files, not other texts, into documents; it belongs to none. No piece crosses
               from one document to the next.
    column     of files of rows: where the text is
    threads    how many; None: as many as there are processors. The result is the same for any number.
    max_memory about how many bytes counting may take beside its result, at least 16 MiB; past that, tables are put off
               to a temporary file. The result is the same. None: no limit
    progress   called with a `Progress` now and then, from any thread; what it raises ends the counting

    Text that is not UTF-8 is split by the rule of `Tokenizer`. Errors: OSError for a file that cannot be read,
    TypeError for an item that is neither text nor path, ValueError for a row without text, ImportError for a file that
    needs a package which is not there.
    """
    regex = _regex(pattern)
    splitter = "none" if regex is None else regex if regex == WHITESPACE else splitter_of(regex)
    if regex == WHITESPACE:
        count: Count = _count_whitespace
    else:
        count = _count if splitter else partial(_count_slowly, regex or "")
    options: dict[str, Any] = {
        "separator": separator,
        "column": column,
        "max_memory": max_memory,
        "progress": progress,
    }
    return _counted(count, source, splitter or "none", regex, threads if splitter else 1, isa=isa, **options)


def count_by(
    count: Callable[[Words, Any, NDArray[np.int64], int, NDArray[np.int64] | None], object],
    source: Source | WordCounts,
    *,
    separator: str | bytes | None = None,
    column: str = "text",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> WordCounts:
    """The words that `count(table, text, spans, position, counts)` adds to a table, of whole lines.

    `spans` are int64[n, 2] stretches of the text that are whole lines, and `counts` says how often each occurs (None:
    once). Of `WordCounts` each word is a stretch. The other arguments are those of `count_words`.
    """
    if isinstance(source, WordCounts):
        table = Words("none")
        count(table, source.blob, np.stack([source.offsets[:-1], source.offsets[1:]], axis=1), 0, source.counts)
        return _counts(table, None)

    def count_lines(table: Words, chunk: Chunk) -> None:
        count(table, chunk.text, chunk.spans, chunk.position, None)

    options: dict[str, Any] = {
        "separator": separator,
        "column": column,
        "max_memory": max_memory,
        "progress": progress,
    }
    return _counted(count_lines, source, "lines", None, threads, **options)


def _counted(
    count: Count,
    source: Source,
    splitter: str,
    pattern: str | None,
    threads: int | None,
    *,
    separator: str | bytes | None,
    column: str,
    max_memory: int | None,
    progress: Callable[[Progress], object] | None,
    isa: str | None = None,
) -> WordCounts:
    """What `count` makes of all chunks of a source, cut where the splitter allows it."""
    mark = separator.encode() if isinstance(separator, str) else separator
    if mark is not None and not mark:
        raise ValueError("separator is empty; want at least one byte, or None for one document a file")
    if max_memory is not None and max_memory < _LEAST_MEMORY:
        raise ValueError(f"max_memory = {max_memory}; want at least {_LEAST_MEMORY}, or None for no limit")
    workers = _threads.count(threads)
    shared = _Shared(chunks(source, splitter, mark, column), size(source), progress)
    tables = [Words("none" if splitter in ("lines", WHITESPACE) else splitter, isa) for _ in range(workers)]
    with Spill(max_memory and max_memory // workers) as spill:

        def work(table: Words) -> None:
            for chunk in shared:
                count(table, chunk)
                spill.relieve(table)

        try:
            _threads.run([partial(work, table) for table in tables], workers)
        finally:
            shared.end()
        if spill.used:
            return WordCounts(*spill.rows(tables), pattern)
    while len(tables) > 1:
        tables[0].merge(tables.pop())
    return _counts(tables[0], pattern)


class _Shared:
    """An iterator that threads share, each chunk going to one of them."""

    def __init__(
        self, chunks: Iterator[Chunk], total: int | None, progress: Callable[[Progress], object] | None
    ) -> None:
        self._chunks: Iterator[Chunk] = chunks
        self._total = total
        self._progress = progress
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Chunk]:
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


def _count(table: Words, chunk: Chunk) -> None:
    table.count(chunk.text, chunk.spans, chunk.position)


def _count_whitespace(table: Words, chunk: Chunk) -> None:
    count_whitespace(table, chunk.text, chunk.spans, chunk.position)


def _count_slowly(pattern: str, table: Words, chunk: Chunk) -> None:
    """For a pattern without a hand-written splitter: by the regex package, a document at a time."""
    from lmfast.text.regex_split import pieces, steps_of

    steps = steps_of((Split(pattern),))
    counts: Counter[str] = Counter()
    for start, stop in chunk.spans.tolist():
        counts.update(pieces(bytes(chunk.text[start:stop]).decode("utf-8", "surrogateescape"), steps))
    firsts = np.arange(chunk.position, chunk.position + len(counts), dtype=np.uint64)
    _add(table, [(piece.encode("utf-8", "surrogateescape"), n) for piece, n in counts.items()], firsts)


def _counts(table: Words, pattern: str | None) -> WordCounts:
    blob, offsets, counts, _ = table.export()
    return WordCounts(blob, offsets, counts, pattern)


def _pyarrow(path: str | os.PathLike[str]) -> tuple[Any, Any]:
    return tuple(optional(module, os.fspath(path)) for module in ("pyarrow", "pyarrow.parquet"))


def _regex(pattern: str | None) -> str | None:
    return None if pattern is None else PATTERNS.get(pattern, pattern)


def _add(table: Words, pairs: list[tuple[bytes, int]], firsts: NDArray[np.uint64]) -> None:
    offsets = np.cumsum([0, *(len(word) for word, _ in pairs)], dtype=np.int64)
    table.add(b"".join(word for word, _ in pairs), offsets, np.array([n for _, n in pairs], np.int64), firsts)
