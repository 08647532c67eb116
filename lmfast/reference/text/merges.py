"""How merges are learnt, said plainly: all pairs are counted anew for each of them.

The words are rows of symbols, which are strings, each row with its count. The specification of csrc/text/bpe_train.h.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import AnyStr, Generic, Literal, NamedTuple

from lmfast.text.charsmaps import scripts
from lmfast.text.sentencepiece_options import SentencePieceOptions

__all__ = ["Merge", "is_piece", "learn_merges"]


class Merge(NamedTuple, Generic[AnyStr]):
    """A pair, the string that it makes, and how often the pair occurred."""

    left: AnyStr
    right: AnyStr
    made: AnyStr
    frequency: int


def learn_merges(
    words: Iterable[tuple[Iterable[AnyStr], int]],
    ids: Mapping[AnyStr, int],
    vocab_size: int,
    *,
    ties: Literal["ids", "first", "lexmax", "pieces"] = "ids",
    least: int = 1,
    longest: int | None = None,
    prefix: AnyStr | None = None,
    allowed: Callable[[AnyStr], bool] | None = None,
) -> list[Merge[AnyStr]]:
    """The merges, until all ids below `vocab_size` are given or no pair is left.

    ids      the id of each symbol, and of strings that get no new one when a merge makes them; new ids follow these
    ties     which of equally frequent pairs is merged first: that of the lower pair of ids; the one that stands first
             in the words; the greater pair of strings; the one that makes the shorter, then the lesser string
    least    how often a pair must occur
    longest  what a merge with something made by merging may have, exclusive, in symbols; None: any number
    prefix   is taken from the right string of a pair
    allowed  whether a string may be made
    """
    rows = [(list(word), count) for word, count in words]
    known = dict(ids)
    lengths = dict.fromkeys((symbol for row, _ in rows for symbol in row), 1)
    next_id = max(known.values(), default=-1) + 1
    merges: list[Merge[AnyStr]] = []
    born: set[AnyStr] = set()

    def made_of(pair: tuple[AnyStr, AnyStr]) -> AnyStr:
        left, right = pair
        return left + (right.removeprefix(prefix) if prefix else right)

    def may_join(pair: tuple[AnyStr, AnyStr]) -> bool:
        if longest and not born.isdisjoint(pair) and lengths[pair[0]] + lengths[pair[1]] >= longest:
            return False
        return allowed is None or allowed(made_of(pair))

    while next_id < vocab_size:
        found: Counter[tuple[AnyStr, AnyStr]] = Counter()
        for row, count in rows:
            for pair in pairwise(row):
                found[pair] += count
        pairs = [pair for pair in found if may_join(pair)]  # in the order of where they stand first
        most = max((found[pair] for pair in pairs), default=0)
        if most < max(1, least):
            break
        equals = [pair for pair in pairs if found[pair] == most]
        if ties == "first":
            best = equals[0]
        elif ties == "lexmax":
            best = max(equals)
        elif ties == "pieces":
            best = min(equals, key=lambda pair: (len(made_of(pair)), made_of(pair)))
        else:
            best = min(equals, key=lambda pair: (known[pair[0]], known[pair[1]]))
        made = made_of(best)
        merges.append(Merge(*best, made, most))
        born.add(made)
        next_id += made not in known
        known.setdefault(made, next_id - 1)
        lengths.setdefault(made, lengths[best[0]] + lengths[best[1]])
        for row, _ in rows:
            at = 0
            while at + 1 < len(row):
                if (row[at], row[at + 1]) == best:
                    row[at : at + 2] = [made]
                at += 1
    return merges


def is_piece(text: str, options: SentencePieceOptions) -> bool:
    """Whether sentencepiece 0.2.3 lets a string of more than one character be a piece."""
    if len(text) > options.max_sentencepiece_length:
        return False
    numbers, names = scripts()
    before = None
    for at, character in enumerate(text):
        digit = "0" <= character <= "9" or "\uff10" <= character <= "\uff19"
        if digit and options.split_digits:
            return False
        if character == "\u2581":
            if not _may_be_space(text, at, options):
                return False
            continue
        script: str | None = names[numbers[ord(character)]]
        if script in ("Hiragana", "Katakana") or character == "\u30fc":
            script = "Han"
        elif script == "Inherited":
            script = before
        if digit and not options.split_by_number:
            script = None
        if options.split_by_unicode_script and None not in (script, before) and script != before:
            return False
        before = script
    return True


def _may_be_space(text: str, at: int, options: SentencePieceOptions) -> bool:
    """Whether a marker of white space may stand there."""
    if options.allow_whitespace_only_pieces and set(text) == {"\u2581"}:
        return True
    first, last = at == 0, at == len(text) - 1
    if options.treat_whitespace_as_suffix:
        return last or (not options.split_by_whitespace and not first)
    return first or (not options.split_by_whitespace and not last)
