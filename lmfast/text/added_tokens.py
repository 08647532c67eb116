"""Added tokens: what is looked for in a text, and which of the special ones a call allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmfast.text import _text
from lmfast.text.spec import AddedToken, TokenizerSpec

__all__ = ["AllowedSpecial", "Bits", "added_tokens", "allowed_bits", "check_added_tokens", "compiled_tokens"]

AllowedSpecial: TypeAlias = Literal["all"] | Collection[str]
Bits: TypeAlias = NDArray[np.uint8] | None  # of the special tokens that are allowed, in the order of the added ones
_FLAGS = (("special", 1), ("single_word", 2), ("lstrip", 4), ("rstrip", 8))


def check_added_tokens(spec: TokenizerSpec) -> None:
    """Errors: ValueError for an added token that stands twice."""
    contents = [token.content for token in spec.added_tokens]
    if twice := next((content for content, n in Counter(contents).items() if n > 1), None):
        raise ValueError(f"added token {twice!r} appears twice")


def added_tokens(spec: TokenizerSpec, normalized: bool) -> dict[bytes, AddedToken]:
    """The added tokens of one kind by what is looked for.

    In normalized text that is their normalized content; where two contents become one, the last token has it.
    """
    tokens = [token for token in spec.added_tokens if token.normalized == normalized]
    normalizes = normalized and bool(spec.normalizer)
    return {_text.nfc(t.content.encode()) if normalizes else t.content.encode(): t for t in tokens}


def compiled_tokens(tokens: dict[bytes, AddedToken]) -> tuple[tuple[bytes, int, int], ...]:
    """Added tokens as the compiled search takes them."""
    flags = {t: sum(bit for name, bit in _FLAGS if getattr(token, name)) for t, token in tokens.items()}
    return tuple((content, token.id, flags[content]) for content, token in tokens.items())


def allowed_bits(tokens: dict[bytes, AddedToken], allowed: Collection[str] | str) -> NDArray[np.uint8]:
    """A bit for each token, set for those that are allowed, from the lowest one of the first byte on."""
    wanted = [allowed == "all" or token.content in allowed for token in tokens.values()]
    return np.packbits(np.array(wanted, np.bool_), bitorder="little")
