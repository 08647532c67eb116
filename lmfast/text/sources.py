"""Where texts come from: strings, text files, JSON lines and Parquet, in parts of which few are in memory at a time.

A file is what its name ends in: `.jsonl` (one JSON object a line) and `.parquet` have their texts in a column; anything
else is text. `.gz` and `.zst` behind it say how it is compressed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmfast.text._train import cut, spans
from lmfast.text.utf8 import Text, utf8

__all__ = ["Chunk", "Source", "chunks", "optional", "size"]

Source: TypeAlias = str | os.PathLike[str] | Iterable[Text | os.PathLike[str]]
"""One file (a lone str is its path), or any number of texts, and files as `pathlib.Path`."""

_CHUNK = 1 << 20  # bytes that a thread counts at a time


class Chunk(NamedTuple):
    """Documents, text[start:stop] for each row (start, stop) of spans, and how many bytes come before text[0]."""

    text: bytes | memoryview
    spans: NDArray[np.int64]
    position: int


def size(source: Source) -> int | None:
    """The bytes of the texts, where the source is plain text files only."""
    items = _items(source)
    if not isinstance(items, (list, tuple)):
        return None
    total = 0
    for item in items:
        if not isinstance(item, os.PathLike) or _kind(item) != ("text", ""):
            return None
        total += os.path.getsize(item)
    return total


def chunks(source: Source, splitter: str, separator: bytes | None, column: str = "text") -> Iterator[Chunk]:
    """All of a source in parts of about a MiB, cut where no piece of the splitter can cross."""
    cut_at = _cut_at(splitter)
    done = n_bytes = 0
    batch: list[bytes] = []
    for number, item in enumerate(chain(_items(source), [None])):  # None: there are no more
        texts: Iterable[Text] = ()
        if isinstance(item, (str, bytes, bytearray, memoryview)):
            texts = [item]
        elif isinstance(item, os.PathLike) and _kind(item)[0] != "text":
            texts = _column(item, column)
        elif item is not None and not isinstance(item, os.PathLike):
            raise TypeError(f"source[{number}]: want str, bytes or pathlib.Path, got {type(item).__name__}")
        for text in texts:
            batch.append(utf8(text, False))
            n_bytes += len(batch[-1])
            if n_bytes >= _CHUNK:
                yield from _moved(_batch_chunks(batch, cut_at), done)
                done += n_bytes
                batch, n_bytes = [], 0
        if batch and (item is None or not texts):
            yield from _moved(_batch_chunks(batch, cut_at), done)
            done += n_bytes
            batch, n_bytes = [], 0
        if isinstance(item, os.PathLike) and _kind(item)[0] == "text":
            last = 0
            for chunk in _moved(_file_chunks(item, cut_at, separator), done):
                yield chunk
                last = chunk.position + len(chunk.text) - done
            done += last


def optional(module: str, extra: str) -> Any:
    """A package that only some files need."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f"{extra} needs the package {module.split('.')[0]}, which is not installed") from error


def _moved(found: Iterable[Chunk], by: int) -> Iterator[Chunk]:
    return (chunk._replace(position=chunk.position + by) for chunk in found)


def _items(source: Source) -> Iterable[Text | os.PathLike[str]]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        raise TypeError(f"source: want a path or an iterable of texts, got {type(source).__name__}; [text] counts one")
    return [Path(source)] if isinstance(source, (str, os.PathLike)) else source


def _kind(path: os.PathLike[str]) -> tuple[str, str]:
    """What a file holds ("text", "jsonl" or "parquet") and how it is compressed ("", "gz" or "zst")."""
    name = os.fspath(path).lower()
    packed = next((ending for ending in ("gz", "zst") if name.endswith(f".{ending}")), "")
    name = name.removesuffix(f".{packed}")
    if name.endswith((".jsonl", ".ndjson")):
        return "jsonl", packed
    return ("parquet", "") if name.endswith(".parquet") and not packed else ("text", packed)


def _open(path: os.PathLike[str]) -> IO[bytes]:
    packed = _kind(path)[1]
    if packed == "gz":
        return import_module("gzip").open(path, "rb")  # type: ignore[no-any-return]
    if packed == "zst":
        return optional("zstandard", f"reading {os.fspath(path)}").open(path, "rb")  # type: ignore[no-any-return]
    return open(path, "rb", buffering=0)


