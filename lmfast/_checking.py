"""Holding the kernels to the reference while they work: `with lmfast.checking():`, or LMFAST_CHECK=1 at import.

While it is on, a public call runs its reference too (`lmfast.reference`, slow) and raises `KernelMismatchError` at the
first difference. While it is off, a call reads one module attribute, `on`, and the reference is not even imported.

The switch belongs to the process: calls of all threads are checked while any thread is inside a `checking()`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, AnyStr, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lmfast.text.spec import TokenizerSpec

__all__ = [
    "KernelMismatchError",
    "checking",
    "on",
    "verify_count",
    "verify_decode",
    "verify_encode",
    "verify_merges",
    "verify_offsets",
    "verify_truncate",
]

Text: TypeAlias = str | bytes | bytearray | memoryview

_lock = threading.Lock()
_users = int(os.environ.get("LMFAST_CHECK", "0") not in ("", "0"))

on = _users > 0
"""Whether calls are checked now. Read it through the module: it changes."""

hooks: list[Callable[[bool], None]] = []
"""Called with `on` when it may have changed: compiled code keeps a copy."""


class KernelMismatchError(RuntimeError):
    """A kernel and its reference differ: a fault of lmfast, which the message helps to report.

    function   the public call
    index      where the first difference is (of ids, of bytes, of rows)
    got, want  what the kernel gave there, and what the reference gives; None past the end
    """

    def __init__(self, function: str, index: int, got: Any, want: Any, around: str = "") -> None:
        self.function, self.index, self.got, self.want = function, index, got, want
        super().__init__(f"{function}: at {index} the kernel gives {got!r}, the reference {want!r}{around}")


@contextmanager
def checking() -> Iterator[None]:
    """While inside, every public call also runs its reference and raises `KernelMismatchError` where they differ.

    May be nested; holds for all threads of the process.
    """
    _add(1)
    try:
        yield
    finally:
        _add(-1)


def _own(text: Text) -> str | bytes:
    return text if isinstance(text, str) else bytes(text)


def _add(n: int) -> None:
    global _users, on
    with _lock:
        _users += n
        on = _users > 0
        for hook in hooks:
            hook(on)


def verify_encode(
    spec: TokenizerSpec,
    text: Text,
    ids: Sequence[int] | NDArray[np.uint32],
    allowed_special: Collection[str] | str = (),
    add_special_tokens: bool = False,
) -> None:
    """Raises KernelMismatchError unless `ids` are those of the text."""
    from lmfast.reference import text as reference

    text = _own(text)
    want = reference.encode(text, spec, allowed_special=allowed_special, add_special_tokens=add_special_tokens)
    index = _first_difference(ids, want)
    if index is None:
        return
    _, offsets, _ = reference.encode_with_offsets(text, spec, allowed_special=allowed_special)
    row = min(index, len(offsets) - 1)
    around = _around(text, int(offsets[row, 0]) if row >= 0 else 0)
    raise KernelMismatchError("encode", index, _item(ids, index), _item(want, index), around)


def verify_count(spec: TokenizerSpec, text: Text, n: int, allowed_special: Collection[str] | str = ()) -> None:
    """Raises KernelMismatchError unless the text has `n` ids."""
    from lmfast.reference import text as reference

    text = _own(text)
    want = reference.count(text, spec, allowed_special=allowed_special)
    if n != want:
        raise KernelMismatchError("count", 0, n, want, _around(text, 0))


def verify_decode(
    spec: TokenizerSpec, ids: Sequence[int] | NDArray[np.uint32], data: bytes, errors: str | None = None
) -> None:
    """Raises KernelMismatchError unless `data` are the bytes of the ids, or with `errors` the UTF-8 of their text."""
    from lmfast.reference import text as reference

    want = reference.decode_bytes(ids, spec)
    if errors is not None:
        want = want.decode("utf-8", errors).encode("utf-8", "surrogatepass")
    index = _first_difference(data, want)
    if index is not None:
        function = "decode_bytes" if errors is None else "decode"
        raise KernelMismatchError(function, index, _item(data, index), _item(want, index), _around(want, index))


def verify_offsets(
    spec: TokenizerSpec,
    text: Text,
    ids: NDArray[np.uint32],
    byte_offsets: NDArray[np.int64],
    character_offsets: NDArray[np.int64],
    allowed_special: Collection[str] | str = (),
) -> None:
    """Raises KernelMismatchError unless ids and both kinds of offsets are those of the text."""
    from lmfast.reference import text as reference

    text = _own(text)
    want = reference.encode_with_offsets(text, spec, allowed_special=allowed_special)
    want_rows = list(zip(want[0], *(rows.tolist() for rows in want[1:]), strict=True))
    rows = list(zip(ids.tolist(), byte_offsets.tolist(), character_offsets.tolist(), strict=True))
    index = _first_difference(rows, want_rows)
    if index is not None:
        around = _around(text, want_rows[index][1][0] if index < len(want_rows) else 0)
        raise KernelMismatchError("encode_with_offsets", index, _item(rows, index), _item(want_rows, index), around)


def verify_truncate(
    spec: TokenizerSpec,
    text: Text,
    max_tokens: int,
    got: str | bytes,
    allowed_special: Collection[str] | str = (),
) -> None:
    """Raises KernelMismatchError unless `got` is the beginning of the text that `max_tokens` ids allow."""
    from lmfast.reference import text as reference

    text = _own(text)
    want = reference.truncate(text, spec, max_tokens, allowed_special=allowed_special)
    if got != want:
        raise KernelMismatchError("truncate", min(len(got), len(want)), got, want)


_CHECKED_WORK = 1_000_000
"""Symbols times merges up to which training is checked: the reference looks at every symbol for every merge."""


def verify_merges(
    words: Sequence[tuple[Sequence[AnyStr], int]],
    ids: Mapping[AnyStr, int],
    vocab_size: int,
    got: Sequence[tuple[AnyStr, AnyStr, int]],
    **rules: Any,
) -> None:
    """Raises KernelMismatchError unless `got` are the pairs, and their counts, that training on small words merges.

    The other arguments are those of `lmfast.reference.text.learn_merges`. Large words are not looked at.
    """
    if sum(len(word) for word, _ in words) * len(got) > _CHECKED_WORK:
        return
    from lmfast.reference import text as reference

    merges = reference.learn_merges(words, ids, vocab_size, **rules)
    want = [(merge.left, merge.right, merge.frequency) for merge in merges]
    index = _first_difference(got, want)
    if index is not None:
        raise KernelMismatchError("train_bpe", index, _item(got, index), _item(want, index))


def _first_difference(got: Sequence[Any] | NDArray[Any], want: Sequence[Any]) -> int | None:
    for i, (a, b) in enumerate(zip(got, want, strict=False)):
        if a != b:
            return i
    return None if len(got) == len(want) else min(len(got), len(want))


def _item(values: Any, index: int) -> Any:
    if index >= len(values):
        return None
    value = values[index]
    return value.item() if hasattr(value, "item") else value


def _around(text: str | bytes, at: int) -> str:
    """The text about a byte offset, for a message."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
    return f"; text about byte {at}: {data[max(0, at - 20) : at + 20]!r}"
