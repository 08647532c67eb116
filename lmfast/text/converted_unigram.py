"""Unigram models of `tokenizer.json` with a Metaspace: T5, ALBERT, XLM-RoBERTa, mBART and their like.

The normalizers of such files and the Metaspace, be it behind a WhitespaceSplit, are compiled together with the model
(csrc/text/converted.h). Places behind a normal form that changes the text, and decoding, go step by step.

Exactness: tokenizers 0.23.3 (tests/text/test_families.py, test_converted.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lmfast.text import _converted
from lmfast.text.pipeline import Pipeline
from lmfast.text.sentencepiece import by_id
from lmfast.text.spec import (
    NFC,
    NFD,
    NFKC,
    NFKD,
    Kind,
    Lowercase,
    Metaspace,
    Nmt,
    Normalizer,
    Precompiled,
    Prepend,
    Replace,
    Strip,
    StripAccents,
    TokenizerSpec,
    Unigram,
    Vocab,
    WhitespaceSplit,
)

__all__ = ["ConvertedUnigram", "engine_for"]

_MOST_GROWTH = 72
"""Ids for each byte of a text, at most, for which room is taken before it is encoded."""
Step = tuple[str, str, bytes, bytes]


def engine_for(spec: TokenizerSpec, *, cache_bytes: int, isa: str) -> ConvertedUnigram | None:
    """The engine of a Unigram by the rule of tokenizers with one Metaspace, be it behind a WhitespaceSplit, and such
    normalizers as come with it; None for any other spec.
    """
    if not isinstance(spec.model, Unigram) or spec.model.rule != "tokenizers" or spec.model.unk_id is None:
        return None
    steps, metaspace, model = [_step(n) for n in spec.normalizer], _metaspace(spec), _findable(spec.model)
    if metaspace is None or model is None or None in steps:
        return None
    try:
        engine = ConvertedUnigram(spec, model, [step for step in steps if step is not None], metaspace, cache_bytes)
    except ValueError:
        return None  # a damaged map of characters; step by step what it says is followed within its bounds
    return engine if engine.bound(1) - engine.bound(0) <= _MOST_GROWTH else None


def _step(normalizer: Normalizer) -> Step | None:
    """A normalizer as the compiled engine takes it, or None."""
    match normalizer:
        case Precompiled(charsmap):
            return "precompiled", "", charsmap, b""
        case Replace(pattern, content, True) if pattern:
            return "replace", "", pattern.encode(), content.encode()
        case Replace(" {2,}", content, False):
            return "spaces", "", b"", content.encode()
        case Strip(left, right):
            return (
                "strip",
                {(True, True): "both", (True, False): "left", (False, True): "right"}.get((left, right), ""),
                b"",
                b"",
            )
        case Prepend(prepend):
            return "prepend", "", b"", prepend.encode()
        case Lowercase():
            return "rewrite", "lowercase", b"", b""
        case StripAccents():
            return "rewrite", "strip_accents", b"", b""
        case Nmt():
            return "rewrite", "nmt", b"", b""
        case NFC() | NFD() | NFKC() | NFKD():
            return "form", type(normalizer).__name__, b"", b""
        case _:
            return None


def _metaspace(spec: TokenizerSpec) -> tuple[bytes, str, bool, bool] | None:
    """The mark, where it is put before, whether words begin with it, and whether there is a WhitespaceSplit."""
    if not spec.pre_tokenizer or not isinstance(last := spec.pre_tokenizer[-1], Metaspace):
        return None
    by_white_space = len(spec.pre_tokenizer) > 1
    if by_white_space and (len(spec.pre_tokenizer) > 2 or not isinstance(spec.pre_tokenizer[0], WhitespaceSplit)):
        return None
    if by_white_space and last.prepend_scheme != "always":
        return None
    if last.prepend_scheme == "first" and any(map(_may_remove_the_start, spec.normalizer)):
        return None
    return last.replacement.encode(), last.prepend_scheme, last.split, by_white_space


def _may_remove_the_start(normalizer: Normalizer) -> bool:
    """Whether a text may begin further on in the input afterwards: then nothing is put before it as before a first."""
    match normalizer:
        case Strip(left, _):
            return left
        case Replace(_, content, _):
            return not content
        case StripAccents() | Nmt():
            return True
        case _:
            return False


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


class ConvertedUnigram(_converted.UnigramEngine):
    """An `lmfast.text.engine.Engine`."""

    def __init__(
        self,
        spec: TokenizerSpec,
        model: Unigram,
        steps: list[Step],
        metaspace: tuple[bytes, str, bool, bool],
        cache_bytes: int,
    ) -> None:
        assert model.unk_id is not None
        super().__init__(by_id(model), model.unk_id, model.byte_fallback, steps, metaspace, cache_bytes)
        self._pipeline = Pipeline(spec)
        self._keeps_places = all(kind != "form" for kind, *_ in steps)

    def encode_with_offsets(self, data: bytes, first: bool = True) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The ids of one stretch and their places."""
        if self._keeps_places:
            return super().encode_with_offsets(data, first)
        text = self._pipeline.normalize(data, start=0 if first else 1, places=True)
        ids, places = self._pipeline.encode(text)
        spans = np.array(places or [], np.int64).reshape(-1, 2)
        return np.array(ids, np.uint32), spans if first else spans - 1

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The UTF-8 of the text of ids."""
        return self._pipeline.decode(ids)
