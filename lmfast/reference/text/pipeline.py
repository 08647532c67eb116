"""Hugging Face's families said plainly: added tokens, normalizers, pre-tokenizers, the model, and decoders.

The steps are those of `lmfast.text.pipeline`, which does them one by one in plain Python; what compiled engines make of
such a spec is held to them, and they themselves to tokenizers 0.23.3 (tests/text/test_families.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lmfast.reference.text.byte_level import characters, find_added
from lmfast.text.pipeline import Pipeline
from lmfast.text.spec import AddedToken, TokenizerSpec

__all__ = ["decode_bytes", "encode", "encode_with_offsets"]


@lru_cache(maxsize=8)
def _pipeline(spec: TokenizerSpec) -> Pipeline:
    return Pipeline(spec)


def _wanted(spec: TokenizerSpec, allowed: Collection[str] | str, normalized: bool) -> dict[str, AddedToken]:
    """The added tokens to look for before (or after) normalization, by the text to look for."""
    found = {}
    for token in spec.added_tokens:
        if token.normalized == normalized and (not token.special or allowed == "all" or token.content in allowed):
            content = token.content
            if normalized:
                content = _pipeline(spec).normalize(content.encode()).text
            if content:
                found[content] = token
    return found


def _steps(
    text: str | bytes, spec: TokenizerSpec, allowed: Collection[str] | str, errors: str
) -> Iterable[tuple[int, tuple[int, int]]]:
    """Each id and the bytes that it comes from."""
    whole = characters(text, errors)
    raw, normalized = _wanted(spec, allowed, False), _wanted(spec, allowed, True)
    at = np.cumsum([0, *(len(c.encode("utf-8", "surrogateescape")) for c in whole)]).tolist()
    for start, stop, token_id in find_added(whole, raw):
        if start == stop:
            continue
        if token_id is not None:
            yield token_id, (at[start], at[stop])
            continue
        stretch = whole[start:stop].encode("utf-8", "surrogateescape")
        tidy = _pipeline(spec).normalize(stretch, start=at[start], places=True)
        for a, b, inner_id in find_added(tidy.text, normalized):
            part = tidy.cut(a, b)
            if inner_id is not None and part.places:
                yield inner_id, (part.places[0][0], part.places[-1][1])
            elif part.text:
                ids, places = _pipeline(spec).encode(part)
                yield from zip(ids, places or [], strict=True)


def encode(
    text: str | bytes, spec: TokenizerSpec, *, allowed_special: Collection[str] | str = (), errors: str = "replace"
) -> list[int]:
    """The ids of a text."""
    return [token_id for token_id, _ in _steps(text, spec, allowed_special, errors)]


def encode_with_offsets(
    text: str | bytes, spec: TokenizerSpec, *, allowed_special: Collection[str] | str = ()
) -> tuple[list[int], NDArray[np.int64]]:
    """The ids of a text, and the range of bytes that each comes from, int64[n, 2]."""
    found = list(_steps(text, spec, allowed_special, "replace"))
    return [token_id for token_id, _ in found], np.array([place for _, place in found], np.int64).reshape(-1, 2)


def decode_bytes(ids: Iterable[int], spec: TokenizerSpec) -> bytes:
    """The UTF-8 of the text of ids."""
    return _pipeline(spec).decode(np.array(list(ids), np.uint32))
