"""Unigram models of `tokenizer.json` with a Metaspace: T5, ALBERT, XLM-RoBERTa and their like.

The words that Metaspace makes go through the compiled Unigram engine one by one, all words of all texts in one call.
What comes before is done here: `Precompiled` on ASCII is a table of bytes; around other characters, where grapheme
clusters count, it goes step by step, and what came of a stretch is kept.

Exactness: tokenizers 0.23.3 (tests/text/test_families.py).
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from lmfast.text._sentencepiece import Engine as UnigramEngine
from lmfast.text.pipeline import Pipeline
from lmfast.text.sentencepiece import by_id
from lmfast.text.spec import Kind, Metaspace, Precompiled, TokenizerSpec, Unigram, Vocab

__all__ = ["ConvertedUnigram", "engine_for"]

_MARK = "\u2581"
_BESIDE_ASCII = re.compile("(?:\r\n|[\0-\x7f])?(?:[^\0-\x7f]+(?:\r\n|[\0-\x7f])?)+")
_MAX_CACHED, _MAX_LENGTH = 1 << 16, 64


def engine_for(spec: TokenizerSpec, *, cache_bytes: int, isa: str) -> ConvertedUnigram | None:
    """The engine of a Unigram by the rule of tokenizers with at most Precompiled before one Metaspace; None for any
    other spec.
    """
    if not isinstance(spec.model, Unigram) or spec.model.rule != "tokenizers" or spec.model.unk_id is None:
        return None
    if len(spec.pre_tokenizer) != 1 or not isinstance(spec.pre_tokenizer[0], Metaspace):
        return None
    if spec.pre_tokenizer[0].replacement != _MARK or any(b" " in token for token, _ in spec.model.vocab):
        return None
    if len(spec.normalizer) > 1 or any(not isinstance(normalizer, Precompiled) for normalizer in spec.normalizer):
        return None
    pipeline, model = Pipeline(spec), _findable(spec.model)
    table = _ascii_table(pipeline)
    if table is None or model is None:
        return None
    return ConvertedUnigram(spec, model, pipeline, table, cache_bytes, isa)


def _findable(model: Unigram) -> Unigram | None:
    """The model without the pieces that are never found in text; None where one of them has the lowest score, which
    decides what an unknown character costs.
    """
    if model.kinds is None:
        return model
    kept = model.kinds != Kind.CONTROL
    if model.scores[kept].min(initial=np.inf) != model.scores.min(initial=np.inf):
        return None
    vocab = Vocab.from_items(pair for pair, keep in zip(model.vocab, kept.tolist(), strict=True) if keep)
    return replace(model, vocab=vocab, scores=model.scores[kept], kinds=None)


def _ascii_table(pipeline: Pipeline) -> tuple[bytes, bytes] | None:
    """What ASCII characters become, and which ones go; None where one becomes several, or none of ASCII."""
    becomes = [pipeline.normalize(bytes([byte])).text.encode() for byte in range(128)]
    line_end = pipeline.normalize(b"\r\n").text.encode()
    if any(len(new) > 1 or new > b"\x7f" for new in becomes) or line_end != becomes[13]:
        return None
    table = bytes(new[0] if new else 0 for new in becomes) + bytes(range(128, 256))
    return table, bytes(byte for byte, new in enumerate(becomes) if not new)


class ConvertedUnigram:
    """An `lmfast.text.engine.Engine`."""

    def __init__(
        self,
        spec: TokenizerSpec,
        model: Unigram,
        pipeline: Pipeline,
        table: tuple[bytes, bytes],
        cache_bytes: int,
        isa: str,
    ) -> None:
        metaspace = spec.pre_tokenizer[0]
        assert isinstance(metaspace, Metaspace)
        self._pipeline, self._table, self._metaspace = pipeline, table, metaspace
        self._normalizes = bool(spec.normalizer)
        self._stretches: dict[str, str] = {}
        blob, offsets, scores, kinds = by_id(model)
        escape_only, nothing = (False, False, True, False), (b"", False, False)
        self._engine = UnigramEngine(
            blob,
            offsets,
            scores,
            kinds,
            model.unk_id,
            model.byte_fallback,
            "unigram",
            "tokenizers",
            b"",
            escape_only,
            nothing,
            cache_bytes,
            isa,
        )

    def bound(self, n_bytes: int) -> int:
        """The most ids that a stretch of so many bytes has: a replacement may be long."""
        return 18 * n_bytes + 3

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
        joined = b"".join(texts)
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        words, owner = _words(joined, ends, self._metaspace.split)
        word_counts = np.zeros(len(words), np.int64)
        n = self._engine.encode_spans(joined, words, None, 0, word_counts) if ids is None else 0
        if ids is not None:
            room = self._engine.bound(len(joined)) + self._engine.bound(0) * len(words)
            found = np.empty(room, np.uint32)
            n = self._engine.encode_spans(joined, words, found, 0, word_counts)
            ids[at : at + n] = found[:n]
        counts[:] = np.bincount(owner, weights=word_counts, minlength=len(spans)).astype(np.int64)
        return n

    def _inside(self, data: bytes, first: bool) -> bytes:
        """A text normalized, with a space for each U+2581 that a word may begin with."""
        if data.isascii():
            if self._normalizes:
                data = data.replace(b"\r\n", b"\r").translate(self._table[0], self._table[1])
        else:
            data = self._normalized(data).replace(_MARK.encode(), b" ")
        scheme = self._metaspace.prepend_scheme
        prepends = scheme == "always" or (scheme == "first" and first)
        return b" " + data if data and prepends and data[:1] != b" " else data

    def _normalized(self, data: bytes) -> bytes:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return self._pipeline.normalize(data).text.encode()
        if not self._normalizes:
            return data
        parts: list[bytes] = []
        done = 0
        for match in _BESIDE_ASCII.finditer(text):
            start, stop = match.span()
            parts.append(self._ascii(text[done:start]))
            parts.append(self._stretch(match.group()).encode())
            done = stop
        return b"".join(chain(parts, [self._ascii(text[done:])]))

    def _ascii(self, text: str) -> bytes:
        return text.encode().replace(b"\r\n", b"\r").translate(self._table[0], self._table[1])

    def _stretch(self, text: str) -> str:
        found = self._stretches.get(text)
        if found is None:
            found = self._pipeline.normalize(text.encode()).text
            if len(text) <= _MAX_LENGTH and len(self._stretches) < _MAX_CACHED:
                self._stretches[text] = found
        return found

    def encode_with_offsets(self, data: bytes, first: bool = True) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The ids of one stretch and their places, step by step."""
        text = self._pipeline.normalize(data, start=0 if first else 1, places=True)
        ids, places = self._pipeline.encode(text)
        spans = np.array(places or [], np.int64).reshape(-1, 2)
        return np.array(ids, np.uint32), spans if first else spans - 1

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The UTF-8 of the text of ids."""
        return self._pipeline.decode(ids)


def _words(text: bytes, ends: NDArray[np.int64], splits: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the words of texts lie, int64[n, 2], and which text each is of. A word ends before a space."""
    cuts = np.append(0, ends)
    if splits:
        spaces = np.flatnonzero(np.frombuffer(text, np.uint8) == 0x20)
        cuts = np.union1d(cuts, spaces)
    cuts = np.unique(cuts)
    words = np.stack([cuts[:-1], cuts[1:]], axis=1)
    return np.ascontiguousarray(words), np.searchsorted(ends, words[:, 0], side="right")
