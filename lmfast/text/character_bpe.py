"""BPE over characters with byte fallback: Llama-2, Mistral and their like as `tokenizer.json`.

Spaces become U+2581, and what is put before a text is the same; all this and the merges are compiled together
(csrc/text/character_bpe.h).

Exactness: tokenizers 0.23.3 (tests/text/test_families.py, test_character_bpe.py).
"""

from __future__ import annotations

import numpy as np

from lmfast.text._converted import CharacterEngine
from lmfast.text.spec import BPE, Metaspace, Prepend, Replace, Split, TokenizerSpec

__all__ = ["engine_for"]

_MARK = "\u2581"
_SPACES_TO_MARKS = Replace(" ", _MARK, literal=True)
_MOST_IDS = 1 << 21
"""LF_SCORED_MAX_SYMBOLS in csrc/text/scored_bpe.h."""


def engine_for(spec: TokenizerSpec, *, cache_bytes: int, isa: str) -> CharacterEngine | None:
    """The engine of a BPE over characters with byte fallback whose spaces become U+2581; None for any other spec. Its
    code is the same for every `isa`.
    """
    model, prefix = spec.model, _prefix_rule(spec)
    if not isinstance(model, BPE) or model.byte_level or not model.byte_fallback or prefix is None:
        return None
    if model.continuing_subword_prefix or model.end_of_word_suffix or model.dropout or model.ignore_merges:
        return None
    if len(model.vocab) == 0 or model.vocab.ids[-1] >= _MOST_IDS:
        return None
    found = [model.vocab.id_of(b"<0x%02X>" % byte) for byte in range(256)]
    fallback = [token_id for token_id in found if token_id is not None]
    assert model.merges is not None
    if len(fallback) < 256 or np.isin(model.merges, fallback).any():
        return None
    vocab = model.vocab
    lengths = np.zeros(int(vocab.ids[-1]) + 1, np.int64)
    lengths[vocab.ids] = np.diff(vocab.offsets)
    try:
        return CharacterEngine(vocab.blob, np.append(0, np.cumsum(lengths)), model.merges, prefix, cache_bytes)
    except ValueError:
        return None  # a token is too long for it


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
