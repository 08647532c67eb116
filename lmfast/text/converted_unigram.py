"""Unigram models of `tokenizer.json` with a Metaspace: T5, ALBERT, XLM-RoBERTa, mBART and their like.

The normalizers of such files and the Metaspace, be it behind a WhitespaceSplit, are compiled together with the model
(csrc/text/converted.h).

Exactness: tokenizers 0.23.3 (tests/text/test_families.py, test_converted.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmfast.text._converted import UnigramEngine
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

__all__ = ["engine_for"]

Step = tuple[str, str, bytes, bytes]


def engine_for(spec: TokenizerSpec, *, cache_bytes: int, isa: str) -> UnigramEngine | None:
    """The engine of a Unigram by the rule of tokenizers with one Metaspace, be it behind a WhitespaceSplit, and such
    normalizers as come with it; None for any other spec.
    """
    if not isinstance(spec.model, Unigram) or spec.model.rule != "tokenizers" or spec.model.unk_id is None:
        return None
    steps, metaspace, model = [_step(n) for n in spec.normalizer], _metaspace(spec), _findable(spec.model)
    if metaspace is None or model is None or None in steps:
        return None
    try:
        return UnigramEngine(
            by_id(model),
            spec.model.unk_id,
            model.byte_fallback,
            [step for step in steps if step is not None],
            metaspace,
            cache_bytes,
        )
    except ValueError:
        return None  # a damaged map of characters; step by step what it says is followed within its bounds


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
