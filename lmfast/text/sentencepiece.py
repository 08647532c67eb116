"""Compiles specs of sentencepiece's kind: BPE by scores and Unigram, with sentencepiece's normalizer and decoder."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lmfast.text._sentencepiece import Engine, Normalizer
from lmfast.text.spec import (
    Kind,
    ScoredBPE,
    SentencePieceDecoder,
    SentencePieceNormalizer,
    TokenizerSpec,
    Unigram,
    Vocab,
)

__all__ = ["SentencePieceEngine", "engine_for", "sample_and_score"]


class SentencePieceEngine(Engine):
    """An engine of a whole `.model`: with the replacements that it may have in the text that is decoded."""

    def __init__(
        self,
        model: ScoredBPE | Unigram,
        normalizer: SentencePieceNormalizer,
        decoder: SentencePieceDecoder,
        *,
        cache_bytes: int,
    ) -> None:
        blob, offsets, scores, kinds = by_id(model)
        super().__init__(
            blob,
            offsets,
            scores,
            kinds,
            model.unk_id,
            model.byte_fallback,
            "bpe" if isinstance(model, ScoredBPE) else "unigram",
            normalizer.charsmap,
            (
                normalizer.add_dummy_prefix,
                normalizer.remove_extra_whitespaces,
                normalizer.escape_whitespaces,
                normalizer.treat_whitespace_as_suffix,
            ),
            (
                decoder.unk_surface.encode(),
                decoder.add_dummy_prefix,
                decoder.remove_extra_whitespaces,
            ),
            cache_bytes,
        )
        self._denormalizer = None if decoder.denormalizer is None else normalizer_of(decoder.denormalizer)

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The UTF-8 of the text of ids. Errors: IndexError for an id that no piece has."""
        text = super().decode(ids)
        return text if self._denormalizer is None else self._denormalizer.normalize(text)


def sample_and_score(
    engine: Engine,
    text: bytes,
    *,
    n: int,
    alpha: float,
    seed: int,
    replacement: bool = True,
    include_best: bool = False,
) -> list[tuple[NDArray[np.uint32], float]]:
    """Random segmentations of a text by a Unigram model: sentencepiece's `sample_encode_and_score`.

    With replacement: n pairs of ids and the log of the segmentation's probability, which is proportional to
    exp(alpha score). Without: up to n different ones with the log of the probability that it is among them, given the
    rest of the draw: log(1 - exp(-exp(log p - kappa))), where kappa is the perturbed log-probability of the first one
    left out; 0 where none is left out. `include_best` puts the best segmentation first, with 0, and draws the others
    from the rest. The same seed gives the same draw.

    Errors: ValueError for a model that is not Unigram, for n < 1, for `include_best` with replacement.
    """
    if n < 1:
        raise ValueError(f"n = {n}; want 1 or more")
    if include_best and replacement:
        raise ValueError("include_best: the best segmentation can only be included where none is drawn twice")
    lattice = engine.lattice(text)
    if replacement:
        return lattice.sample(alpha, n, seed)
    drawn = lattice.sample_different(alpha, n + 1, seed)
    result: list[tuple[NDArray[np.uint32], float]] = []
    if include_best:
        best = lattice.best(1)[0][0]
        drawn = [d for d in drawn if not np.array_equal(d[0], best)][:n]
        result.append((best, 0.0))
    kept = n - len(result)
    kappa = drawn[kept][2] if len(drawn) > kept else -math.inf
    return result + [(ids, _log_inclusion(log_p - kappa)) for ids, log_p, _ in drawn[:kept]]


def _log_inclusion(x: float) -> float:
    """log(1 - exp(-exp(x))), where exp(x) may be tiny or huge."""
    if x > 4:
        return math.log1p(-math.exp(-math.exp(min(x, 700.0))))
    rate = math.exp(x)
    return math.log(-math.expm1(-rate)) if rate > 1e-300 else x


def engine_for(spec: TokenizerSpec, *, cache_bytes: int, isa: str) -> SentencePieceEngine | None:
    """The engine of a spec that is a sentencepiece model; None for any other. Its code is the same for every `isa`."""
    if not isinstance(spec.model, ScoredBPE | Unigram) or spec.pre_tokenizer:
        return None
    if isinstance(spec.model, Unigram) and spec.model.rule != "sentencepiece":
        return None
    if len(spec.normalizer) != 1 or len(spec.decoder) != 1:
        return None
    normalizer, decoder = spec.normalizer[0], spec.decoder[0]
    if not isinstance(normalizer, SentencePieceNormalizer) or not isinstance(decoder, SentencePieceDecoder):
        return None
    return SentencePieceEngine(spec.model, normalizer, decoder, cache_bytes=cache_bytes)


def normalizer_of(spec: SentencePieceNormalizer) -> Normalizer:
    """The normalizer of a spec, compiled."""
    return Normalizer(
        spec.charsmap,
        spec.add_dummy_prefix,
        spec.remove_extra_whitespaces,
        spec.escape_whitespaces,
        spec.treat_whitespace_as_suffix,
    )


def by_id(
    model: ScoredBPE | Unigram,
) -> tuple[bytes, NDArray[np.int64], NDArray[np.float64], NDArray[np.uint8]]:
    """The arrays of a model indexed by id: blob, offsets, scores, kinds; an id without a piece has kind 0.

    A piece of a single NUL is none of a text where it is unused or bytes are pieces, as in sentencepiece 0.2.3.
    """
    vocab: Vocab = model.vocab
    n = int(vocab.ids[-1]) + 1 if len(vocab) else 0
    lengths, scores, kinds = np.zeros(n, np.int64), np.zeros(n, np.float64), np.zeros(n, np.uint8)
    lengths[vocab.ids] = np.diff(vocab.offsets)
    scores[vocab.ids] = model.scores
    if model.kinds is not None:
        kinds[vocab.ids] = model.kinds
    else:
        kinds[vocab.ids] = Kind.NORMAL
        if model.unk_id is not None:
            kinds[model.unk_id] = Kind.UNKNOWN
    nul = vocab.id_of(b"\0")
    if nul is not None and (model.byte_fallback or kinds[nul] == Kind.UNUSED):
        kinds[nul] = Kind.CONTROL
    return vocab.blob, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), scores, kinds
