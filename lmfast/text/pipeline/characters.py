"""What characters are, to the parts of tokenizers 0.23.3: spaces, marks, punctuation, scripts, and normal forms.

Each property is that of the version of Unicode which that part of the library comes with.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from itertools import accumulate
from typing import Literal

import regex

from lmfast.reference import unicode
from lmfast.reference.unicode import stand_ins
from lmfast.text.pipeline import character_data as data

__all__ = [
    "aligned_form",
    "grapheme_clusters",
    "is_ideograph_to_bert",
    "is_mark",
    "is_nonspacing_mark",
    "is_numeric",
    "is_punctuation",
    "is_removed_by_bert",
    "is_removed_by_nmt",
    "is_space",
    "is_space_to_nmt",
    "is_word",
    "lower",
    "normal_form",
    "script",
    "stand_ins",
]


def _member_of(runs: str) -> Callable[[str], bool]:
    """Whether a character is in runs of code points, given as gaps and lengths in turn."""
    bounds = list(accumulate(int(n, 16) for n in runs.split()))

    @lru_cache(maxsize=8192)
    def is_member(character: str) -> bool:
        return bisect_right(bounds, ord(character)) % 2 == 1

    return is_member


is_numeric = _member_of(data.NUMERIC)
is_punctuation = _member_of(data.PUNCTUATION)
is_mark = _member_of(data.MARKS)
is_nonspacing_mark = _member_of(data.NONSPACING_MARKS)
is_removed_by_bert = _member_of(data.REMOVED_BY_BERT)


def _runs(*ranges: tuple[int, int]) -> str:
    """Ranges of code points, the last one included, as gaps and lengths."""
    done, numbers = 0, []
    for first, last in ranges:
        numbers += [first - done, last + 1 - first]
        done = last + 1
    return " ".join(f"{n:x}" for n in numbers)


is_removed_by_nmt = _member_of(_runs((1, 8), (0xB, 0xB), (0xE, 0x1F), (0x7F, 0x7F), (0x8F, 0x8F), (0x9F, 0x9F)))
is_ideograph_to_bert = _member_of(
    _runs(
        (0x3400, 0x4DBF),
        (0x4E00, 0x9FFF),
        (0xF900, 0xFAFF),
        (0x20000, 0x2A6DF),
        (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F),
        (0x2B920, 0x2CEAF),
        (0x2F800, 0x2FA1F),
    )
)
_SPACES_TO_NMT = frozenset("\t\n\f\r\u1680\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u2581\ufeff\ufffd")


def is_space_to_nmt(character: str) -> bool:
    """Whether `Nmt` makes it a space."""
    return character in _SPACES_TO_NMT


@lru_cache(maxsize=8192)
def is_space(character: str) -> bool:
    """Whether it is White_Space."""
    return unicode.is_space(character)


@lru_cache(maxsize=8192)
def is_word(character: str) -> bool:
    r"""Whether it is a word character, the `\w` of Rust's regex crate."""
    return unicode.is_word(character)


@cache
def _lowercase() -> dict[str, str]:
    pairs = (pair.split("=") for pair in data.LOWERCASE.split())
    return {chr(int(old, 16)): "".join(chr(int(c, 16)) for c in new.split("+")) for old, new in pairs}


def lower(character: str) -> str:
    """The full lower-case mapping of a character."""
    return _lowercase().get(character, character)


@cache
def _scripts() -> list[Callable[[str], bool]]:
    return [_member_of(runs) for runs in data.SCRIPTS.split(";") if runs.strip()]


@lru_cache(maxsize=8192)
def script(character: str) -> int | None:
    """A number for the script of a character; None for no script."""
    return next((i for i, is_member in enumerate(_scripts()) if is_member(character)), None)


def grapheme_clusters(text: str) -> list[str]:
    """Extended grapheme clusters."""
    return list(text) if text.isascii() and "\r" not in text else regex.findall(r"\X", text)


def normal_form(name: Literal["NFC", "NFD", "NFKC", "NFKD"]) -> Callable[[str], str]:
    """A normalization form by name, NFC, NFD, NFKC or NFKD, of the Unicode version that the library has.

    To it, characters of later versions are starters that combine with nothing.
    """

    def normalize(text: str) -> str:
        if text.isascii():
            return text
        return "".join(run if young else unicodedata.normalize(name, run) for young, run in _by_age(text))

    return normalize


def _by_age(text: str) -> Iterator[tuple[bool, str]]:
    start, age = 0, False
    for i, c in enumerate(text):
        young = unicode._is_young(c)
        if young != age:
            if i > start:
                yield age, text[start:i]
            start, age = i, young
    yield age, text[start:]


def aligned_form(name: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> list[tuple[str, int]]:
    """The same form, each character with the number of old ones that it stands for, less one, as the library counts.

    The first character of a decomposition stands for the old one and the others were put in; what is composed adds up.
    Marks are put in order with their numbers, which are then read from the left: so one that changed its place comes
    from where it stands now.
    """
    apart: Literal["NFD", "NFKD"] = "NFKD" if "K" in name else "NFD"
    decomposed: list[tuple[str, int]] = []
    pending: list[tuple[str, int]] = []
    for c in text:
        parts = c if unicode._is_young(c) else unicodedata.normalize(apart, c)
        for i, part in enumerate(parts):
            if not _combining(part):
                decomposed += sorted(pending, key=lambda pair: _combining(pair[0]))
                pending.clear()
            pending.append((part, min(i, 1)))
    decomposed += sorted(pending, key=lambda pair: _combining(pair[0]))
    return decomposed if name.endswith("D") else _composed(decomposed)


def _combining(character: str) -> int:
    return 0 if unicode._is_young(character) else unicodedata.combining(character)


def _composed(decomposed: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Starters put together with what follows them and is not blocked."""
    result: list[tuple[str, int]] = []
    starter, last = -1, 0
    """Where the last starter is, and the class of the last character behind it."""
    for c, change in decomposed:
        combining = _combining(c)
        free = len(result) == starter + 1 or 0 < last < combining
        made = _pair(result[starter][0], c) if starter >= 0 and free else None
        if made is not None:
            result[starter] = made, result[starter][1] + change - 1
            continue
        if not combining:
            starter = len(result)
        last = combining
        result.append((c, change))
    return result


@lru_cache(maxsize=8192)
def _pair(a: str, b: str) -> str | None:
    """The character that two compose to, or None."""
    if unicode._is_young(a) or unicode._is_young(b):
        return None
    made = unicodedata.normalize("NFC", a + b)
    if len(made) != 1 or unicode._is_young(made):
        return None
    return made if unicodedata.decomposition(made) in ("", f"{ord(a):04X} {ord(b):04X}") else None
