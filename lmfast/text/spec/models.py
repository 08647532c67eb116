"""Models: how one piece of normalized text becomes ids.

Each holds its vocabulary and the numbers that decide between segmentations, nothing derived. Arrays are made read-only
when a model is built. Models compare by identity; a `TokenizerSpec` compares by contents.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lmfast.text.spec.bpe import BPE, check_unk
from lmfast.text.spec.vocab import Vocab

__all__ = ["BPE", "Kind", "Model", "ScoredBPE", "Unigram", "WordLevel", "WordPiece"]


class Kind(IntEnum):
    """What a piece of a sentencepiece model is; the numbers are those of its file format."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, eq=False)
class ScoredBPE:
    """sentencepiece's BPE: of all neighbours whose concatenation is a piece, the one of the highest score merges first,
    of equals the leftmost.

    scores         float32[n], by position in `vocab`
    kinds          uint8[n] of `Kind`, by position in `vocab`
    unk_id         what a character without a piece becomes
    byte_fallback  ... unless the vocabulary holds the 256 pieces `<0x00>`...`<0xFF>`, of `Kind.BYTE`: then those of its
                   UTF-8
    """

    vocab: Vocab
    scores: NDArray[np.float32]
    kinds: NDArray[np.uint8]
    unk_id: int
    byte_fallback: bool = False

    def __post_init__(self) -> None:
        _freeze(self, "scores", np.float32, len(self.vocab))
        _freeze(self, "kinds", np.uint8, len(self.vocab))
        _check_kinds(self.kinds)
        check_unk(self.vocab, self.unk_id)


@dataclass(frozen=True, eq=False)
class Unigram:
    """The segmentation with the largest sum of scores.

    scores         float64[n], by position in `vocab`
    kinds          uint8[n] of `Kind`, by position in `vocab`; None: every piece but `unk_id` is normal. By the rule of
                   tokenizers all pieces are found in text but those of `Kind.CONTROL`
    unk_id         what a run of characters without a piece becomes; None: such a text is an error
    byte_fallback  ... unless the vocabulary has the pieces `<0x00>`...`<0xFF>` of its UTF-8: then those
    rule           whose arithmetic decides between segmentations of almost equal score: that of sentencepiece 0.2.3
                   (float32) or of tokenizers 0.23.3 (float64)
    """

    vocab: Vocab
    scores: NDArray[np.float64]
    kinds: NDArray[np.uint8] | None = None
    unk_id: int | None = None
    byte_fallback: bool = False
    rule: Literal["sentencepiece", "tokenizers"] = "sentencepiece"

    def __post_init__(self) -> None:
        _freeze(self, "scores", np.float64, len(self.vocab))
        if self.kinds is not None:
            _freeze(self, "kinds", np.uint8, len(self.vocab))
            _check_kinds(self.kinds)
        if self.rule not in ("sentencepiece", "tokenizers"):
            raise ValueError(f"rule = {self.rule!r}; want 'sentencepiece' or 'tokenizers'")
        check_unk(self.vocab, self.unk_id)


@dataclass(frozen=True, eq=False)
class WordPiece:
    """The longest token that begins a word, then the longest that goes on, each after the first with a prefix.

    unk_id                     what a word becomes that cannot be built; None: such a text is an error
    max_input_chars_per_word   a word of more characters is unknown
    """

    vocab: Vocab
    unk_id: int | None = None
    continuing_subword_prefix: str = "##"
    max_input_chars_per_word: int = 100

    def __post_init__(self) -> None:
        if self.max_input_chars_per_word < 0:
            raise ValueError(f"max_input_chars_per_word = {self.max_input_chars_per_word}; want 0 or more")
        check_unk(self.vocab, self.unk_id)


@dataclass(frozen=True, eq=False)
class WordLevel:
    """A piece is a token or it is unknown. unk_id: None makes an unknown piece an error."""

    vocab: Vocab
    unk_id: int | None = None

    def __post_init__(self) -> None:
        check_unk(self.vocab, self.unk_id)


Model: TypeAlias = BPE | ScoredBPE | Unigram | WordPiece | WordLevel


def _freeze(model: object, name: str, dtype: DTypeLike, n: int) -> None:
    """Makes an array of a model contiguous and read-only, and checks that it has a number for each token."""
    array = np.array(getattr(model, name), dtype=dtype, order="C")
    if array.shape != (n,):
        raise ValueError(f"{name}: want shape ({n},), one for each token, got {array.shape}")
    if array.dtype.kind == "f" and not bool(np.all(np.isfinite(array))):
        at = int(np.argmin(np.isfinite(array)))
        raise ValueError(f"{name}[{at}] = {array[at]}: every score is finite")
    array.flags.writeable = False
    object.__setattr__(model, name, array)


def _check_kinds(kinds: NDArray[np.uint8]) -> None:
    wrong = (kinds < Kind.NORMAL) | (kinds > Kind.BYTE)
    if bool(np.any(wrong)):
        at = int(np.argmax(wrong))
        raise ValueError(f"kinds[{at}] = {kinds[at]}; want 1 to 6")
