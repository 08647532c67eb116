"""Pre-tokenizers, step by step: a text into pieces, each with the places that it comes from.

Exactness: tokenizers 0.23.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from lmfast.text.patterns import GPT2_PATTERN
from lmfast.text.pipeline import characters
from lmfast.text.pipeline.aligned import Aligned
from lmfast.text.pipeline.normalizing import byte_level, find_matches
from lmfast.text.spec import (
    Behavior,
    BertPreTokenizer,
    ByteLevel,
    CharDelimiterSplit,
    Digits,
    FixedLength,
    Metaspace,
    PrefixSpace,
    PreTokenizer,
    Punctuation,
    Split,
    UnicodeScripts,
    Whitespace,
    WhitespaceSplit,
)

__all__ = ["Step", "pieces", "step_of"]

Step = Callable[[Aligned], Iterable[Aligned]]
Stretch = tuple[int, int, bool]
"""Characters [start, stop) and whether they are a match."""


def pieces(text: Aligned, steps: Iterable[Step]) -> list[Aligned]:
    """The pieces of a text after all steps, none of them empty."""
    parts = [text] if text.text else []
    for step in steps:
        parts = [piece for part in parts for piece in step(part) if piece.text]
    return parts


def step_of(pre_tokenizer: PreTokenizer) -> Step:
    """What a pre-tokenizer makes of one piece."""
    match pre_tokenizer:
        case Split(pattern, behavior, invert, literal):
            return lambda t: _cut(t, behavior, _matches(t.text, find_matches(pattern, literal, t.text), invert))
        case PrefixSpace():
            return _prefix_space
        case ByteLevel(add_prefix_space, use_regex):
            return _byte_level(add_prefix_space, use_regex)
        case Metaspace():
            return _metaspace(pre_tokenizer)
        case BertPreTokenizer():
            return _bert
        case Whitespace():
            return _whitespace
        case WhitespaceSplit():
            return _by_character(characters.is_space, "removed")
        case Punctuation(behavior):
            return _by_character(characters.is_punctuation, behavior)
        case Digits(individual_digits):
            return _by_character(characters.is_numeric, "isolated" if individual_digits else "contiguous")
        case CharDelimiterSplit(delimiter):
            return _by_character(delimiter.__eq__, "removed")
        case UnicodeScripts():
            return _unicode_scripts
        case FixedLength(length):
            return lambda t: [t.cut(i, min(i + length, len(t.text))) for i in range(0, len(t.text), length)]


def _matches(text: str, found: Iterable[tuple[int, int]], invert: bool = False) -> Iterator[Stretch]:
    """Stretches that cover a text: matches and what lies between them. `invert` swaps the two."""
    done = 0
    for start, stop in found:
        if start == stop == done:
            continue
        if done < start:
            yield done, start, invert
        yield start, stop, not invert
        done = stop
    if done < len(text):
        yield done, len(text), invert


def _cut(text: Aligned, behavior: Behavior, stretches: Iterable[Stretch]) -> list[Aligned]:
    """The pieces that matches make, as the behavior says. The second of two neighbouring matches never joins."""
    if behavior == "removed":
        return [text.cut(start, stop) for start, stop, is_match in stretches if not is_match]
    if behavior == "isolated":
        return [text.cut(start, stop) for start, stop, _ in stretches]
    backwards = behavior == "merged_with_next"
    bounds: list[tuple[int, int]] = []
    before = False
    for start, stop, is_match in reversed(list(stretches)) if backwards else stretches:
        joins = is_match == before if behavior == "contiguous" else is_match and not before
        if joins and bounds:
            last = bounds.pop()
            bounds.append((min(start, last[0]), max(stop, last[1])))
        else:
            bounds.append((start, stop))
        before = is_match
    return [text.cut(start, stop) for start, stop in (reversed(bounds) if backwards else bounds)]


def _characters(text: str, is_match: Callable[[str], bool]) -> list[tuple[int, int]]:
    return [(i, i + 1) for i, c in enumerate(text) if is_match(c)]


def _by_character(is_match: Callable[[str], bool], behavior: Behavior) -> Step:
    return lambda text: _cut(text, behavior, _matches(text.text, _characters(text.text, is_match)))


def _prefix_space(text: Aligned) -> list[Aligned]:
    if not text.text.startswith(" "):
        text.prepend(" ")
    return [text]


def _byte_level(add_prefix_space: bool, use_regex: bool) -> Step:
    def step(text: Aligned) -> list[Aligned]:
        if add_prefix_space:
            _prefix_space(text)
        found = [text]
        if use_regex:
            found = _cut(text, "isolated", _matches(text.text, find_matches(GPT2_PATTERN, False, text.text)))
        for piece in found:
            byte_level(piece)
        return found

    return step


def _metaspace(options: Metaspace) -> Step:
    replacement, scheme = options.replacement, options.prepend_scheme

    def step(text: Aligned) -> list[Aligned]:
        text.substitute(find_matches(" ", True, text.text), replacement)
        prepends = scheme == "always" or (scheme == "first" and text.start == 0)
        if prepends and not text.text.startswith(replacement):
            text.prepend(replacement)
        if not options.split:
            return [text]
        return _cut(text, "merged_with_next", _matches(text.text, _characters(text.text, replacement.__eq__)))

    return step


def _bert(text: Aligned) -> Iterable[Aligned]:
    for word in _by_character(characters.is_space, "removed")(text):
        yield from _by_character(characters.is_punctuation, "isolated")(word)


def _whitespace(text: Aligned) -> list[Aligned]:
    """The longest stretches of word characters, and of characters that are neither these nor white space."""
    kinds = [1 if characters.is_word(c) else 0 if characters.is_space(c) else 2 for c in text.text]
    found, start = [], 0
    for i in range(1, len(kinds) + 1):
        if i == len(kinds) or kinds[i] != kinds[start]:
            if kinds[start]:
                found.append(text.cut(start, i))
            start = i
    return found


def _unicode_scripts(text: Aligned) -> list[Aligned]:
    """Characters of no script before the first one that has one are lost."""
    starts: list[int] = []
    last: int | None = None
    for i, c in enumerate(text.text):
        script = None if c == " " else characters.script(c)
        if script is not None:
            if script != last:
                starts.append(i)
            last = script
    return [text.cut(a, b) for a, b in pairwise([*starts, len(text.text)])]
