r"""Split patterns on their way from and to `tokenizer.json`, whose regular expressions are Oniguruma's.

lmfast's patterns mean what they mean to tiktoken and to the `regex` package. Oniguruma (Ruby's syntax) reads a few
constructs differently, and silently: `\p{N}{1,3}+` repeats a group of one to three digits where elsewhere it takes
three digits and gives none back, `a{2}?` is two or none, `$` is the end of any line, `[a[bc]]` is a set in a set. A
pattern with one of these cannot cross unchanged, so it is refused by name.

Source: doc/RE of Oniguruma 6.9; the differences named here were seen in tokenizers 0.23.3.
"""

from __future__ import annotations

import re

from lmfast.text.patterns import PATTERNS, splitter_of

__all__ = ["from_oniguruma", "to_oniguruma"]

# The one known pattern with such a construct. Nothing follows these digits, so giving none back changes nothing.
_CL100K = PATTERNS["cl100k_base"]
_CL100K_ONIGURUMA = _CL100K.replace("{1,3}+", "{1,3}")

_SAME_ESCAPES = frozenset("AbBdDsSwWpPnrtfvxu")
_SAME_GROUPS = re.compile(r"\(\?(?:[:=!>]|<[=!]|-?i:)")
_OTHER_REPEATS = re.compile(r"\{\d*,?\d*\}\+|\{\d+\}\?")


def from_oniguruma(pattern: str) -> str:
    """The pattern that means here what `pattern` means to Oniguruma. ValueError where that is not known."""
    if pattern == _CL100K_ONIGURUMA:
        return _CL100K
    if pattern == _CL100K or splitter_of(pattern) is None:
        _check(pattern)
    return pattern


def to_oniguruma(pattern: str) -> str:
    """The pattern that means to Oniguruma what `pattern` means here. ValueError where that is not known."""
    if pattern == _CL100K:
        return _CL100K_ONIGURUMA
    if splitter_of(pattern) is None:
        _check(pattern)
    return pattern


def _check(pattern: str) -> None:
    """Raise for the first construct that is not surely read alike, and for what is no regular expression at all."""
    at, in_set = 0, False
    while at < len(pattern):
        char, rest = pattern[at], pattern[at:]
        step = 1
        odd = ""
        if char == "\\":
            step = 2
            if rest[1:2].isalnum() and rest[1:2] not in _SAME_ESCAPES:
                odd = rest[:2]
        elif in_set:
            if char == "]":
                in_set = False
            elif char == "[" or rest[:2] in ("&&", "--", "||", "~~"):
                odd = rest[:2]
        elif char == "[":
            in_set = True
            step = 2 if rest[1:2] == "^" else 1
            if pattern[at + step : at + step + 1] == "]":
                odd = rest[: step + 1]
        elif char in "^$":
            odd = char
        elif rest.startswith("(?") and not _SAME_GROUPS.match(rest):
            odd = rest[:3]
        elif char == "{" and (repeated := _OTHER_REPEATS.match(rest)):
            odd = repeated.group()
        if odd:
            raise ValueError(f"{odd!r} at character {at} of the pattern may mean another thing to Oniguruma than here")
        at += step

    import regex

    try:
        regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
