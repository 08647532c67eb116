"""Normalizers, step by step: text to text, with the places that it comes from.

Exactness: tokenizers 0.23.3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import regex

from lmfast.text.pipeline import characters
from lmfast.text.pipeline.aligned import Aligned
from lmfast.text.pipeline.bytes_alphabet import CHARACTER_OF
from lmfast.text.pipeline.charsmap import Charsmap
from lmfast.text.spec import (
    NFC,
    NFD,
    NFKC,
    NFKD,
    BertNormalizer,
    ByteLevel,
    Lowercase,
    Nmt,
    Normalizer,
    Precompiled,
    Prepend,
    Replace,
    Strip,
    StripAccents,
)

__all__ = ["Step", "find_matches", "step_of"]

Step = Callable[[Aligned], None]


def step_of(normalizer: Normalizer) -> Step:
    """What a normalizer does to a text, in place. Errors: ValueError for one that only a compiled engine knows."""
    match normalizer:
        case NFC():
            return _form("NFC")
        case NFD():
            return _form("NFD")
        case NFKC():
            return _form("NFKC")
        case NFKD():
            return _form("NFKD")
        case Lowercase():
            return _lowercase
        case StripAccents():
            return lambda text: text.filter(lambda c: not characters.is_mark(c))
        case Strip(left, right):
            return lambda text: _strip(text, left, right)
        case Prepend(prepend):
            return lambda text: text.prepend(prepend)
        case Replace(pattern, content, literal):
            return lambda text: text.substitute(find_matches(pattern, literal, text.text), content)
        case Nmt():
            return _nmt
        case BertNormalizer():
            return _bert(normalizer)
        case Precompiled(charsmap):
            return _precompiled(charsmap)
        case ByteLevel():
            return byte_level
        case _:
            raise ValueError(f"{type(normalizer).__name__} does not go together with the other components of this spec")


def find_matches(pattern: str, literal: bool, text: str) -> list[tuple[int, int]]:
    """Where a pattern matches; a regular expression sees the character properties of Unicode 16.0."""
    if literal:
        found, at = [], text.find(pattern)
        while at >= 0 and pattern:
            found.append((at, at + len(pattern)))
            at = text.find(pattern, at + len(pattern))
        return found
    shown = text if text.isascii() else text.translate(characters.stand_ins())
    return [match.span() for match in _compiled(pattern).finditer(shown)]


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern)


def _form(name: Literal["NFC", "NFD", "NFKC", "NFKD"]) -> Step:
    normal_form = characters.normal_form(name)

    def step(text: Aligned) -> None:
        new = normal_form(text.text)
        if text.places is not None and new != text.text:
            text.replace_all(characters.aligned_form(name, text.text))
        text.text = new

    return step


def _lowercase(text: Aligned) -> None:
    text.map(characters.lower)


def _strip(text: Aligned, left: bool, right: bool) -> None:
    start, stop = 0, len(text.text)
    while left and start < stop and characters.is_space(text.text[start]):
        start += 1
    while right and start < stop and characters.is_space(text.text[stop - 1]):
        stop -= 1
    if text.places is not None:
        text.places = text.places[start:stop]
    text.text = text.text[start:stop]


def _nmt(text: Aligned) -> None:
    text.filter(lambda c: not characters.is_removed_by_nmt(c))
    text.map(lambda c: " " if characters.is_space_to_nmt(c) else c)


def _bert(options: BertNormalizer) -> Step:
    strip_accents = options.lowercase if options.strip_accents is None else options.strip_accents
    decompose = _form("NFD")

    def step(text: Aligned) -> None:
        if options.clean_text:
            text.filter(lambda c: not characters.is_removed_by_bert(c))
            text.map(lambda c: " " if characters.is_space(c) else c)
        if options.handle_chinese_chars:
            text.map(lambda c: f" {c} " if characters.is_ideograph_to_bert(c) else c)
        if strip_accents:
            decompose(text)
            text.filter(lambda c: not characters.is_nonspacing_mark(c))
        if options.lowercase:
            text.map(characters.lower)

    return step


def _precompiled(charsmap: bytes) -> Step:
    """The library looks up whole grapheme clusters of less than 6 bytes, and then single characters; in each it takes
    the replacement of the shortest beginning that has one, and drops the rest.
    """
    table = Charsmap(charsmap)

    def step(text: Aligned) -> None:
        new: list[tuple[str, int]] = []
        modified = False
        for cluster in characters.grapheme_clusters(text.text):
            parts = [cluster]
            if len(cluster) > 1 and (len(cluster.encode()) >= 6 or table.first(cluster) is None):
                parts = list(cluster)
            for part in parts:
                found = table.first(part) if len(part.encode()) < 6 else None
                if found is None:
                    new += [(c, 0) for c in part]
                else:
                    modified = True
                    _replace_part(new, part, found)
        if modified:
            text.replace_all(new)

    return step


def _replace_part(new: list[tuple[str, int]], old: str, content: str) -> None:
    n = len(content) - len(old)
    new += [(c, 0) for c in content]
    if n > 0:
        new[-n:] = [(c, 1) for c, _ in new[-n:]]
    elif n < 0 and new:
        new[-1] = (new[-1][0], new[-1][1] + n)


def byte_level(text: Aligned) -> None:
    """Every byte becomes the character that stands for it."""
    text.map(lambda c: "".join([CHARACTER_OF[byte] for byte in c.encode()]))
