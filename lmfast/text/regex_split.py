"""Pre-tokenizers of byte-level BPE with a pattern that has no table, by the `regex` package. Exact and slow.

Text here is a str in which each byte that is not UTF-8 stands as a lone surrogate (`errors="surrogateescape"`): a
character that is neither letter, number nor white space, which is lmfast's rule for such bytes.

Patterns see characters with the properties of Unicode 16.0, whatever version `regex` comes with: a character that it
takes for another kind is shown to it as one of the right kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import regex

from lmfast.reference.unicode import stand_ins
from lmfast.text.spec import PrefixSpace, PreTokenizer, Split

__all__ = ["Piece", "pieces", "placed_pieces", "steps_of"]

Step = Callable[[str], Iterable[str]]
Span = tuple[int, int, bool]


def steps_of(pre_tokenizer: tuple[PreTokenizer, ...]) -> list[Step]:
    """The steps of a pre-tokenizer as functions from a piece to its pieces."""
    return [_step(step) for step in pre_tokenizer]


def _step(step: PreTokenizer) -> Step:
    if isinstance(step, Split):
        return _splitter(step)
    if isinstance(step, PrefixSpace):
        return _prefix_space
    raise ValueError(f"{type(step).__name__} is no step of byte-level BPE; a BPE over characters has any")


def pieces(text: str, steps: list[Step]) -> Iterable[str]:
    """The pieces of a text, none of them empty, after all steps."""
    parts: Iterable[str] = [text]
    for step in steps:
        parts = [piece for part in parts for piece in step(part) if piece]
    return parts


class Piece(NamedTuple):
    """A piece, where in the text it begins, in characters, and whether its first one, a space, was put there."""

    text: str
    start: int
    prefixed: bool


def placed_pieces(text: str, pre_tokenizer: tuple[PreTokenizer, ...]) -> list[Piece]:
    """The same pieces with their places."""
    parts = [Piece(text, 0, False)]
    for step in pre_tokenizer:
        parts = [piece for part in parts for piece in _placed(part, step) if piece.text]
    return parts


def _placed(part: Piece, step: PreTokenizer) -> Iterable[Piece]:
    if not isinstance(step, Split):
        return [part if part.text.startswith(" ") else Piece(" " + part.text, part.start, True)]
    text, start, prefixed = part
    return [Piece(text[a:b], start + max(a - prefixed, 0), prefixed and a == 0) for a, b in _cuts(step)(text)]


def _prefix_space(text: str) -> Iterable[str]:
    return [text if text.startswith(" ") else " " + text]


def _splitter(split: Split) -> Step:
    cuts = _cuts(split)
    return lambda text: [text[start:stop] for start, stop in cuts(text)]


@lru_cache(64)
def _cuts(split: Split) -> Callable[[str], list[tuple[int, int]]]:
    pattern = regex.compile(regex.escape(split.pattern) if split.literal else split.pattern)
    shown = {} if split.literal else stand_ins()
    joined = _BEHAVIORS[split.behavior]

    return lambda text: joined(list(_spans(pattern, text.translate(shown), split.invert)))


def _spans(pattern: regex.Pattern[str], text: str, invert: bool) -> Iterator[Span]:
    """Cuts [start, stop) of a text and whether each is a match, empty ones too; what lies between matches is a cut."""
    done = 0
    for match in pattern.finditer(text):
        start, stop = match.span()
        if start > done:
            yield done, start, invert
        yield start, stop, not invert
        done = stop
    if done < len(text):
        yield done, len(text), invert


def _isolated(spans: list[Span]) -> list[tuple[int, int]]:
    return [(start, stop) for start, stop, _ in spans]


def _removed(spans: list[Span]) -> list[tuple[int, int]]:
    return [(start, stop) for start, stop, match in spans if not match]


def _contiguous(spans: list[Span]) -> list[tuple[int, int]]:
    """Neighbouring matches are one piece."""
    joined: list[tuple[int, int]] = []
    before: bool | None = None
    for start, stop, match in spans:
        if match == before:
            start = joined.pop()[0]
        joined.append((start, stop))
        before = match
    return joined


def _merged_with_previous(spans: list[Span]) -> list[tuple[int, int]]:
    """A match joins the piece before it; the second of two neighbouring matches stands alone."""
    joined: list[tuple[int, int]] = []
    before = False
    for start, stop, match in spans:
        if match and not before and joined:
            start = joined.pop()[0]
        joined.append((start, stop))
        before = match
    return joined


def _merged_with_next(spans: list[Span]) -> list[tuple[int, int]]:
    """A match joins the piece after it; the first of two neighbouring matches stands alone."""
    joined: list[tuple[int, int]] = []
    after = False
    for start, stop, match in reversed(spans):
        if match and not after and joined:
            stop = joined.pop()[1]
        joined.append((start, stop))
        after = match
    return joined[::-1]


_BEHAVIORS = {
    "isolated": _isolated,
    "removed": _removed,
    "contiguous": _contiguous,
    "merged_with_previous": _merged_with_previous,
    "merged_with_next": _merged_with_next,
}
