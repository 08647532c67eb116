"""Cutting at a pattern, the pre-tokenizer of rank files; the others are in `pre_tokenizers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Behavior", "Split"]

Behavior: TypeAlias = Literal["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]
"""What becomes of a match: a piece of its own, nothing, a part of a neighbouring piece, or one with its like."""


@dataclass(frozen=True, slots=True)
class Split:
    """Cuts every piece at the matches of a regular expression (or of a literal string)."""

    pattern: str
    behavior: Behavior = "isolated"
    invert: bool = False
    literal: bool = False
