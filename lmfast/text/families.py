"""Tokenizers of the other families: sentencepiece's BPE, Unigram, WordPiece, WordLevel, BPE over characters.

`lmfast.Tokenizer(spec)` gives one of these where the spec is not byte-level BPE. Text takes the same way: added tokens
are cut out, and a compiled engine (`lmfast.text.engine`) makes ids of what lies between them in one call. A spec
without an engine, or a call that looks for added tokens in normalized text, goes step by step (`lmfast.text.pipeline`).

The inherited encoder is that of bytes and makes no ids here: it finds the added tokens and owns the table of ints.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmfast import _checking as checking
from lmfast.text import _text
from lmfast.text._text import text_items
from lmfast.text.added_tokens import AllowedSpecial, Bits, check_added_tokens, compiled_tokens
from lmfast.text.documents import documents
from lmfast.text.engine import GrowsTooMuch, engine_for
from lmfast.text.family_decoding import Names, StreamDecoder
from lmfast.text.pipeline import Pipeline
from lmfast.text.pipeline.aligned import Aligned
from lmfast.text.places import character_offsets, gaps
from lmfast.text.ragged import Ragged, joined
from lmfast.text.sentencepiece import SentencePieceEngine, sample_and_score
from lmfast.text.spec import BPE, AddedToken, TokenizerSpec, Unigram
from lmfast.text.tokenizer import CACHE_BYTES, Offsets, Tokenizer, cache_room
from lmfast.text.utf8 import Errors, Text, is_strict, utf8
from lmfast.threads import count as thread_count
from lmfast.threads import run

__all__ = ["FamilyTokenizer"]

_BYTES = bytes(range(256))
_WHOLE = np.arange(257, dtype=np.int64)
_NO_IDS, _NO_SPANS = np.empty(0, np.uint32), np.empty((0, 2), np.int64)
_PART_BYTES = 1 << 20  # the least text worth a thread
_GROUP_BYTES = 1 << 26  # the text whose ids are made at a time
_JOINED_BYTES = 1 << 19  # the text that one thread joins at a time


class FamilyTokenizer(Tokenizer):
    """A tokenizer compiled from a spec that is not byte-level BPE. Everything is said at `lmfast.Tokenizer`."""

    def __init__(self, spec: TokenizerSpec, *, cache_bytes: int | None = None, isa: str | None = None) -> None:
        self._spec, self._cache_bytes, self._isa = spec, cache_bytes, isa
        room = cache_room(cache_bytes)
        check_added_tokens(spec)
        self._engine = engine_for(spec, cache_bytes=room, isa=isa or _text.isa_best())
        self._pipeline = _pipeline_of(spec, needed=self._engine is None)
        self._names = Names(spec, self._pipeline)
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
            room,
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

    def _encode(  # type: ignore[override]
        self, text: Text, as_list: bool, counting: bool, raw: Bits, normalized: Bits, strict: bool
    ) -> NDArray[np.uint32] | int | list[int]:
        ids = self._encode_steps(utf8(text, strict), raw, normalized)
        return len(ids) if counting else ids.tolist() if as_list else ids

    def _encode_steps(self, data: bytes, raw: Bits, normalized: Bits) -> NDArray[np.uint32]:
        if self._engine is not None and not self._looks(1, normalized):
            with suppress(GrowsTooMuch):
                return self._encode_compiled(data, raw)
        return self._encode_slowly(data, raw, normalized, places=False)[0]

    def _encode_compiled(self, data: bytes, raw: Bits) -> NDArray[np.uint32]:
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

    def encode_batch(
        self,
        texts: Iterable[Text],
        *,
        threads: int | None = None,
        allowed_special: AllowedSpecial = (),
        add_special_tokens: bool = False,
        errors: Errors = "replace",
    ) -> Ragged:
        _, normalized = self._bits(allowed_special)
        if self._engine is None or add_special_tokens or checking.on or self._looks(1, normalized):
            return self._encode_rows(text_items(texts), allowed_special, add_special_tokens, errors)
        parts = _as_bytes(texts, is_strict(errors))
        workers = thread_count(threads)
        groups = []
        for first, last in _ranges(np.fromiter(map(len, parts), np.int64, len(parts)), _GROUP_BYTES):
            groups.append(self._encode_parts(parts[first:last], workers, allowed_special))
        return joined(groups)

    def count_batch(
        self,
        texts: Iterable[Text],
        *,
        threads: int | None = None,
        allowed_special: AllowedSpecial = (),
        errors: Errors = "replace",
    ) -> NDArray[np.int64]:
        raw, normalized = self._bits(allowed_special)
        if self._engine is None or checking.on or self._looks(1, normalized):
            items = text_items(texts)
            return np.array([self.count(t, allowed_special=allowed_special, errors=errors) for t in items], np.int64)
        parts = _as_bytes(texts, is_strict(errors))
        data, spans = b"".join(parts), _spans(parts)
        counts = np.zeros(len(parts), np.int64)
        ranges = self._parts(spans, workers := thread_count(threads))
        try:
            run([partial(self._encode_run, data, spans[a:b], None, 0, counts[a:b], raw) for a, b in ranges], workers)
        except GrowsTooMuch:
            return np.array([self.count(t, allowed_special=allowed_special) for t in parts], np.int64)
        return counts

    def encode_files(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        separator: str | bytes | None = None,
        threads: int | None = None,
        allowed_special: AllowedSpecial = (),
    ) -> Ragged:
        _, normalized = self._bits(allowed_special)
        groups = []
        for data, ends in documents(paths, separator):
            if self._engine is None or checking.on or self._looks(1, normalized):
                items: list[str | bytes] = [data[start:stop] for start, stop in ends]
                groups.append(self._encode_rows(items, allowed_special, False, "replace"))
            else:
                spans = np.array(ends, np.int64).reshape(-1, 2)
                groups.append(self._encode_documents(data, spans, thread_count(threads), allowed_special))
        return joined(groups)

    def _parts(self, spans: NDArray[np.int64], workers: int) -> list[tuple[int, int]]:
        """Ranges of documents for threads: several for each, so that none waits long for another."""
        if workers == 1:
            return [(0, len(spans))]
        sizes = spans[:, 1] - spans[:, 0]
        return _ranges(sizes, max(_PART_BYTES, int(sizes.sum()) // (8 * workers)))

    def _encode_documents(
        self, data: bytes, spans: NDArray[np.int64], workers: int, allowed_special: AllowedSpecial
    ) -> Ragged:
        """The ids of the documents spans[i] of `data`, which are in order and apart."""
        raw, _ = self._bits(allowed_special)
        ranges = self._parts(spans, workers)
        rooms = [self._room_for(spans[a:b], raw) for a, b in ranges]
        at = [0, *accumulate(rooms)]
        ids, counts = np.empty(at[-1], np.uint32), np.zeros(len(spans), np.int64)
        calls = [
            partial(self._encode_run, data, spans[a:b], ids, start, counts[a:b], raw)
            for (a, b), start in zip(ranges, at, strict=False)
        ]
        try:
            filled_by = run(calls, workers)
        except GrowsTooMuch:
            return self._encode_rows([data[a:b] for a, b in spans.tolist()], allowed_special, False, "replace")
        filled = 0
        for start, n in zip(at, filled_by, strict=False):
            if start != filled:
                _text.move(ids, filled, start, n)
            filled += n
        ids.resize(filled, refcheck=False)
        return Ragged(ids, np.append(0, np.cumsum(counts)), self._ints)

    def _encode_parts(self, parts: list[bytes], workers: int, allowed_special: AllowedSpecial) -> Ragged:
        """The ids of documents. One thread joins some of them at a time, in memory that stays in its cache."""
        spans = _spans(parts)
        if workers > 1:
            return self._encode_documents(b"".join(parts), spans, workers, allowed_special)
        raw, _ = self._bits(allowed_special)
        ids, counts = np.empty(self._room_for(spans, raw), np.uint32), np.zeros(len(spans), np.int64)
        filled = 0
        try:
            for a, b in _ranges(spans[:, 1] - spans[:, 0], _JOINED_BYTES):
                here = spans[a:b] - (spans[a, 0] if a < b else 0)
                filled += self._encode_run(b"".join(parts[a:b]), here, ids, filled, counts[a:b], raw)
        except GrowsTooMuch:
            return self._encode_rows(list(parts), allowed_special, False, "replace")
        ids.resize(filled, refcheck=False)
        return Ragged(ids, np.append(0, np.cumsum(counts)), self._ints)

    def _room_for(self, spans: NDArray[np.int64], raw: Bits) -> int:
        """Room for the ids of documents: an engine's bound of two texts is no more than that of both and of none."""
        assert self._engine is not None
        n_bytes, none = int((spans[:, 1] - spans[:, 0]).sum()), self._engine.bound(0)
        shortest = min(map(len, self._added[0]), default=1)
        n_tokens = n_bytes // shortest if self._looks(0, raw) else 0
        return self._engine.bound(n_bytes) + none * (len(spans) + n_tokens)

    def _encode_run(
        self,
        data: bytes,
        spans: NDArray[np.int64],
        ids: NDArray[np.uint32] | None,
        at: int,
        counts: NDArray[np.int64],
        raw: Bits,
    ) -> int:
        """Documents to ids[at:], in as few calls as added tokens allow; how many ids there are."""
        assert self._engine is not None
        total, start = 0, 0
        marked = self._marked(data, spans, raw) if self._looks(0, raw) else []
        for i in [*marked, len(spans)]:
            if start < i:
                run_ = np.ascontiguousarray(spans[start:i])
                total += self._engine.encode_spans(data, run_, ids, at + total, counts[start:i])
            if i < len(spans):
                found = self._encode_compiled(data[spans[i, 0] : spans[i, 1]], raw)
                counts[i] = len(found)
                if ids is not None:
                    ids[at + total : at + total + len(found)] = found
                total += len(found)
            start = i + 1
        return total

    def _marked(self, data: bytes, spans: NDArray[np.int64], raw: Bits) -> list[int]:
        """The documents that may hold added tokens: each one that a match in all of them touches."""
        if any(token.single_word for token in self._added[0].values()):
            return list(range(len(spans)))  # what stands behind a document could hide a match at its end
        if not len(spans):
            return []
        base = int(spans[0, 0])
        touched = np.zeros(len(spans), np.bool_)
        for start, stop, _ in self._matches(False, data[base : spans[-1, 1]], raw):
            first = np.searchsorted(spans[:, 1], base + start, side="right")
            last = np.searchsorted(spans[:, 0], base + stop, side="left")
            touched[first:last] = True
        found: list[int] = np.flatnonzero(touched).tolist()
        return found

    def encode_with_offsets(
        self, text: Text, *, allowed_special: AllowedSpecial = (), errors: Errors = "replace"
    ) -> Offsets:
        data = utf8(text, is_strict(errors))
        raw, normalized = self._bits(allowed_special)
        found = None
        if self._engine is not None and not self._looks(1, normalized):
            with suppress(GrowsTooMuch):
                found = self._stretches_with_offsets(data, raw)
        ids, spans = found or self._encode_slowly(data, raw, normalized, places=True)
        result = Offsets(ids, spans, character_offsets(data, spans))
        if checking.on:
            checking.verify_offsets(self._spec, text, *result, allowed_special)
        return result

    def _stretches_with_offsets(self, data: bytes, raw: Bits) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        assert self._engine is not None
        ids: list[NDArray[np.uint32]] = []
        spans: list[NDArray[np.int64]] = []
        for start, stop, token in gaps(len(data), self._matches(False, data, raw)):
            if token is None:
                found, at = self._engine.encode_with_offsets(data[start:stop], start == 0)
                at += start
                ids.append(found)
                spans.append(at)
            else:
                ids.append(np.array([token], np.uint32))
                spans.append(np.array([[start, stop]], np.int64))
        if len(ids) == 1:
            return ids[0], spans[0]
        return np.concatenate([_NO_IDS, *ids]), np.concatenate([_NO_SPANS, *spans])

    # Other segmentations.

    def _unigram(self, what: str) -> SentencePieceEngine:
        if isinstance(self._engine, SentencePieceEngine) and isinstance(self._spec.model, Unigram):
            return self._engine
        raise self._no_choice(what, "the Unigram of a .model")

    def nbest(self, text: Text, n: int) -> list[tuple[NDArray[np.uint32], float]]:
        if n < 1:
            raise ValueError(f"n = {n}; want 1 or more")
        return self._unigram("nbest").lattice(utf8(text, False)).best(n)

    def sample(
        self, text: Text, *, seed: int, alpha: float | None = None, dropout: float | None = None
    ) -> NDArray[np.uint32]:
        model, data = self._spec.model, utf8(text, False)
        if isinstance(model, Unigram):
            engine = self._unigram("sample")
            if alpha is None or dropout is not None:
                raise ValueError("sample: a Unigram model wants alpha, and no dropout")
            return engine.lattice(data).sample(alpha, 1, seed)[0][0]
        if dropout is None or alpha is not None:
            raise ValueError("sample: a BPE model wants dropout, and no alpha")
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"dropout = {dropout}; want a probability in [0, 1]")
        if isinstance(self._engine, SentencePieceEngine):
            return self._engine.encode_with_dropout(data, dropout, seed)
        if not isinstance(model, BPE):
            raise self._no_choice("sample", "Unigram, a ScoredBPE or a BPE over characters")
        pipeline = self._slow()
        ids, _ = pipeline.encode(pipeline.normalize(data), random.Random(seed), dropout)
        return np.array(ids, np.uint32)

    def sample_and_score(
        self,
        text: Text,
        n: int,
        *,
        seed: int,
        alpha: float = 1.0,
        replacement: bool = True,
        include_best: bool = False,
    ) -> list[tuple[NDArray[np.uint32], float]]:
        return sample_and_score(
            self._unigram("sample_and_score"),
            utf8(text, False),
            n=n,
            alpha=alpha,
            seed=seed,
            replacement=replacement,
            include_best=include_best,
        )

    def entropy(self, text: Text, *, alpha: float = 1.0) -> float:
        return self._unigram("entropy").lattice(utf8(text, False)).entropy(alpha)

    # Decoding.

    def _decode(self, ids: NDArray[np.uint32], errors: str | None) -> str | bytes:
        data = self._decode_all(ids)
        return data if errors is None else data.decode("utf-8", errors)

    def _decode_list(self, ids: list[int], errors: str | None) -> str | bytes:
        return self._decode(self._ids(ids, False), errors)

    def _decode_all(self, ids: NDArray[np.uint32]) -> bytes:
        if not isinstance(self._engine, SentencePieceEngine):
            return self._names.decode(ids)
        try:
            return self._engine.decode(ids)
        except IndexError:
            self._names.check(ids)
            raise

    def decoder(self, errors: str = "replace") -> StreamDecoder:  # type: ignore[override]
        """A decoder that takes ids as they come."""
        return StreamDecoder(self._decode_all, self._names, errors)

    # The vocabulary.

    def id_to_bytes(self, token_id: int) -> bytes:
        """The token of an id as the vocabulary has it, in UTF-8. Errors: IndexError for an id that no token has."""
        if not 0 <= token_id < len(self._lengths) or not self._lengths[token_id]:
            raise IndexError(f"id {token_id} is no token; ids are in [0, {len(self._lengths)})")
        return self._names.bytes_of(token_id)

    def _name(self, token_id: int) -> str:
        return self._names.name_of(token_id) or ""

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
                f"cache          {self._cache_bytes or CACHE_BYTES} bytes a thread",
            ]
        )

    def __repr__(self) -> str:
        return f"Tokenizer({self._spec.name or type(self._spec.model).__name__}, {self.vocab_size} ids)"


def _named(components: tuple[object, ...]) -> str:
    return ", ".join(type(component).__name__ for component in components) or "none"


def _as_bytes(texts: Iterable[Text], strict: bool) -> list[bytes]:
    """Texts in UTF-8. The common kinds are told at once."""
    items: list[Any] = texts if type(texts) is list else text_items(texts)
    kinds = set(map(type, items))
    if kinds <= {str}:
        try:
            return list(map(str.encode, items))
        except UnicodeEncodeError:
            pass
    elif kinds == {bytes}:
        return items
    return [utf8(text, strict) for text in text_items(items)]


def _spans(parts: list[bytes]) -> NDArray[np.int64]:
    """Where parts lie in their concatenation."""
    ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
    return np.stack([np.append(0, ends[:-1]) if len(parts) else ends, ends], axis=1)


def _ranges(sizes: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """Consecutive ranges of items, each of about `most` in sum."""
    part = np.cumsum(sizes) // most
    cuts = np.flatnonzero(np.diff(part)) + 1
    bounds = [0, *cuts.tolist(), len(sizes)]
    return list(pairwise(bounds))


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
