"""Properties and normalization of stated versions of Unicode, whatever version Python and `regex` come with.

Categories, white space and word characters are of 16.0, normalization is of 9.0. tokenizers 0.23.3 has tables of other
versions in some of its parts; these are named by the number of the version.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import groupby
from typing import Literal

import regex

from lmfast.reference import unicode_sets
from lmfast.reference.unicode_16 import AFTER_9, KINDS, RUNS

__all__ = [
    "category",
    "is_boundary",
    "is_mark_9",
    "is_nonspacing_8",
    "is_numeric_17",
    "is_other_8",
    "is_punctuation_8",
    "is_space",
    "is_word",
    "lowercase",
    "nfc",
    "nfd",
    "nfkc",
    "nfkd",
    "normalize",
    "stand_ins",
]


@cache
def _letters() -> str:
    """For every code point the letter of its kind."""
    return "".join(letter * int(n or 1) for n, letter in re.findall(r"(\d*)(\D)", RUNS))


def _kind(character: str) -> str:
    return KINDS[_letters()[ord(character)]]


def category(character: str) -> str:
    """The general category in Unicode 16.0, two letters."""
    return _kind(character)[:2]


def is_space(character: str) -> bool:
    r"""Whether it is White_Space, the `\s` of all engines."""
    return "s" in _kind(character)[2:]


def is_word(character: str) -> bool:
    r"""Whether it is a word character by UTS #18, the `\w` of Rust's regex crate."""
    return "w" in _kind(character)[2:]


@cache
def stand_ins() -> dict[int, str]:
    """Characters that `regex` takes for another kind than Unicode 16.0 does, each with one of its right kind.

    `text.translate(stand_ins())` has the length of `text`, and by category, white space and word-ness `regex` sees in
    it what Unicode 16.0 says of `text`. Scripts and other properties stay those of the `regex` package.
    """
    letters = _letters()
    found: dict[int, str] = {}
    for letter, kind in KINDS.items():
        word, space = (flag if flag in kind[2:] else flag.upper() for flag in "ws")
        kind_is = rf"(?V1)[\p{{{kind[:2]}}}&&\{word}&&\{space}]+"
        members = "".join(chr(m.start()) for m in re.finditer(letter, letters))
        if others := set(regex.sub(kind_is, "", members)):
            agreed = next(c for c in reversed(members) if c not in others)
            found.update(dict.fromkeys(map(ord, others), agreed))
    return found


def normalize(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
    """A normalization form of Unicode 9.0.

    The data of an assigned character never changes (the stability policy of UAX #15), so this is the form that Python
    gives, between characters that Unicode 9.0 does not know: to it they are starters that combine with nothing.
    """
    if text.isascii():
        return text
    runs = ((young, "".join(run)) for young, run in groupby(text, _is_young))
    return "".join(run if young else unicodedata.normalize(form, run) for young, run in runs)


def nfc(text: str) -> str:
    """Normalization form C of Unicode 9.0."""
    return normalize("NFC", text)


def nfd(text: str) -> str:
    """Normalization form D of Unicode 9.0."""
    return normalize("NFD", text)


def nfkc(text: str) -> str:
    """Normalization form KC of Unicode 9.0."""
    return normalize("NFKC", text)


def nfkd(text: str) -> str:
    """Normalization form KD of Unicode 9.0."""
    return normalize("NFKD", text)


def lowercase(text: str) -> str:
    """Every character's lowercase by Unicode 17.0, without a look at its neighbours: a final sigma is like another."""
    young = _lower_after_13()
    return "".join(young.get(c) or c.lower() for c in text)


@cache
def _lower_after_13() -> dict[str, str]:
    pairs = (pair.split(":") for pair in unicode_sets.LOWER_AFTER_13.split())
    return {chr(int(upper, 16)): chr(int(lower, 16)) for upper, lower in pairs}


@cache
def _members(ranges: str) -> frozenset[str]:
    """The characters of ranges in hexadecimal."""
    ends = [(int(r.partition("-")[0], 16), int(r.rpartition("-")[2], 16)) for r in ranges.split()]
    return frozenset(chr(c) for first, last in ends for c in range(first, last + 1))


def is_punctuation_8(character: str) -> bool:
    """Whether it is punctuation (P) in Unicode 8.0, or any of ASCII's 32 punctuation characters."""
    return character in _members(unicode_sets.PUNCTUATION_8)


def is_other_8(character: str) -> bool:
    """Whether it is a control, a format or a private-use character (Cc, Cf, Co) in Unicode 8.0."""
    return character in _members(unicode_sets.OTHER_8)


def is_nonspacing_8(character: str) -> bool:
    """Whether it is a nonspacing mark (Mn) in Unicode 8.0."""
    return character in _members(unicode_sets.NONSPACING_8)


def is_mark_9(character: str) -> bool:
    """Whether it is a mark (M) in Unicode 9.0."""
    return character in _members(unicode_sets.MARKS_9)


def is_numeric_17(character: str) -> bool:
    """Whether it is a number (N) in Unicode 17.0."""
    return character in _members(unicode_sets.NUMERIC_17)


_AFTER_9 = frozenset(chr(int(c, 16)) for c in AFTER_9.split())


def _is_young(character: str) -> bool:
    return character in _AFTER_9 or category(character) == "Cn"


@cache
def _seconds() -> frozenset[str]:
    """The starters that compose with a character before them."""
    primary = (chr(c) for c in range(0x30000) if unicodedata.normalize("NFC", chr(c)) == chr(c))
    pairs = [unicodedata.decomposition(c).split() for c in primary]
    jamo = map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)))
    return frozenset({chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and pair[0][0] != "<"}.union(jamo))


def is_boundary(character: str) -> bool:
    """Whether text may be cut before the character, so that both parts normalize to NFC on their own."""
    if _is_young(character):
        return True
    first = unicodedata.normalize("NFD", character)[0]
    return unicodedata.combining(first) == 0 and first not in _seconds()
