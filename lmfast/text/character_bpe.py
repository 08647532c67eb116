"""BPE over characters by way of byte-level BPE: Llama-2, Mistral and their like as `tokenizer.json`.

With byte fallback every text can be spelled in bytes, and merging over characters is merging over bytes that begins by
putting characters together: those merges come first, then the model's own. So the encoder of byte-level BPE serves such
a model, with its cache, if three things are seen to:

U+2581. To the model it is a space, and text has no other; inside it is one byte, the space. Where no token has a space
    behind something else, no merge crosses such a place, so words that begin with spaces are encoded on their own.
Parts of characters. A character that the model does not know stays in parts; what the encoder finds there, a first part
    that begins a known character, becomes the fallback of each of its bytes.
Many texts in one call. The byte 0xFF, which UTF-8 never has, stands between texts, and its id in the result tells where
    each text ends.

Exactness: tokenizers 0.23.3 (tests/text/test_families.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmfast.text import _text
from lmfast.text.pipeline import Pipeline
from lmfast.text.spec import BPE, Metaspace, Prepend, Replace, Split, TokenizerSpec

__all__ = ["CharacterEngine", "engine_for"]

_MARK = "\u2581"
_MARK_BYTES = _MARK.encode()
_SPACES_TO_MARKS = Replace(" ", _MARK, literal=True)
_END = b"\xff"


def engine_for(spec: TokenizerSpec, *, cache_bytes: int, isa: str) -> CharacterEngine | None:
    """The engine of a BPE over characters with byte fallback whose spaces become U+2581; None for any other spec."""
    model, prefix = spec.model, _prefix_rule(spec)
    if not isinstance(model, BPE) or model.byte_level or prefix is None:
        return None
    if model.continuing_subword_prefix or model.end_of_word_suffix or model.dropout or model.ignore_merges:
        return None
    tables = _tables(model) if model.byte_fallback else None
    return None if tables is None else CharacterEngine(spec, tables, prefix, cache_bytes, isa)


def _prefix_rule(spec: TokenizerSpec) -> str | None:
    """When a space is put before a text ("always", "unless there": one that it does not begin with, "first": the same
    at the beginning of the input, "never"); None where something else happens to it.
    """
    if not spec.normalizer and len(spec.pre_tokenizer) == 1:
        step = spec.pre_tokenizer[0]
        if isinstance(step, Metaspace) and step.replacement == _MARK and not step.split:
            return {"always": "unless there"}.get(step.prepend_scheme, step.prepend_scheme)
        return None
    # A split at spaces finds none once they are replaced.
    if any(not isinstance(step, Split) or step.pattern != " " or not step.literal for step in spec.pre_tokenizer):
        return None
    if any(step.invert for step in spec.pre_tokenizer if isinstance(step, Split)):
        return None
    if spec.normalizer == (_SPACES_TO_MARKS,):
        return "never"
    return "always" if spec.normalizer == (Prepend(_MARK), _SPACES_TO_MARKS) else None


class _Tables(NamedTuple):
    """A byte-level model: its tokens by increasing id, and pairs of positions among them.

    parts  the ids of each part of a character: those of its bytes
    """

    tokens: list[bytes]
    ids: NDArray[np.uint32]
    merges: NDArray[np.uint32]
    parts: dict[int, list[int]]
    splits: bool


def _tables(model: BPE) -> _Tables | None:
    """The byte-level model that does the same; None where a byte has no token, or tokens of bytes merge."""
    ids = dict(model.vocab)
    found = {token_id: token for token, token_id in ids.items()}
    fallback = [ids.get(b"<0x%02X>" % byte) for byte in range(256)]
    assert model.merges is not None
    pairs = model.merges.tolist()
    used = {token_id for pair in pairs for token_id in pair}
    if None in fallback or used & set(fallback) or any(b" " in found[i] for i in used):
        return None
    made = [found[a] + found[b] for a, b in pairs]
    characters = [token for token in ids if len(token) <= 4 and len(token.decode("utf-8", "replace")) == 1]
    if b" " in characters:
        characters.remove(b" ")
    id_of: dict[bytes, int] = {_inside(token): ids[token] for token in [*characters, *made]}
    for byte, token_id in enumerate(fallback):
        assert token_id is not None
        id_of.setdefault(bytes([byte]), token_id)
    parts: dict[int, list[int]] = {}
    joins: dict[tuple[bytes, bytes], None] = {}
    next_id = max(found) + 1
    for character in map(_inside, characters):
        for n in range(2, len(character) + 1):
            joins[character[: n - 1], character[n - 1 : n]] = None
            if n < len(character) and character[:n] not in id_of:
                id_of[character[:n]] = next_id
                parts[next_id] = [i for byte in character[:n] if (i := fallback[byte]) is not None]
                next_id += 1
    joins |= {(_inside(found[a]), _inside(found[b])): None for a, b in pairs}
    tokens = sorted(id_of, key=id_of.__getitem__)
    at = {token: i for i, token in enumerate(tokens)}
    merges = np.array([(at[left], at[right]) for left, right in joins], np.uint32).reshape(-1, 2)
    splits = not any(b" " in token.lstrip(b" ") for token in map(_inside, made))
    return _Tables(tokens, np.array([id_of[token] for token in tokens], np.uint32), merges, parts, splits)


def _inside(token: bytes) -> bytes:
    return token.replace(_MARK_BYTES, b" ")


class CharacterEngine:
    """An `lmfast.text.engine.Engine`."""

    def __init__(self, spec: TokenizerSpec, tables: _Tables, prefix: str, cache_bytes: int, isa: str) -> None:
        self._pipeline = Pipeline(spec)
        self._prefix, self._splits, self._parts = prefix, tables.splits, tables.parts
        self._first_part = min(tables.parts, default=2**32 - 1)
        self._end_id = int(tables.ids[tables.tokens.index(_END)])
        offsets = np.append(0, np.cumsum([len(token) for token in tables.tokens]))
        self._encoder = _text.Encoder()
        self._encoder._compile(
            b"".join(tables.tokens),
            offsets.astype(np.int64),
            tables.ids,
            tables.merges,
            False,
            (),
            (),
            "none",
            False,
            cache_bytes,
            isa,
            int(spec.unicode.split(".")[0]),
        )

    def bound(self, n_bytes: int) -> int:
        """The most ids that a stretch of so many bytes has: one for each, and one for the space before it.

        A byte that is not UTF-8 becomes a character of three.
        """
        return 3 * n_bytes + 1

    def encode_spans(
        self,
        data: bytes,
        spans: NDArray[np.int64],
        ids: NDArray[np.uint32] | None,
        at: int,
        counts: NDArray[np.int64],
        first: NDArray[np.uint8] | None = None,
    ) -> int:
        """Stretches of `data` to ids[at:], as the protocol says."""
        firsts = [True] * len(spans) if first is None else first.tolist()
        texts = [
            self._inside(data[start:stop], begins) for (start, stop), begins in zip(spans.tolist(), firsts, strict=True)
        ]
        joined = _END.join([*texts, b""])
        found = self._encoder._encode_pieces(joined, _piece_ends(joined, self._splits))
        if len(found) and int(found.max()) >= self._first_part:
            found = self._without_parts(found)
        is_end = found == self._end_id
        ends = np.flatnonzero(is_end)
        counts[:] = np.diff(ends, prepend=-1) - 1
        n = len(found) - len(ends)
        if ids is not None:
            ids[at : at + n] = found[~is_end]
        return n

    def _inside(self, text: bytes, first: bool) -> bytes:
        """A text as the encoder sees it: well-formed, spaces for U+2581, and a space in front where there has to be."""
        try:
            text.decode()
        except UnicodeDecodeError:
            odd = text.decode("utf-8", "surrogateescape")
            text = "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in odd).encode()
        if _MARK_BYTES in text:
            text = _inside(text)
        if not text or self._prefix == "never" or (self._prefix == "first" and not first):
            return text
        return text if self._prefix != "always" and text[:1] == b" " else b" " + text

    def _without_parts(self, found: NDArray[np.uint32]) -> NDArray[np.uint32]:
        sizes = np.ones(len(found), np.int64)
        at = np.flatnonzero(found >= self._first_part)
        pieces = [self._parts[i] for i in found[at].tolist()]
        sizes[at] = [len(piece) for piece in pieces]
        whole = np.repeat(found, sizes)
        starts = np.cumsum(sizes) - sizes
        for start, piece in zip(starts[at].tolist(), pieces, strict=True):
            whole[start : start + len(piece)] = piece
        return whole

    def encode_with_offsets(self, data: bytes, first: bool = True) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The ids of one stretch and their places, step by step."""
        text = self._pipeline.normalize(data, start=0 if first else 1, places=True)
        ids, places = self._pipeline.encode(text)
        spans = np.array(places or [], np.int64).reshape(-1, 2)
        return np.array(ids, np.uint32), spans if first else spans - 1

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The UTF-8 of the text of ids."""
        return self._pipeline.decode(ids)


def _piece_ends(text: bytes, splits: bool) -> NDArray[np.int64]:
    """Where pieces end: each 0xFF is one, and if words are told apart, so is each run of spaces and what follows."""
    array = np.frombuffer(text, np.uint8)
    is_end = array == 0xFF
    ends = is_end[1:] | is_end[:-1]
    if splits:
        is_space = array == 0x20
        ends |= is_space[1:] & ~is_space[:-1]
    return np.append(np.flatnonzero(ends) + 1, len(text)).astype(np.int64)
