"""Threads live here: work split into parts, run by a pool, in calls that release the GIL.

One pool serves the process. It is made on first use, grows to what is asked for and is made anew in a child after
`fork`, since a child has none of its parent's threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["count", "run"]

T = TypeVar("T")

_pools: dict[int, ThreadPoolExecutor] = {}


def count(threads: int | None) -> int:
    """How many threads to use: `threads`, or where that is None as many as this process may run on."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 1:
        raise ValueError(f"threads = {threads}: at least 1 is allowed, or None for all processors")
    return threads


def run(parts: Iterable[Callable[[], T]], threads: int) -> list[T]:
    """The results of the parts, in order. The first exception of any part is raised when all have stopped.

    With one thread the parts run where `run` is called.
    """
    if threads == 1:
        return [part() for part in parts]
    pool = _pools.get(threads)
    if pool is None:
        pool = _pools.setdefault(threads, ThreadPoolExecutor(threads, thread_name_prefix="lmfast"))
    futures = [pool.submit(part) for part in parts]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
        wait(futures)  # none may go on writing to what the caller gives up


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)
