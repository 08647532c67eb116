"""Pre-tokenizers: how normalized text is split into the pieces that a model sees one at a time.

Each is named as in Hugging Face tokenizers and does the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lmfast.text.spec.shared import ByteLevel, Metaspace
from lmfast.text.spec.split import Behavior, Split

__all__ = [
    "Behavior",
    "BertPreTokenizer",
    "CharDelimiterSplit",
    "Digits",
    "FixedLength",
    "PreTokenizer",
    "PrefixSpace",
    "Punctuation",
    "Split",
    "UnicodeScripts",
    "Whitespace",
    "WhitespaceSplit",
]


@dataclass(frozen=True, slots=True)
class PrefixSpace:
    """Puts a space before every piece that does not begin with one."""


@dataclass(frozen=True, slots=True)
class BertPreTokenizer:
    """Removes white space, and makes every punctuation mark a piece."""


@dataclass(frozen=True, slots=True)
class Whitespace:
    r"""Keeps the matches of `\w+|[^\w\s]+`."""


@dataclass(frozen=True, slots=True)
class WhitespaceSplit:
    """Removes white space."""


@dataclass(frozen=True, slots=True)
class Punctuation:
    """Cuts at punctuation marks: those of ASCII, and the characters of general category P."""

    behavior: Behavior = "isolated"


@dataclass(frozen=True, slots=True)
class Digits:
    """Cuts at numeric characters: each one a piece, or each run."""

    individual_digits: bool = False


@dataclass(frozen=True, slots=True)
class CharDelimiterSplit:
    """Removes one character wherever it stands."""

    delimiter: str

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1:
            raise ValueError(f"delimiter = {self.delimiter!r}; want one character")


@dataclass(frozen=True, slots=True)
class UnicodeScripts:
    """Cuts where the script changes; spaces and characters of no script belong to what stands before them."""


@dataclass(frozen=True, slots=True)
class FixedLength:
    """Pieces of as many characters each; the last may be shorter."""

    length: int = 5

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length = {self.length}; want 1 or more")


PreTokenizer: TypeAlias = (
    Split
    | PrefixSpace
    | ByteLevel
    | Metaspace
    | BertPreTokenizer
    | Whitespace
    | WhitespaceSplit
    | Punctuation
    | Digits
    | CharDelimiterSplit
    | UnicodeScripts
    | FixedLength
)
