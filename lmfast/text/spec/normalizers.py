"""Normalizers: what happens to text before it is split. Each is named as in Hugging Face tokenizers and does the same.

A normalizer is a function from text to text; where it changes something, offsets still lead back to the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lmfast.text.spec.shared import ByteLevel, Replace

__all__ = [
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "BertNormalizer",
    "Lowercase",
    "Nmt",
    "Normalizer",
    "Precompiled",
    "Prepend",
    "SentencePieceNormalizer",
    "Strip",
    "StripAccents",
]


@dataclass(frozen=True, slots=True)
class NFC:
    """Unicode normalization form C."""


@dataclass(frozen=True, slots=True)
class NFD:
    """Unicode normalization form D."""


@dataclass(frozen=True, slots=True)
class NFKC:
    """Unicode normalization form KC."""


@dataclass(frozen=True, slots=True)
class NFKD:
    """Unicode normalization form KD."""


@dataclass(frozen=True, slots=True)
class Lowercase:
    """Every character becomes its full lower-case mapping (without the rules that look at neighbours)."""


@dataclass(frozen=True, slots=True)
class StripAccents:
    """Removes every combining mark (general category M)."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Removes white space at either end."""

    left: bool = True
    right: bool = True


@dataclass(frozen=True, slots=True)
class Prepend:
    """Puts a string before every text that is not empty."""

    prepend: str


@dataclass(frozen=True, slots=True)
class Nmt:
    """sentencepiece's clean-up: some control characters go, some kinds of white space become a space."""


@dataclass(frozen=True, slots=True)
class BertNormalizer:
    """What BERT does before it splits.

    clean_text            control characters go, white space becomes a space
    handle_chinese_chars  puts a space on each side of every ideograph
    strip_accents         decomposes and removes non-spacing marks; None: as `lowercase`
    lowercase             every character becomes its full lower-case mapping
    """

    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True


@dataclass(frozen=True, slots=True)
class Precompiled:
    """sentencepiece's table of replacements as tokenizers applies it: by grapheme clusters.

    charsmap  the bytes of `precompiled_charsmap` in a sentencepiece model
    """

    charsmap: bytes


@dataclass(frozen=True, slots=True)
class SentencePieceNormalizer:
    """All that sentencepiece does to a text before its model sees it; pieces of `Kind.USER_DEFINED` are left alone.

    charsmap                    the table of replacements (`precompiled_charsmap`), applied longest first; empty: none
    add_dummy_prefix            puts a space before the text (behind it with `treat_whitespace_as_suffix`)
    remove_extra_whitespaces    removes spaces at either end, and makes one of several
    escape_whitespaces          a space becomes U+2581
    treat_whitespace_as_suffix  a space belongs to the word before it
    """

    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True
    treat_whitespace_as_suffix: bool = False


Normalizer: TypeAlias = (
    NFC
    | NFD
    | NFKC
    | NFKD
    | Lowercase
    | StripAccents
    | Strip
    | Prepend
    | Replace
    | Nmt
    | BertNormalizer
    | Precompiled
    | SentencePieceNormalizer
    | ByteLevel
)