def _column(path: os.PathLike[str], column: str) -> Iterator[Text]:
    """The texts of a file of rows. Errors: ValueError for a row without the column, or where it is no string."""
    if _kind(path)[0] == "parquet":
        yield from _parquet_column(path, column)
        return
    with _open(path) as file:
        for number, line in enumerate(_lines(file), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                text = row[column]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(
                    f"{os.fspath(path)}:{number}: want a JSON object with {column!r}: {error!r}"
                ) from error
            if not isinstance(text, str):
                raise ValueError(f"{os.fspath(path)}:{number}: {column!r} is {text!r:.60}; want a string")
            yield text


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a raw file, without their ends."""
    rest: list[bytes] = []
    while block := file.read(_CHUNK):
        *whole, last = block.split(b"\n")
        if whole:
            rest.append(whole[0])
            yield b"".join(rest)
            yield from whole[1:]
            rest = []
        rest.append(last)
    yield b"".join(rest)


def _parquet_column(path: os.PathLike[str], column: str) -> Iterator[Text]:
    parquet = optional("pyarrow.parquet", f"reading {os.fspath(path)}")
    with parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        if column not in names:
            raise ValueError(f"{os.fspath(path)}: there is no column {column!r}; there are {', '.join(names)}")
        for batch in file.iter_batches(batch_size=1024, columns=[column]):
            for text in batch.column(0).to_pylist():
                if text is not None and not isinstance(text, (str, bytes)):
                    raise ValueError(f"{os.fspath(path)}: {column!r} has {text!r:.60}; want strings")
                yield text or ""


Cut: TypeAlias = Callable[[memoryview], int]
"""The last place at which a text may be cut without changing its pieces, 0 if there is none."""


def _cut_at(splitter: str) -> Cut:
    if splitter == "lines":
        return lambda text: bytes(text).rfind(b"\n") + 1
    if splitter == "whitespace":
        return lambda text: max(bytes(text).rfind(space) for space in (b"\n", b" ")) + 1
    return partial(cut, splitter)


def _batch_chunks(texts: list[bytes], cut_at: Cut) -> Iterator[Chunk]:
    """Texts in one chunk, but for a last one that is large, which is cut."""
    position = 0
    if len(texts[-1]) >= 2 * _CHUNK:
        large = texts.pop()
        if texts:
            yield from _batch_chunks(texts, cut_at)
            position = sum(map(len, texts))
        rest, want = memoryview(large), _CHUNK
        while len(rest) > 2 * _CHUNK and want < len(rest):
            stop = cut_at(rest[:want])
            if not stop:
                want *= 2
                continue
            yield Chunk(rest[:stop], np.array([[0, stop]]), position)
            rest, position, want = rest[stop:], position + stop, _CHUNK
        yield Chunk(rest, np.array([[0, len(rest)]]), position)
        return
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    yield Chunk(b"".join(texts), np.stack([ends[:-1], ends[1:]], axis=1), position)


def _file_chunks(path: os.PathLike[str], cut_at: Cut, separator: bytes | None) -> Iterator[Chunk]:
    """A file in parts, cut after separators and where no piece can cross.

    A separator that the end of a part cuts in two begins at most len(separator) - 1 bytes before it, so no cut is made
    past there.
    """
    keep = len(separator) - 1 if separator else 0
    done = 0
    with _open(path) as file:
        data, want = b"", _CHUNK
        while block := file.read(want):
            data += block
            documents = spans(data, separator) if separator else np.array([[0, len(data)]])
            start = stop = int(documents[-1, 0])
            stop += cut_at(memoryview(data)[start : max(start, len(data) - keep)])
            documents[-1, 1] = stop
            if not stop:  # no place to cut yet: all of it is needed
                want = len(data)
                continue
            yield Chunk(memoryview(data)[:stop], documents, done)
            data, done, want = data[stop:], done + stop, _CHUNK
    yield Chunk(data, spans(data, separator) if separator else np.array([[0, len(data)]]), done)
