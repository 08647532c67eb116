"""Files and the documents in them: one a file, or as many as a separator makes."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from typing import IO

__all__ = ["documents", "mark_of", "measured", "opened", "several"]

_PART = 1 << 26  # bytes of a file that are in memory at a time, if its documents are no longer


def documents(
    paths: Iterable[str | os.PathLike[str]], separator: str | bytes | None
) -> Iterator[tuple[bytes, list[tuple[int, int]]]]:
    """Parts of files and where whole documents in them lie, a document in one part."""
    mark = mark_of(separator)
    for path in several(paths):
        with open(path, "rb") as file:
            if mark is None:
                data = file.read()
                yield data, [(0, len(data))]
            else:
                yield from _parts(file, mark)


def _parts(file: IO[bytes], mark: bytes) -> Iterator[tuple[bytes, list[tuple[int, int]]]]:
    rest, is_first = b"", True
    while block := file.read(max(_PART, len(rest))):  # of a long document twice as much each time: all is searched anew
        data = rest + block
        ends, start = [], 0
        while (stop := data.find(mark, start)) >= 0:
            ends.append((start, stop))
            start = stop + len(mark)
        rest = data[start:]
        if ends:
            yield data, ends
            is_first = False
    if rest or is_first:
        yield rest, [(0, len(rest))]


def several(paths: Iterable[str | os.PathLike[str]]) -> Iterable[str | os.PathLike[str]]:
    """Paths as they are. Errors: TypeError for a lone path, whose characters would be taken for paths."""
    if isinstance(paths, (str, bytes, os.PathLike)):
        raise TypeError(f"paths: want several paths, got one: [{os.fspath(paths)!r}] encodes it")
    return paths


def mark_of(separator: str | bytes | None) -> bytes | None:
    """The bytes of a separator. Errors: ValueError for none at all."""
    mark = separator.encode() if isinstance(separator, str) else separator
    if mark is not None and not mark:
        raise ValueError("separator is empty; want at least one byte, or None for one document a file")
    return mark


def measured(path: str | os.PathLike[str], stack: ExitStack) -> tuple[str | os.PathLike[str] | IO[bytes], int]:
    """A file and its size. What has none, such as a pipe, is copied to a file that the stack closes."""
    status = os.stat(path)
    if stat.S_ISREG(status.st_mode) and status.st_size:
        return path, status.st_size
    import shutil
    import tempfile

    copy: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    with open(path, "rb") as file:
        shutil.copyfileobj(file, copy)
    return copy, copy.tell()


def opened(files: list[tuple[str | os.PathLike[str] | IO[bytes], int]]) -> Generator[tuple[int, int]]:
    """The descriptor and the size of one file after another."""
    for file, size in files:
        if isinstance(file, (str, os.PathLike)):
            with open(file, "rb", buffering=0) as stream:
                yield stream.fileno(), size
        else:
            file.seek(0)  # flushes too
            yield file.fileno(), size
