"""The one in-memory description of a tokenizer: what every file format is read into and written from.

A `TokenizerSpec` says what a tokenizer does and nothing about how fast. Readers (`lmfast.text.formats`) turn a file
into a spec, writers turn a spec into a file, trainers return a spec, and `lmfast.Tokenizer(spec)` compiles it.
Everything here is immutable; two specs are equal when their `fingerprint` is.

The life of a text under a spec: added tokens with `normalized=False` are cut out; what lies between them goes through
the normalizers; added tokens with `normalized=True` are cut out of that; the pre-tokenizer splits the rest into pieces;
the model turns each piece into ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BPE",
    "NFC",
    "AddedToken",
    "Model",
    "Normalizer",
    "PreTokenizer",
    "PrefixSpace",
    "Split",
    "TemplatePiece",
    "TemplateProcessing",
    "TokenizerFileError",
    "TokenizerSpec",
    "Vocab",
]

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


@dataclass(frozen=True, eq=False)
class BPE:
    """Byte-level byte-pair encoding.

    All single bytes are tokens; only those that UTF-8 never has (C0, C1, F5..FF) may be missing, and then text that is
    not UTF-8 may have no ids.

    merges          uint32[m, 2] pairs of ids, in the order in which they apply (first = strongest), each naming two
                    tokens whose concatenation is a token. None: a rank file, where any two neighbours whose
                    concatenation is a token merge, the lowest id first.
    ignore_merges   a piece that is a token is that token, whatever the merges say. Always so in a rank file.
    """

    vocab: Vocab
    merges: NDArray[np.uint32] | None = None
    ignore_merges: bool = True


Model: TypeAlias = BPE


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A string that becomes one id before the model sees the text.

    special       only recognised where the caller allows it (`allowed_special`); other added tokens always are
    single_word   only where no word character stands next to it
    lstrip/rstrip also takes the white space before / after it
    normalized    searched for in the normalized text instead of the original
    """

    content: str
    id: int
    special: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


@dataclass(frozen=True, slots=True)
class NFC:
    """Unicode normalization form C."""


Normalizer: TypeAlias = NFC


@dataclass(frozen=True, slots=True)
class Split:
    """Cuts every piece at the matches of a regular expression (or of a literal string)."""

    pattern: str
    behavior: Literal["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"] = "isolated"
    invert: bool = False
    literal: bool = False


@dataclass(frozen=True, slots=True)
class PrefixSpace:
    """Puts a space before every piece that does not begin with one."""


PreTokenizer: TypeAlias = Split | PrefixSpace


@dataclass(frozen=True, slots=True)
class TemplatePiece:
    """One element of a template: a sequence ("A" or "B") or a special token with its ids."""

    kind: Literal["sequence", "special"]
    name: str
    type_id: int = 0
    ids: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TemplateProcessing:
    """What `add_special_tokens=True` puts around one sequence, or around two."""

    single: tuple[TemplatePiece, ...]
    pair: tuple[TemplatePiece, ...] = ()


@dataclass(frozen=True, eq=False)
class TokenizerSpec:
    """A whole tokenizer. Equal, and equally hashed, when the contents are.

    pre_tokenizer applies its steps in order to the pieces of the step before; an empty tuple leaves the text whole.
    unicode is the version of the Unicode character database whose properties the patterns use.
    options keeps settings that change no ids but belong to the file (for example `trim_offsets`), as sorted pairs.
    """

    model: Model
    pre_tokenizer: tuple[PreTokenizer, ...] = ()
    normalizer: tuple[Normalizer, ...] = ()
    added_tokens: tuple[AddedToken, ...] = ()
    post_processor: TemplateProcessing | None = None
    unicode: str = "16.0"
    name: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    _fingerprint: list[str] = field(default_factory=list, init=False, repr=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the contents (the name excluded) as 64 hexadecimal digits; the same in every process."""
        if not self._fingerprint:
            digest = hashlib.sha256()
            model = self.model
            for part in (model.vocab.ids.tobytes(), model.vocab.offsets.tobytes(), model.vocab.blob):
                digest.update(len(part).to_bytes(8, "little") + part)
            digest.update(b"ranks" if model.merges is None else model.merges.tobytes())
            rest = {
                f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("model", "name", "_fingerprint")
            }
            digest.update(repr((model.ignore_merges, sorted(rest.items()))).encode())
            self._fingerprint.append(digest.hexdigest())
        return self._fingerprint[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenizerSpec) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)
