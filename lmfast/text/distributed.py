"""Counting words on a cluster, over Ray (the extra `ray`); training from the counts needs one machine only.

    counts = lmfast.text.distributed.count_words(ray.data.read_parquet("s3://..."))
    tokenizer = lmfast.train_bpe(counts, 100_000)

Counting is a map of parts of the texts to tables, each in parts by hash of the word, and a reduction by these parts:
the same words always meet in the same one. A task that is lost with its machine is run again by Ray, and adds nothing
twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmfast.text import words
from lmfast.text._train import PARTS, Words
from lmfast.text.sources import Source, optional
from lmfast.text.spill import Rows, joined
from lmfast.text.words import WordCounts

__all__ = ["count_words"]

_BATCH = 64 << 20  # bytes of texts for a task
_POSITIONS = 40  # bits: how many words a task may see


class _Task(NamedTuple):
    """What one task does: how it counts, which of all tasks it is, and for how many reducers."""

    pattern: str | None
    options: dict[str, Any]
    number: int
    n_parts: int


def count_words(
    dataset_or_paths: Any,
    pattern: str | None = "cl100k",
    *,
    separator: str | bytes | None = None,
    column: str = "text",
    reducers: int = 8,
    retries: int = 3,
) -> WordCounts:
    """The pieces of texts and how often each occurs, as `lmfast.count_words` gives them, counted by Ray tasks.

    dataset_or_paths            a `ray.data.Dataset`, whose texts are in `column`; or a source as in
                                `lmfast.count_words`: each file is a task, and so are each 64 MiB of texts. Every
                                machine must be able to read the files
    pattern, separator, column  as in `lmfast.count_words`
    reducers                    how many tasks add up the tables
    retries                     how often a task that was lost is run again

    Ray is initialized where it is not. Equal to `lmfast.count_words` of the same texts, in the order of the blocks of a
    dataset. Errors: those of `lmfast.count_words`, as Ray raises them; ImportError without Ray.
    """
    if not 1 <= reducers <= PARTS:
        raise ValueError(f"reducers = {reducers}; want 1 to {PARTS}")
    ray = optional("ray", "lmfast.text.distributed")
    if not ray.is_initialized():
        ray.init()
    count = ray.remote(max_retries=retries, num_returns=reducers)(_count)
    reduce = ray.remote(max_retries=retries)(_reduce)
    options = {"separator": separator, "column": column}
    tables = []
    for number, block in enumerate(_blocks(dataset_or_paths, column)):
        found = count.remote(block, _Task(pattern, options, number, reducers))
        tables.append([found] if reducers == 1 else found)
    rows = ray.get([reduce.remote(*parts) for parts in zip(*tables, strict=True)])
    empty = words.count_words([], pattern)
    return WordCounts(*joined(rows), empty.pattern) if rows else empty


def _blocks(source: Any, column: str) -> Iterator[Any]:
    """What each task counts: a list of texts or of one file, or a reference to a table of a dataset."""
    if hasattr(source, "to_arrow_refs"):
        yield from source.select_columns([column]).to_arrow_refs()
        return
    items: Iterable[Any] = [Path(source)] if isinstance(source, (str, os.PathLike)) else source
    batch: list[Any] = []
    n_bytes = 0
    for item in items:
        if isinstance(item, os.PathLike) or n_bytes >= _BATCH:
            if batch:
                yield batch
            batch, n_bytes = [], 0
        if isinstance(item, os.PathLike):
            yield [item]
        else:
            batch.append(item)
            n_bytes += len(item)
    if batch:
        yield batch


def _count(block: Any, task: _Task) -> list[Rows] | Rows:
    """The words of a block, one table for each reducer."""
    column = task.options["column"]
    texts: Source = block if isinstance(block, list) else (text or "" for text in block.column(column).to_pylist())
    found = words.count_words(texts, task.pattern, threads=1, **task.options)
    table = Words("none")
    start = np.uint64(task.number << _POSITIONS)
    table.add(found.blob, found.offsets, found.counts, np.arange(len(found), dtype=np.uint64) + start)
    (blob, offsets, counts, firsts), ends = table.export_parts()
    bounds = [0, *ends[[PARTS * (part + 1) // task.n_parts - 1 for part in range(task.n_parts)]].tolist()]
    parts = []
    for a, b in pairwise(bounds):
        at = offsets[a : b + 1]
        parts.append((blob[at[0] : at[-1]], at - at[0], counts[a:b], firsts[a:b]))
    return parts if task.n_parts > 1 else parts[0]


def _reduce(*tables: Rows) -> Rows:
    """The words of tables, added up."""
    table = Words("none")
    for rows in tables:
        table.add(*rows)
    return table.export()
