"""Tokenizers of the other families: sentencepiece's BPE, Unigram, WordPiece, WordLevel, BPE over characters.

`lmfast.Tokenizer(spec)` gives one of these where the spec is not byte-level BPE. Text takes the same way: added tokens
are cut out, and a compiled engine (`lmfast.text.engine`) makes ids of what lies between them in one call. A spec
without an engine, or a call that looks for added tokens in normalized text, goes step by step (`lmfast.text.pipeline`).

The inherited encoder is that of bytes and makes no ids here: it finds the added tokens and owns the table of ints.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmfast import _checking as checking
from lmfast.text import _text
from lmfast.text.engine import engine_for
from lmfast.text.family_decoding import Names, StreamDecoder
from lmfast.text.pipeline import Pipeline
from lmfast.text.pipeline.aligned import Aligned
from lmfast.text.spec import AddedToken, TokenizerSpec
from lmfast.text.tokenizer import (
    CACHE_BYTES,
    AllowedSpecial,
    Bits,
    Errors,
    Offsets,
    Text,
    Tokenizer,
    _utf8,
    character_offsets,
    check_added_tokens,
    compiled_tokens,
    gaps,
    is_strict,
)

__all__ = ["FamilyTokenizer"]

_BYTES = bytes(range(256))
_WHOLE = np.arange(257, dtype=np.int64)


class FamilyTokenizer(Tokenizer):
    """A tokenizer compiled from a spec that is not byte-level BPE. Everything is said at `lmfast.Tokenizer`."""

    def __init__(self, spec: TokenizerSpec, *, cache_bytes: int = CACHE_BYTES, isa: str | None = None) -> None:
        self._spec, self._cache_bytes, self._isa = spec, cache_bytes, isa
        check_added_tokens(spec, cache_bytes)
        self._engine = engine_for(spec, cache_bytes=cache_bytes, isa=isa or _text.isa_best())
        self._pipeline = _pipeline_of(spec, needed=self._engine is None)
        self._names = Names(spec)
        self._added = self._raw_tokens(), self._normalized_tokens()
        self._always = tuple(any(not token.special for token in tokens.values()) for tokens in self._added)
        self._steps = None if self._engine is not None else []
        self._allowed: dict[frozenset[str] | str, tuple[Bits, Bits]] = {}
        self._special = {token.content: token.id for token in spec.added_tokens if token.special}
        self._contents = {token.content.encode(): token.id for token in spec.added_tokens}
        self._lengths = self._names.lengths
        self._compile(
            _BYTES,
            _WHOLE,
            (max(len(self._lengths), 256) - 256 + np.arange(256)).astype(np.uint32),
            None,
            True,
            compiled_tokens(self._added[0]),
            compiled_tokens(self._added[1]),
            "none",
            False,
            cache_bytes,
            isa or _text.isa_best(),
            int(spec.unicode.split(".")[0]),
        )
        self.plain = False

    def _raw_tokens(self) -> dict[bytes, AddedToken]:
        return {token.content.encode(): token for token in self._spec.added_tokens if not token.normalized}

    def _normalized_tokens(self) -> dict[bytes, AddedToken]:
        """By their normalized content; where two contents become one, the last token has it."""
        tokens = [token for token in self._spec.added_tokens if token.normalized]
        if not tokens:
            return {}
        pipeline = self._slow()
        found = {pipeline.normalize(token.content.encode()).text.encode(): token for token in tokens}
        return {content: token for content, token in found.items() if content}

    def _slow(self) -> Pipeline:
        if self._pipeline is None:
            raise ValueError("this spec has only a compiled path, and added tokens with normalized=True need the other")
        return self._pipeline

    def _looks(self, which: int, allowed: Bits) -> bool:
        """Whether raw (0) or normalized (1) added tokens are to be looked for."""
        return self._always[which] or (allowed is not None and bool(self._added[which]))

    # Encoding: what the methods of Tokenizer ask for.

    def _encode(
        self, text: Text, as_list: bool, counting: bool, raw: Bits, normalized: Bits, strict: bool
    ) -> NDArray[np.uint32] | int | list[int]:
        ids = self._encode_steps(_utf8(text, strict), raw, normalized)
        return len(ids) if counting else ids.tolist() if as_list else ids

    def _encode_steps(self, data: bytes, raw: Bits, normalized: Bits) -> NDArray[np.uint32]:
        if self._engine is None or self._looks(1, normalized):
            return self._encode_slowly(data, raw, normalized, places=False)[0]
        if not self._looks(0, raw):
            return self._encode_stretches(data, np.array([[0, len(data)]], np.int64), None)
        found = list(gaps(len(data), self._matches(False, data, raw)))
        plain = [(start, stop) for start, stop, token in found if token is None]
        spans = np.array(plain, np.int64).reshape(-1, 2)
        counts = np.zeros(len(plain), np.int64)
        ids = self._encode_stretches(data, spans, (spans[:, 0] == 0).astype(np.uint8), counts)
        if len(plain) == len(found):
            return ids
        # Each added token goes where the ids of the plain text before it end.
        before = np.cumsum([0 if token is not None else 1 for _, _, token in found])
        ends = np.append(0, np.cumsum(counts))
        tokens = [(ends[n], token) for n, (_, _, token) in zip(before, found, strict=True) if token is not None]
        return np.insert(ids, [at for at, _ in tokens], [token for _, token in tokens]).astype(np.uint32)

    def _encode_stretches(
        self,
        data: bytes,
        spans: NDArray[np.int64],
        first: NDArray[np.uint8] | None,
        counts: NDArray[np.int64] | None = None,
    ) -> NDArray[np.uint32]:
        """The ids of stretches, one after another; `counts` gets how many each has."""
        assert self._engine is not None
        room = sum(self._engine.bound(stop - start) for start, stop in spans.tolist())
        ids = np.empty(room, np.uint32)
        counts = np.zeros(len(spans), np.int64) if counts is None else counts
        n = self._engine.encode_spans(data, spans, ids, 0, counts, first)
        ids.resize(n, refcheck=False)
        return ids

    def _encode_slowly(
        self, data: bytes, raw: Bits, normalized: Bits, *, places: bool
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Ids and, where wanted, places: int64[n, 2] in bytes of `data`."""
        pipeline = self._slow()
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for start, stop, token in gaps(len(data), self._matches(False, data, raw)):
            if token is not None:
                ids.append(token)
                spans.append((start, stop))
                continue
            text = pipeline.normalize(data[start:stop], start=start, places=places)
            inner = self._matches(True, text.text.encode(), normalized)
            if inner and not places:
                # Where a piece begins in the input decides where Metaspace prepends.
                text = pipeline.normalize(data[start:stop], start=start, places=True)
            for part, found in _parts(text, inner):
                if found is not None:
                    ids.append(found)
                    spans.append((part.places[0][0], part.places[-1][1]) if part.places else (part.start, part.start))
                    continue
                new, at = pipeline.encode(part)
                ids += new
                spans += at or []
        found_spans = np.array(spans if places else [], np.int64).reshape(-1, 2)
        return np.array(ids, np.uint32), found_spans

    def _encode_range(
        self,
        texts: list[str | bytes],
        start: int,
        stop: int,
        ids: NDArray[np.uint32] | None,
        at: int,
        counts: NDArray[np.int64],
        allowed_raw: Bits,
        allowed_normalized: Bits,
        strict: bool,
    ) -> int:
        """As the inherited one: texts[start:stop] to ids[at:]."""
        parts = [text if type(text) is bytes else _utf8(text, strict) for text in texts[start:stop]]
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        spans = np.stack([np.append(0, ends[:-1]), ends], axis=1) if parts else np.empty((0, 2), np.int64)
        return self._encode_documents(
            b"".join(parts), spans, ids, at, counts[start:stop], allowed_raw, allowed_normalized
        )

    def _encode_spans(
        self,
        data: bytes,
        spans: NDArray[np.int64],
        start: int,
        stop: int,
        ids: NDArray[np.uint32] | None,
        at: int,
        counts: NDArray[np.int64],
        allowed_raw: Bits,
        allowed_normalized: Bits,
        strict: bool,
    ) -> int:
        """As the inherited one: the stretches spans[start:stop] of `data` to ids[at:]."""
        return self._encode_documents(
            data, spans[start:stop], ids, at, counts[start:stop], allowed_raw, allowed_normalized
        )

    def _encode_documents(
        self,
        data: bytes,
        spans: NDArray[np.int64],
        ids: NDArray[np.uint32] | None,
        at: int,
        counts: NDArray[np.int64],
        raw: Bits,
        normalized: Bits,
    ) -> int:
        engine = self._engine
        if engine is not None and not self._looks(0, raw) and not self._looks(1, normalized):
            return engine.encode_spans(data, np.ascontiguousarray(spans), ids, at, counts)
        total = 0
        for i, (start, stop) in enumerate(spans.tolist()):
            found = self._encode_steps(data[start:stop], raw, normalized)
            counts[i] = len(found)
            if ids is not None:
                ids[at + total : at + total + len(found)] = found
            total += len(found)
        return total

    def _bound(self, n_bytes: int) -> int:
        assert self._engine is not None
        # An added token has at least one byte, and each of the stretches that it separates has its own bound.
        return self._engine.bound(n_bytes) + (n_bytes * self._engine.bound(0) if self._contents else 0)

    def encode_with_offsets(
        self, text: Text, *, allowed_special: AllowedSpecial = (), errors: Errors = "replace"
    ) -> Offsets:
        data = _utf8(text, is_strict(errors))
        raw, normalized = self._bits(allowed_special)
        if self._engine is None or self._looks(1, normalized):
            ids, spans = self._encode_slowly(data, raw, normalized, places=True)
        else:
            ids, spans = self._stretches_with_offsets(data, raw)
        result = Offsets(ids, spans, character_offsets(data, spans))
        if checking.on:
            checking.verify_offsets(self._spec, text, *result, allowed_special)
        return result

    def _stretches_with_offsets(self, data: bytes, raw: Bits) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        assert self._engine is not None
        ids, spans = [np.empty(0, np.uint32)], [np.empty((0, 2), np.int64)]
        for start, stop, token in gaps(len(data), self._matches(False, data, raw)):
            if token is None:
                found, at = self._engine.encode_with_offsets(data[start:stop], start == 0)
                ids.append(found)
                spans.append(at + start)
            else:
                ids.append(np.array([token], np.uint32))
                spans.append(np.array([[start, stop]], np.int64))
        return np.concatenate(ids), np.concatenate(spans)

    # Decoding.

    def _decode(self, ids: NDArray[np.uint32], errors: str | None) -> str | bytes:
        data = self._decode_all(ids)
        return data if errors is None else data.decode("utf-8", errors)

    def _decode_list(self, ids: list[int], errors: str | None) -> str | bytes:
        return self._decode(self._ids(ids, False), errors)

    def _decode_all(self, ids: NDArray[np.uint32]) -> bytes:
        self._names.check(ids)
        if self._engine is not None and self._names.decodes_alone(ids):
            return self._engine.decode(ids)
        return self._names.decode(ids)

    def decoder(self, errors: str = "replace") -> StreamDecoder:  # type: ignore[override]
        """A decoder that takes ids as they come."""
        return StreamDecoder(self._decode_all, self._names, errors)

    # The vocabulary.

    def id_to_bytes(self, token_id: int) -> bytes:
        """The token of an id as the vocabulary has it, in UTF-8. Errors: IndexError for an id that no token has."""
        if not 0 <= token_id < len(self._lengths) or not self._lengths[token_id]:
            raise IndexError(f"id {token_id} is no token; ids are in [0, {len(self._lengths)})")
        return self._names.bytes_of(token_id)

    def _find(self, token: bytes) -> int | None:
        return self._spec.model.vocab.id_of(token)

    def explain(self) -> str:
        spec = self._spec
        engine = type(self._engine).__name__ if self._engine is not None else "none: step by step in Python"
        return "\n".join(
            [
                f"added tokens   {len(spec.added_tokens)} ({len(self._special)} special)",
                f"normalizer     {_named(spec.normalizer)}",
                f"pre-tokenizer  {_named(spec.pre_tokenizer)}",
                f"model          {type(spec.model).__name__}, {len(spec.model.vocab)} tokens",
                f"decoder        {_named(spec.decoder)}",
                f"engine         {engine}",
                f"unicode        {spec.unicode}",
                f"isa            {self._isa or _text.isa_best()}",
                f"cache          {self._cache_bytes} bytes a thread",
            ]
        )

    def __repr__(self) -> str:
        return f"Tokenizer({self._spec.name or type(self._spec.model).__name__}, {self.vocab_size} ids)"


def _named(components: tuple[object, ...]) -> str:
    return ", ".join(type(component).__name__ for component in components) or "none"


def _pipeline_of(spec: TokenizerSpec, *, needed: bool) -> Pipeline | None:
    try:
        return Pipeline(spec)
    except ValueError:
        if needed:
            raise
        return None


def _parts(text: Aligned, matches: list[tuple[int, int, int]]) -> list[tuple[Aligned, int | None]]:
    """A normalized text cut at matches, which are in bytes of its UTF-8."""
    if not matches:
        return [(text, None)]
    data = text.text.encode()
    characters = np.cumsum([(byte & 0xC0) != 0x80 for byte in data] + [True]) - 1
    return [
        (text.cut(int(characters[start]), int(characters[stop])), token)
        for start, stop, token in gaps(len(data), matches)
    ]
