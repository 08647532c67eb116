"""The compiled engine of the BERT family: which specs it serves.

Exactness: tokenizers 0.23.3.
"""

from __future__ import annotations

from lmfast.text._wordpiece import BertEngine
from lmfast.text.spec import MAX_ID, TokenizerSpec
from lmfast.text.spec.models import WordLevel, WordPiece
from lmfast.text.spec.normalizers import BertNormalizer, Lowercase
from lmfast.text.spec.pre_tokenizers import BertPreTokenizer, Whitespace, WhitespaceSplit

__all__ = ["engine_for"]

_RULES = {BertPreTokenizer: "bert", Whitespace: "classes", WhitespaceSplit: "spaces"}


def engine_for(spec: TokenizerSpec, *, cache_bytes: int, isa: str) -> BertEngine | None:
    """The engine of a spec of WordPiece or WordLevel with at most BertNormalizer (or Lowercase) before and one of
    BertPreTokenizer, Whitespace and WhitespaceSplit; None for any other.
    """
    model, normalizer = spec.model, _normalizer(spec)
    rule = _RULES.get(type(spec.pre_tokenizer[0])) if len(spec.pre_tokenizer) == 1 else None
    if not isinstance(model, WordPiece | WordLevel) or normalizer is None or rule is None:
        return None
    if len(model.vocab) and max(int(model.vocab.ids[-1]), model.unk_id or 0) == MAX_ID:
        return None  # the engine's trie has no room for it
    pieces = isinstance(model, WordPiece)
    strip = normalizer.lowercase if normalizer.strip_accents is None else normalizer.strip_accents
    return BertEngine(
        model.vocab.blob,
        model.vocab.offsets,
        model.vocab.ids,
        whole=not pieces,
        prefix=model.continuing_subword_prefix.encode() if isinstance(model, WordPiece) else b"",
        unk_id=-1 if model.unk_id is None else model.unk_id,
        max_chars=min(model.max_input_chars_per_word, _NO_LIMIT) if isinstance(model, WordPiece) else _NO_LIMIT,
        rule=rule,
        clean=normalizer.clean_text,
        space_ideographs=normalizer.handle_chinese_chars,
        strip_accents=strip,
        lowercase=normalizer.lowercase,
        cache_bytes=cache_bytes,
        isa=isa,
    )


_NO_LIMIT = 2**63 - 1


def _normalizer(spec: TokenizerSpec) -> BertNormalizer | None:
    """The normalizer as options of BERT's, or None where it is another one."""
    if not spec.normalizer:
        return BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    (first, *others) = spec.normalizer
    if not others and isinstance(first, Lowercase):
        return BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=True)
    return first if not others and isinstance(first, BertNormalizer) else None
