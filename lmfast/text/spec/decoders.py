"""Decoders: how the tokens of ids become text. Each is named as in Hugging Face tokenizers and does the same.

A decoder is a function from a list of token strings to a list of strings; what the last one gives is joined. A spec
without any joins the bytes of the tokens where the model is byte-level, and the tokens with spaces where it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lmfast.text.spec.normalizers import SentencePieceNormalizer
from lmfast.text.spec.shared import ByteLevel, Metaspace, Replace

__all__ = [
    "CTC",
    "BPEDecoder",
    "ByteFallback",
    "Decoder",
    "Fuse",
    "SentencePieceDecoder",
    "StripDecoder",
    "WordPieceDecoder",
]


@dataclass(frozen=True, slots=True)
class WordPieceDecoder:
    """Joins tokens that begin with `prefix` to the one before them, the others with a space.

    cleanup  removes the space before some punctuation marks and English contractions
    """

    prefix: str = "##"
    cleanup: bool = True


@dataclass(frozen=True, slots=True)
class ByteFallback:
    """Runs of tokens `<0x00>`...`<0xFF>` become the text of these bytes; where that is no UTF-8, U+FFFD for each."""


@dataclass(frozen=True, slots=True)
class Fuse:
    """Makes one string of all."""


@dataclass(frozen=True, slots=True)
class StripDecoder:
    """Removes `content` up to `start` times from the beginning, and up to `stop` times from the end, of each string."""

    content: str
    start: int = 0
    stop: int = 0

    def __post_init__(self) -> None:
        if len(self.content) != 1 or self.start < 0 or self.stop < 0:
            raise ValueError(f"{self}: want one character, and no negative numbers")


@dataclass(frozen=True, slots=True)
class BPEDecoder:
    """The suffix that ends a word becomes a space, at the last token nothing."""

    suffix: str = "</w>"


@dataclass(frozen=True, slots=True)
class CTC:
    """Equal neighbours become one, `pad_token` goes, `word_delimiter_token` becomes a space.

    cleanup  as `WordPieceDecoder`'s, in each token
    """

    pad_token: str = "<pad>"
    word_delimiter_token: str = "|"
    cleanup: bool = True


@dataclass(frozen=True, slots=True)
class SentencePieceDecoder:
    """All that sentencepiece does to turn ids into text.

    unk_surface  what an unknown piece becomes
    add_dummy_prefix, remove_extra_whitespaces, treat_whitespace_as_suffix
                 as in `SentencePieceNormalizer`: which space at the beginning (the end) is not the text's own
    denormalizer what is done to the text that comes out (`denormalizer_spec`)
    """

    unk_surface: str = " \u2047 "
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    treat_whitespace_as_suffix: bool = False
    denormalizer: SentencePieceNormalizer | None = None


Decoder: TypeAlias = (
    ByteLevel
    | Metaspace
    | Replace
    | WordPieceDecoder
    | ByteFallback
    | Fuse
    | StripDecoder
    | BPEDecoder
    | CTC
    | SentencePieceDecoder
)
