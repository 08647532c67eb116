"""The one in-memory description of a tokenizer: what every file format is read into and written from.

A `TokenizerSpec` says what a tokenizer does and nothing about how fast. Readers (`lmfast.text.formats`) turn a file
into a spec, writers turn a spec into a file, trainers return a spec, and `lmfast.Tokenizer(spec)` compiles it.
Everything here is immutable; two specs are equal when their `fingerprint` is.

The life of a text under a spec: added tokens with `normalized=False` are cut out; what lies between them goes through
the normalizers; added tokens with `normalized=True` are cut out of that; the pre-tokenizer splits the rest into pieces;
the model turns each piece into ids; where the caller asks for it, the post-processor puts special tokens around them.
The decoder goes the other way. Each of these has a module here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lmfast.text.spec.bpe import BPE
from lmfast.text.spec.split import Behavior, Split
from lmfast.text.spec.tokenizer_spec import AddedToken, TokenizerSpec
from lmfast.text.spec.vocab import MAX_ID, TokenizerFileError, Vocab

if TYPE_CHECKING:
    from lmfast.text.spec.decoders import (
        CTC,
        BPEDecoder,
        ByteFallback,
        Decoder,
        Fuse,
        SentencePieceDecoder,
        StripDecoder,
        WordPieceDecoder,
    )
    from lmfast.text.spec.models import Kind, Model, ScoredBPE, Unigram, WordLevel, WordPiece
    from lmfast.text.spec.normalizers import (
        NFC,
        NFD,
        NFKC,
        NFKD,
        BertNormalizer,
        Lowercase,
        Nmt,
        Normalizer,
        Precompiled,
        Prepend,
        SentencePieceNormalizer,
        Strip,
        StripAccents,
    )
    from lmfast.text.spec.post_processors import (
        BertProcessing,
        PostProcessor,
        RobertaProcessing,
        TemplatePiece,
        TemplateProcessing,
    )
    from lmfast.text.spec.pre_tokenizers import (
        BertPreTokenizer,
        CharDelimiterSplit,
        Digits,
        FixedLength,
        PrefixSpace,
        PreTokenizer,
        Punctuation,
        UnicodeScripts,
        Whitespace,
        WhitespaceSplit,
    )
    from lmfast.text.spec.shared import ByteLevel, Metaspace, Replace

__all__ = [
    "BPE",
    "CTC",
    "MAX_ID",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "AddedToken",
    "BPEDecoder",
    "Behavior",
    "BertNormalizer",
    "BertPreTokenizer",
    "BertProcessing",
    "ByteFallback",
    "ByteLevel",
    "CharDelimiterSplit",
    "Decoder",
    "Digits",
    "FixedLength",
    "Fuse",
    "Kind",
    "Lowercase",
    "Metaspace",
    "Model",
    "Nmt",
    "Normalizer",
    "PostProcessor",
    "PreTokenizer",
    "Precompiled",
    "PrefixSpace",
    "Prepend",
    "Punctuation",
    "Replace",
    "RobertaProcessing",
    "ScoredBPE",
    "SentencePieceDecoder",
    "SentencePieceNormalizer",
    "Split",
    "Strip",
    "StripAccents",
    "StripDecoder",
    "TemplatePiece",
    "TemplateProcessing",
    "TokenizerFileError",
    "TokenizerSpec",
    "UnicodeScripts",
    "Unigram",
    "Vocab",
    "Whitespace",
    "WhitespaceSplit",
    "WordLevel",
    "WordPiece",
    "WordPieceDecoder",
]

_LATER = ("models", "shared", "pre_tokenizers", "normalizers", "post_processors", "decoders")
"""Modules imported at the first use of theirs: dataclasses are slow to make, and a rank file needs none of these."""


def __getattr__(name: str) -> Any:
    for module in _LATER if name in __all__ else ():
        here = import_module(f"{__name__}.{module}")
        if name in here.__all__:
            globals()[name] = getattr(here, name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
