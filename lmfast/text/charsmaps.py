"""The tables with which sentencepiece normalizes text and limits its pieces, made by tools/make_charsmaps.py."""

from __future__ import annotations

import lzma
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHARSMAPS", "charsmap", "scripts"]

CHARSMAPS = ("nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity")
"""The normalizations that have a name; identity is none."""


@lru_cache(2)
def charsmap(name: str) -> bytes:
    """The `precompiled_charsmap` of a normalization, with the rules that sentencepiece 0.2.3 has under that name.

    It is what `SentencePieceNormalizer` takes; that of identity is empty. ValueError for a name not in `CHARSMAPS`.
    """
    if name not in CHARSMAPS:
        raise ValueError(f"normalizer = {name!r}; want one of {', '.join(CHARSMAPS)}")
    if name == "identity":
        return b""
    return lzma.decompress((files("lmfast.text") / "charsmaps" / f"{name}.xz").read_bytes())


@lru_cache(1)
def scripts() -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The script of every code point as sentencepiece 0.2.3 has it, that of Unicode 9.0: uint8[0x110000] and its names.

    A code point without one is Common.
    """
    names = ["Common"]
    numbers = np.zeros(0x110000, np.uint8)
    for line in (files("lmfast.text") / "scripts.txt").read_text("ascii").splitlines():
        first, last, name = line.split()
        if name not in names:
            names.append(name)
        numbers[int(first, 16) : int(last, 16) + 1] = names.index(name)
    numbers.flags.writeable = False
    return numbers, tuple(names)
