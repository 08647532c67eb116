r"""Regular expressions as tables: which character after which one goes on with a match, and where it ends.

    text       ' hello  1'                    pattern   ' ?\p{L}+|\s+(?!\S)|\s'
    classes    ' ' letter white-space other   sets of characters that the pattern does not tell apart
    table      state x class -> state, and whether a match ends before the character that was read

That a match ends is said one character late, so a look at that character, as in `(?!\S)`, needs nothing more. The
states are those of an automaton whose threads are in the order in which a backtracking engine would try them, so of
several matches from one place the same one is found.

Compiled are sets, literals, groups, alternatives, repeats (greedy and lazy) and a look ahead at one character. A
pattern with anything else, one that can match nothing, or one with too many states has no table.

Exactness: the `regex` package. It says itself which characters a set has, with the properties of Unicode 16.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TypeAlias

import numpy as np
import regex
from numpy.typing import NDArray

from lmfast.reference.unicode import stand_ins

__all__ = [
    "Alternatives",
    "Automaton",
    "Members",
    "Node",
    "OneOf",
    "Repeat",
    "Row",
    "compiled",
    "members",
    "parse",
    "runs",
]

Members: TypeAlias = NDArray[np.bool_]
"""bool[0x110000]: which code points are in a set."""

_LIMIT = 0x110000
_PAGE = 128
_MOST_STATES, _MOST_STEPS, _MOST_CLASSES = 1 << 12, 1 << 13, 254
MATCH = 0x8000
"""Set in an entry of the table where a match ends before the character that was read."""


@dataclass(frozen=True, eq=False)
class OneOf:
    """One character of a set."""

    members: Members


@dataclass(frozen=True, eq=False)
class Ahead:
    """Nothing, where the next character is in a set; `unless`: where it is not, or there is none."""

    members: Members
    unless: bool


@dataclass(frozen=True, eq=False)
class Row:
    """One after another."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Alternatives:
    """The first of several that leads to a match."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Repeat:
    """A node several times; most None: any number of times."""

    node: Node
    least: int
    most: int | None
    lazy: bool = False


Node: TypeAlias = OneOf | Ahead | Row | Alternatives | Repeat


@dataclass(frozen=True, eq=False)
class Automaton:
    """What csrc/text/automaton.h runs.

    pages   uint16[0x110000 / 128]          for each 128 code points, which block of classes is theirs
    blocks  uint8[128 * n]                  classes
    table   uint16[n_states, n_classes + 1] the next state, 0 where no match goes on, and MATCH; the last class is the
                                            end of the text. A search begins in state 1
    """

    pages: NDArray[np.uint16]
    blocks: NDArray[np.uint8]
    table: NDArray[np.uint16]


class _Unknown(Exception):
    """The pattern has no table."""


def runs(gaps_and_lengths: str) -> Members:
    """A set given as hexadecimal gaps and lengths in turn, as in lmfast.text.pipeline.character_data."""
    found = np.zeros(_LIMIT, np.bool_)
    bounds = list(accumulate(int(n, 16) for n in gaps_and_lengths.split()))
    for start, stop in zip(bounds[::2], bounds[1::2], strict=True):
        found[start:stop] = True
    return found


@lru_cache(1)
def _everything() -> str:
    """Every code point as patterns are shown it; a lone surrogate is a byte that is not UTF-8."""
    shown = np.arange(_LIMIT, dtype=np.uint32)
    for code_point, character in stand_ins().items():
        shown[code_point] = ord(character)
    return shown.tobytes().decode("utf-32-le", "surrogatepass")


@lru_cache(64)
def members(atom: str) -> Members:
    """Which characters a regular expression of one character matches."""
    found = np.zeros(_LIMIT, np.bool_)
    for match in regex.finditer(f"(?:{atom})+", _everything()):
        found[match.start() : match.end()] = True
    found.flags.writeable = False
    return found


# Patterns to nodes.

_ATOM = re.compile(
    r"\\[pP]\{[^}]*\}|\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[dDsSwWnrtfv]|\\[^0-9A-Za-z]|[^\\\[\](){}|^$*+?]"
)
_SET = re.compile(r"\[\^?(?:[^\\\[\]]|\\[pP]\{[^}]*\}|\\.)+\]", re.DOTALL)
_REPEAT = re.compile(r"([*+?]|\{\d+(?:,\d*)?\})(\??)(?![*+?{])")
_AHEAD = re.compile(r"\(\?([=!])")
_GROUP = re.compile(r"\((?!\?)|\(\?:|\(\?i:|\(\?-i:")


def parse(pattern: str) -> Node | None:
    """A pattern of the `regex` package as a node, None where it has something that no table is made for."""
    try:
        node, at = _parse_alternatives(pattern, 0, False)
        return node if at == len(pattern) else None
    except (_Unknown, RecursionError):
        return None


def _parse_alternatives(pattern: str, at: int, any_case: bool) -> tuple[Node, int]:
    found: list[Node] = []
    while True:
        row: list[Node] = []
        while at < len(pattern) and pattern[at] not in "|)":
            node, at = _parse_repeats(pattern, at, any_case)
            row.append(node)
        found.append(row[0] if len(row) == 1 else Row(tuple(row)))
        if at == len(pattern) or pattern[at] == ")":
            return (found[0] if len(found) == 1 else Alternatives(tuple(found))), at
        at += 1


def _parse_repeats(pattern: str, at: int, any_case: bool) -> tuple[Node, int]:
    node, at = _parse_one(pattern, at, any_case)
    if at == len(pattern) or pattern[at] not in "*+?{":
        return node, at
    match = _REPEAT.match(pattern, at)
    if match is None or isinstance(node, Ahead):
        raise _Unknown
    times, lazy = match.groups()
    simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}
    least, most = simple.get(times, (0, 0))
    if times not in simple:
        first, comma, last = times[1:-1].partition(",")
        least, most = int(first), int(last or -1) if comma else int(first)
        if most == -1:
            most = None
        if most is not None and most < least:
            raise _Unknown
    if most is None and _may_be_empty(node):
        raise _Unknown
    return Repeat(node, least, most, bool(lazy)), match.end()


def _parse_one(pattern: str, at: int, any_case: bool) -> tuple[Node, int]:
    if match := _AHEAD.match(pattern, at):
        node, at = _parse_alternatives(pattern, match.end(), any_case)
        if not isinstance(node, OneOf) or pattern[at : at + 1] != ")":
            raise _Unknown
        return Ahead(node.members, match[1] == "!"), at + 1
    if match := _GROUP.match(pattern, at):
        any_case = any_case if match[0] in ("(", "(?:") else match[0] == "(?i:"
        node, at = _parse_alternatives(pattern, match.end(), any_case)
        if pattern[at : at + 1] != ")":
            raise _Unknown
        return node, at + 1
    match = _SET.match(pattern, at) or _ATOM.match(pattern, at)
    if match is None:
        raise _Unknown
    if match[0][0] == "[" and re.search(r"&&|--|\|\||~~|\\[^pPdDsSwWnrtfvxu\W]", match[0]):
        raise _Unknown
    return OneOf(members(f"(?i:{match[0]})" if any_case else match[0])), match.end()


def _may_be_empty(node: Node) -> bool:
    match node:
        case OneOf():
            return False
        case Ahead():
            return True
        case Row(nodes):
            return all(map(_may_be_empty, nodes))
        case Alternatives(nodes):
            return any(map(_may_be_empty, nodes))
        case Repeat(inner, least):
            return not least or _may_be_empty(inner)


# Nodes to tables.


class _Program:
    """What threads do: a list of steps, each with where it goes on. The last step is the match."""

    def __init__(self, node: Node) -> None:
        self.sets: list[Members] = []
        self.numbers: dict[int, int] = {}
        self.steps: list[tuple[str, int, tuple[int, ...]]] = []
        """What is done ("one", "ahead", "unless", "go", "match"), with which set, and where it goes on, best first."""
        self.start = self._add(node, self._step("match"))

    def _step(self, what: str, members: Members | None = None, then: tuple[int, ...] = ()) -> int:
        number = -1
        if members is not None:
            number = self.numbers.setdefault(id(members), len(self.sets))
            if number == len(self.sets):
                self.sets.append(members)
        if len(self.steps) > _MOST_STEPS:
            raise _Unknown
        self.steps.append((what, number, then))
        return len(self.steps) - 1

    def _add(self, node: Node, then: int) -> int:
        match node:
            case OneOf(found):
                return self._step("one", found, (then,))
            case Ahead(found, unless):
                return self._step("unless" if unless else "ahead", found, (then,))
            case Row(nodes):
                for part in reversed(nodes):
                    then = self._add(part, then)
                return then
            case Alternatives(nodes):
                return self._step("go", then=tuple(self._add(part, then) for part in nodes))
            case Repeat(inner, least, most, lazy):
                if most is None:
                    loop = self._step("go")
                    again = self._add(inner, loop)
                    self.steps[loop] = "go", -1, (then, again) if lazy else (again, then)
                    then = loop
                else:
                    skip = then
                    for _ in range(most - least):
                        one = self._add(inner, then)
                        then = self._step("go", then=(skip, one) if lazy else (one, skip))
                for _ in range(least):
                    then = self._add(inner, then)
                return then

    def reach(self, starts: Iterable[int], seen: set[int]) -> list[int]:
        """The steps that read a character, look at one or match, from `starts` on, best first."""
        found: list[int] = []
        waiting = [*starts][::-1]
        while waiting:
            at = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            if self.steps[at][0] == "go":
                waiting += self.steps[at][2][::-1]
            else:
                found.append(at)
        return found

    def read(self, state: tuple[int, ...], inside: frozenset[int]) -> tuple[tuple[int, ...], bool]:
        """The state after a character that is in the sets `inside`, and whether a match ends before it."""
        seen: set[int] = set()
        reached: set[int] = set()
        after: list[int] = []
        waiting = [*state][::-1]
        while waiting:
            at = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            what, number, then = self.steps[at]
            if what == "match":
                return tuple(after), True
            if what == "one":
                if number in inside:
                    after += self.reach(then, reached)
            elif (number in inside) == (what == "ahead"):
                waiting += self.reach(then, set())[::-1]
        return tuple(after), False


def _classes(sets: list[Members]) -> tuple[NDArray[np.uint8], list[frozenset[int]]]:
    """The class of each code point, and in which sets the characters of each class are."""
    numbers = np.zeros(_LIMIT, np.uint16)
    signatures: list[frozenset[int]] = [frozenset()]
    for i, found in enumerate(sets):
        split = 2 * numbers + found
        present = np.bincount(split, minlength=2 * len(signatures)) > 0
        numbers = (np.cumsum(present) - 1).astype(np.uint16)[split]
        signatures = [signatures[n // 2] | ({i} if n % 2 else set()) for n in np.flatnonzero(present).tolist()]
        if len(signatures) > _MOST_CLASSES:
            raise _Unknown
    return numbers.astype(np.uint8), signatures


def compiled(node: Node | None) -> Automaton | None:
    """The table of a pattern, None where there is none."""
    if node is None:
        return None
    try:
        program = _Program(node)
        classes, signatures = _classes(program.sets)
        return _tabulated(program, classes, [*signatures, frozenset({-1})])
    except (_Unknown, RecursionError):
        return None


def _tabulated(program: _Program, classes: NDArray[np.uint8], signatures: list[frozenset[int]]) -> Automaton:
    first = tuple(program.reach([program.start], set()))
    numbers: dict[tuple[int, ...], int] = {(): 0, first: 1}
    rows: list[list[int]] = [[0] * len(signatures)]
    waiting = [first]
    for state in waiting:
        row: list[int] = []
        for inside in signatures:
            after, matched = program.read(state, inside)
            if matched and state is first:
                raise _Unknown  # a match of nothing
            number = numbers.setdefault(after, len(numbers))
            if number == len(numbers) - 1 and number > len(waiting):
                waiting.append(after)
            row.append(number | (MATCH if matched else 0))
        rows.append(row)
        if len(numbers) > _MOST_STATES:
            raise _Unknown
    return from_table(classes, np.array(rows, np.uint16))


def from_table(classes: NDArray[np.uint8], table: NDArray[np.uint16]) -> Automaton:
    """An automaton of the class of each code point and a table."""
    blocks: dict[bytes, int] = {}
    pages = [blocks.setdefault(page.tobytes(), len(blocks)) for page in classes.reshape(-1, _PAGE)]
    return Automaton(np.array(pages, np.uint16), np.frombuffer(b"".join(blocks), np.uint8), np.ascontiguousarray(table))
