"""The tokens of a model and their ids, and the error that every reader of a tokenizer file raises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_ID", "TokenizerFileError", "Vocab"]

MAX_ID = 2**28 - 1
"""The largest token id: four bits of a 32-bit lane hold a count in the piece cache."""


class TokenizerFileError(ValueError):
    """A tokenizer file that is damaged, or that holds something lmfast does not support.

    The message names the file and the place in it (a line, a byte offset, a JSON path), the value found and what is
    allowed.
    """


class Vocab:
    """The tokens of a model: id -> bytes, ordered by id, in three flat read-only arrays.

    ids      uint32[n]    strictly increasing; holes are allowed
    offsets  int64[n + 1] token i is `blob[offsets[i]:offsets[i + 1]]`, never empty
    blob     bytes        all tokens one after another
    """

    __slots__ = ("_lookup", "blob", "ids", "offsets")

    def __init__(self, ids: NDArray[np.uint32], offsets: NDArray[np.int64], blob: bytes) -> None:
        self.ids = np.ascontiguousarray(ids, dtype=np.uint32)
        self.offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        self.blob = bytes(blob)
        self._lookup: dict[bytes, int] | None = None
        if self.offsets.shape != (self.ids.size + 1,):
            raise ValueError(f"offsets: want shape ({self.ids.size + 1},), got {self.offsets.shape}")
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.blob):
            raise ValueError(
                f"offsets: want the range [0, {len(self.blob)}], got [{self.offsets[0]}, {self.offsets[-1]}]"
            )
        if bool(np.any(np.diff(self.offsets) <= 0)):
            at = int(np.argmax(np.diff(self.offsets) <= 0))
            raise ValueError(f"token {int(self.ids[at])} is empty: every token has at least one byte")
        if self.ids.size and bool(np.any(self.ids[1:] <= self.ids[:-1])):
            at = int(np.argmax(self.ids[1:] <= self.ids[:-1]))
            raise ValueError(f"ids: {int(self.ids[at + 1])} follows {int(self.ids[at])}; they must increase")
        if self.ids.size and int(self.ids[-1]) > MAX_ID:
            raise ValueError(f"id {int(self.ids[-1])} is outside [0, {MAX_ID}]")
        self.ids.flags.writeable = False
        self.offsets.flags.writeable = False

    @classmethod
    def from_items(cls, items: Mapping[bytes, int] | Iterable[tuple[bytes, int]]) -> Vocab:
        """From pairs (token, id) in any order. A repeated id or token is a ValueError."""
        pairs = sorted((items.items() if isinstance(items, Mapping) else items), key=lambda pair: pair[1])
        if pairs and not 0 <= pairs[0][1] <= pairs[-1][1] <= MAX_ID:
            bad = pairs[0][1] if pairs[0][1] < 0 else pairs[-1][1]
            raise ValueError(f"id {bad} is outside [0, {MAX_ID}]")
        if len({token for token, _ in pairs}) != len(pairs):
            seen: set[bytes] = set()
            token = next(t for t, _ in pairs if t in seen or seen.add(t))  # type: ignore[func-returns-value]
            raise ValueError(f"token {token!r} appears twice")
        ids = np.fromiter((i for _, i in pairs), np.uint32, len(pairs))
        offsets = np.zeros(len(pairs) + 1, np.int64)
        np.cumsum([len(t) for t, _ in pairs], out=offsets[1:])
        return cls(ids, offsets, b"".join(t for t, _ in pairs))

    def __len__(self) -> int:
        return int(self.ids.size)

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        """Pairs (token, id) by increasing id."""
        at = self.offsets.tolist()
        for i, token_id in enumerate(self.ids.tolist()):
            yield self.blob[at[i] : at[i + 1]], token_id

    def find(self, token_id: int) -> bytes | None:
        """The bytes of an id, or None where no token has it."""
        i = int(np.searchsorted(self.ids, token_id)) if 0 <= token_id <= MAX_ID else len(self)
        if i == len(self) or int(self.ids[i]) != token_id:
            return None
        return self.blob[int(self.offsets[i]) : int(self.offsets[i + 1])]

    def id_of(self, token: bytes) -> int | None:
        """The id of a token, or None. The first call builds a dictionary."""
        if self._lookup is None:
            self._lookup = dict(self)
        return self._lookup.get(token)
