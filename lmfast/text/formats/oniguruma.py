r"""Split patterns on their way from and to `tokenizer.json`, whose regular expressions are Oniguruma's.

lmfast's patterns mean what they mean to tiktoken and to the `regex` package. Oniguruma (Ruby's syntax) reads a few
constructs differently, and silently: `\p{N}{1,3}+` repeats a group of one to three digits where elsewhere it takes
three digits and gives none back, `a{2}?` is two or none, `$` is the end of any line, `[a[bc]]` is a set in a set,
`\pL` is no property. A pattern with one of these cannot cross unchanged, so it is refused by name.

Word characters are written out: `\w` has the two joiners (U+200C, U+200D) here and not there, and outside of a set six
numbers of Latin-1 there and not here; `\b` looks at the same.

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
_OTHER_PROPERTIES = re.compile(r"\\[pP](?!\{)|\\[pP]\{\s*[Ww]ord\s*\}|\\[pP]\{\s*WORD\s*\}")
_WORD = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}"
_JOINERS, _LATIN_1 = "\u200c\u200d", "\u00b2\u00b3\u00b9\u00bc\u00bd\u00be"


def from_oniguruma(pattern: str) -> str:
    """The pattern that means here what `pattern` means to Oniguruma. ValueError where that is not known."""
    if pattern == _CL100K_ONIGURUMA:
        return _CL100K
    if pattern == _CL100K or splitter_of(pattern) is None:
        return _translate(pattern, _WORD + _LATIN_1, _WORD)
    return pattern


def to_oniguruma(pattern: str) -> str:
    """The pattern that means to Oniguruma what `pattern` means here. ValueError where that is not known."""
    if pattern == _CL100K:
        return _CL100K_ONIGURUMA
    if splitter_of(pattern) is None:
        return _translate(pattern, _WORD + _JOINERS, _WORD + _JOINERS)
    return pattern


def _translate(pattern: str, word: str, word_in_set: str) -> str:
    """The pattern with word characters written out: as `word`, and as `word_in_set` where they stand in a set.

    Errors: ValueError for the first construct that is not surely read alike, and for what is no regular expression.
    """
    ahead, behind, not_ahead, not_behind = f"(?=[{word}])", f"(?<=[{word}])", f"(?![{word}])", f"(?<![{word}])"
    written = {
        r"\w": f"[{word}]",
        r"\W": f"[^{word}]",
        r"\b": f"(?:{behind}{not_ahead}|{not_behind}{ahead})",
        r"\B": f"(?:{behind}{ahead}|{not_behind}{not_ahead})",
    }
    parts: list[str] = []
    at, in_set = 0, False
    while at < len(pattern):
        char, rest = pattern[at], pattern[at:]
        step = 1
        odd = ""
        part = None
        if char == "\\":
            step = 2
            if rest[1:2].isalnum() and rest[1:2] not in _SAME_ESCAPES:
                odd = rest[:2]
            elif other := _OTHER_PROPERTIES.match(rest):
                odd = other.group()
            elif not in_set:
                part = written.get(rest[:2])
            elif rest[:2] == r"\w":
                part = word_in_set
            elif rest[:2] == r"\W":
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
        parts.append(part or rest[:step])
        at += step
    translated = "".join(parts)

    import regex

    try:
        regex.compile(translated)
    except (regex.error, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return translated
