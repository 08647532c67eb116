"""Threads live here: work split into parts, in calls that release the GIL.

Each call starts its threads, which takes as long as waking those of a pool, and less than the import of one.

Beside torch threads of our own are slow: for some milliseconds after a torch operation the threads of its OpenMP
runtime spin on their processors in wait for the next one. `openmp` gives the entry of that very runtime: they wait for
us then.
"""

from __future__ import annotations

import _thread  # threading waits for each thread to have started
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["count", "openmp", "run"]

T = TypeVar("T")


def count(threads: int | None) -> int:
    """How many threads to use: `threads`, or where that is None as many as this process may run on."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 1:
        raise ValueError(f"threads = {threads}: at least 1 is allowed, or None for all processors")
    return threads


def run(parts: Iterable[Callable[[], T]], threads: int, stop: Callable[[], None] | None = None) -> list[T]:
    """The results of the parts, in order. The first exception of any part is raised when all have stopped; `stop` is
    called where parts that are at work are to end early.

    With one thread the parts run where `run` is called.
    """
    if threads == 1:
        return [part() for part in parts]
    waiting = deque(enumerate(parts))
    results: dict[int, T] = {}
    errors: dict[int, BaseException] = {}
    running: list[_thread.LockType] = []  # a lock for each thread, held until it ends

    def end() -> None:
        waiting.clear()
        if stop is not None:
            stop()

    def work(lock: _thread.LockType) -> None:
        try:
            while waiting:
                try:
                    i, part = waiting.popleft()
                except IndexError:  # another was faster
                    break
                try:
                    results[i] = part()
                except BaseException as error:
                    errors[i] = error
                    end()
        finally:
            lock.release()

    try:
        for _ in range(min(threads, len(waiting))):
            lock = _thread.allocate_lock()
            lock.acquire()
            _thread.start_new_thread(work, (lock,))
            running.append(lock)
        _wait(running)
    except BaseException:
        end()
        raise
    finally:
        _wait(running)  # none may go on writing to what the caller gives up
    if errors:
        try:
            raise errors.pop(min(errors))
        finally:
            errors.clear()  # they refer to this frame
    return [results[i] for i in range(len(results))]


def _wait(locks: list[_thread.LockType]) -> None:
    for lock in locks:
        with lock:
            pass


_openmp: int | None = None
"""The address of `GOMP_parallel`; 0 where there is none, None where it was not looked for."""


def openmp() -> int:
    """The address of `GOMP_parallel(function, data, n_threads, flags)` in the OpenMP runtime of torch, else 0.

    0 where torch is not imported, where its runtime has no such entry (GNU's, LLVM's and Intel's have it), and in a
    child after `fork`, where the runtime would wait for its parent's threads for ever.
    """
    global _openmp
    if _openmp is None:
        if "torch" not in sys.modules:
            return 0
        _openmp = _find_openmp()
    return _openmp


def _find_openmp() -> int:
    """Looks among the libraries that are loaded: loading a second runtime would bring a second set of threads."""
    import ctypes

    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split(maxsplit=5)[5].rstrip() for line in maps if "omp" in line}
    except OSError:
        return 0
    found = sorted(path for path in paths if os.path.basename(path).startswith(("libgomp", "libomp", "libiomp5")))
    if len(found) != 1:  # of two runtimes torch's is not known
        return 0
    try:
        return ctypes.cast(ctypes.CDLL(found[0]).GOMP_parallel, ctypes.c_void_p).value or 0
    except (OSError, AttributeError):
        return 0


def _after_fork() -> None:
    global _openmp
    _openmp = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
