#!/usr/bin/env python3
"""Writes lmfast/text/charsmaps/*.xz and lmfast/text/scripts.txt from the Unicode character database.

    pip install unicodedata2==17.0.0 unicodedataplus==16.0.0
    python tools/make_charsmaps.py

A charsmap is how sentencepiece writes a normalization into its models: rewriting rules, of which the longest that
matches goes first, compiled into a double array. The rules are those that sentencepiece 0.2.3 makes from Unicode 17.0
(its builder.cc): nfkc is Unicode's NFKC as rules on one to a few characters, nmt_ adds white space and control
characters of machine translation's corpora, _cf folds case. tests/text/test_charsmaps.py holds them to the charsmaps
of its models.

scripts.txt is the Script property as sentencepiece has it for the pieces that it allows: that of Unicode 9.0. The
property of an assigned character seldom changes, so it is that of 16.0, which
unicodedataplus has, for the characters whose age is at most 9.0, but
for four.

The double array. A unit is 32 bits: a label in the lowest 8, bit 8 if the empty string from here on has a value, then
how to find the children. The children of the unit at p stand at (p ^ offset) ^ label; the value is the child with label
0, and has bit 31 set. States with equal continuations share their children.
"""

from __future__ import annotations

import itertools
import lzma
import struct
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import unicodedata2
import unicodedataplus

ROOT = Path(__file__).resolve().parent.parent / "lmfast" / "text"
Rules = dict[str, str]
CHARACTERS = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000 and not 0xFDD0 <= c <= 0xFDEF]
CHARACTERS = [c for c in CHARACTERS if ord(c) & 0xFFFE != 0xFFFE]

SPACES = "\t\n\f\r\u061c\u1680\u200b\u200c\u200e\u200f\u2028\u2029\u2581\ufeff\ufffd"
NOTHING = [*range(1, 9), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F]
FULLWIDTH_TILDE = "\uff5e"  # not the ASCII one, in Japanese

# Simple case folding where `str.casefold` folds to more than one character, or may be older than Unicode 17.0.
FOLDED = {"\u1e9e": "\xdf", "\u1fd3": "\u0390", "\u1fe3": "\u03b0", "\ufb05": "\ufb06"}
FOLDED |= {"\u1c89": "\u1c8a", "\ua7cb": "\u0264", "\ua7cc": "\ua7cd", "\ua7da": "\ua7db", "\ua7dc": "\u019b"}
FOLDED |= {"\ua7ce": "\ua7cf", "\ua7d2": "\ua7d3", "\ua7d4": "\ua7d5"}
FOLDED |= {chr(c): chr(c + 32) for c in range(0x10D50, 0x10D66)} | {
    chr(c): chr(c + 27) for c in range(0x16EA0, 0x16EB9)
}

# Characters whose script is another one since.
SCRIPTS_OF_9 = {"\u0589": "Common", "\u061c": "Common", "\u0953": "Devanagari", "\u0954": "Devanagari"}


def nfkc() -> Rules:
    """Rules for single characters, and for all spellings of what a character decomposes to."""
    rules, spellings, decomposed = {}, defaultdict(set), set()
    for c in CHARACTERS:
        composed, parts = unicodedata2.normalize("NFKC", c), unicodedata2.normalize("NFKD", c)
        if composed != c:
            rules[c] = composed
        if len(parts) == 1:
            spellings[parts].add(c)
        else:
            decomposed.add(parts)
    for parts in decomposed:
        composed = unicodedata2.normalize("NFKC", parts)
        if composed != parts:
            spelt = map("".join, itertools.product(*(sorted(spellings[c]) for c in parts)))
            rules |= {source: composed for source in spelt if source != composed}
    return without_redundant(rules)


def with_nmt(rules: Rules) -> Rules:
    """White space is a space, control characters are nothing."""
    rules = rules | dict.fromkeys(SPACES, " ") | dict.fromkeys(map(chr, NOTHING), "")
    del rules[FULLWIDTH_TILDE]
    return without_redundant(rules)


def with_case_folding(rules: Rules) -> Rules:
    """Results and single characters folded."""
    folded = {source: "".join(map(fold, target)) for source, target in rules.items()}
    return without_redundant({c: fold(c) for c in CHARACTERS if fold(c) != c} | folded)


def fold(c: str) -> str:
    """Simple case folding of a character."""
    if c in FOLDED:
        return FOLDED[c]
    full = c.casefold()
    if len(full) == 1:
        return full
    lower = c.lower()
    return lower if len(lower) == 1 else c


def without_redundant(rules: Rules) -> Rules:
    """Without the rules whose effect shorter ones have."""
    kept = {source: target for source, target in rules.items() if len(source) == 1}
    for length in range(2, max(map(len, rules)) + 1):
        longer = {s: t for s, t in rules.items() if len(s) == length and t != apply(kept, s, length - 1)}
        kept |= longer
    return kept


def apply(rules: Rules, text: str, longest: int) -> str:
    """The text rewritten."""
    out, at = [], 0
    while at < len(text):
        for stop in range(min(at + longest, len(text)), at, -1):
            if (target := rules.get(text[at:stop])) is not None:
                break
        else:
            stop, target = at + 1, text[at]
        out.append(target)
        at = stop
    return "".join(out)


def compiled(rules: Rules) -> bytes:
    """The charsmap: the size of the double array, the double array, the results, each with a zero at its end."""
    results, value = bytearray(), {}
    for target in sorted(set(rules.values())):
        value[target] = len(results)
        results += target.encode() + b"\0"
    units = double_array(sorted((source.encode(), value[target]) for source, target in rules.items()))
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + bytes(results)


State = tuple[int | None, tuple[tuple[int, int], ...]]  # its value, (label, number of the state) by rising label


def states(items: Iterable[tuple[bytes, int]]) -> list[State]:
    """The smallest acyclic automaton of sorted keys and their values; its root is the last."""
    numbers: dict[State, int] = {}
    path: list[tuple[int, list[int | None], list[tuple[int, int]]]] = [(0, [None], [])]

    def close(depth: int) -> None:
        while len(path) > depth:
            label, value, children = path.pop()
            number = numbers.setdefault((value[0], tuple(children)), len(numbers))
            if path:
                path[-1][2].append((label, number))

    last = b""
    for key, value in items:
        same = next((i for i, (a, b) in enumerate(zip(last, key, strict=False)) if a != b), min(len(last), len(key)))
        close(same + 1)
        path.extend((label, [None], []) for label in key[same:])
        path[-1][1][0] = value
        last = key
    close(0)
    return list(numbers)


def double_array(items: Iterable[tuple[bytes, int]]) -> list[int]:
    """The units."""
    found = states(items)
    size = 256
    taken, bases = bytearray(size), bytearray(size)
    taken[0] = bases[0] = 1  # the root, which no child may be, and which has to name another place than its own
    base_of = {}
    open_from = 1
    # The states with many children first.
    for number in sorted(range(len(found)), key=lambda n: (-len(found[n][1]), n)):
        value, children = found[number]
        labels = [0] * (value is not None) + [label for label, _ in children]
        place = open_from
        while True:
            if place + 256 > size:
                size += 256
                taken.extend(bytes(256))
                bases.extend(bytes(256))
            base = place ^ labels[0]
            if not taken[place] and not bases[base] and not any(taken[base ^ label] for label in labels):
                break
            place += 1
        bases[base] = 1
        base_of[number] = base
        for label in labels:
            taken[base ^ label] = 1
        while taken[open_from]:
            open_from += 1
    units = [0] * size
    root = len(found) - 1
    units[0] = base_of[root] << 10 | (found[root][0] is not None) << 8
    for number, (value, children) in enumerate(found):
        base = base_of[number]
        if value is not None:
            units[base] = 1 << 31 | value
        for label, child in children:
            offset = base ^ label ^ base_of[child]
            assert offset < 1 << 21
            units[base ^ label] = offset << 10 | (found[child][0] is not None) << 8 | label
    for place in range(size):
        if not taken[place]:  # a child of nobody: its label leads to it from a place where no children stand
            block = place & ~0xFF
            units[place] = place ^ next(base for base in range(block, block + 256) if not bases[base])
    return units


def scripts() -> str:
    """One line "first last script" for each range, in hexadecimal; Common is left out."""
    lines, first, now = [], 0, "Common"
    for code in range(0x110001):
        script = "Common"
        if code < 0x110000:
            c = chr(code)
            age = unicodedataplus.age(c)
            if age != "Unassigned" and tuple(map(int, age.split("."))) <= (9, 0):
                script = SCRIPTS_OF_9.get(c, unicodedataplus.script(c).replace(" ", "_"))
        if script != now:
            if now != "Common":
                lines.append(f"{first:X} {code - 1:X} {now}\n")
            first, now = code, script
    return "".join(lines)


def main() -> None:
    """Writes all files."""
    assert (unicodedata2.unidata_version, unicodedataplus.unidata_version) == ("17.0.0", "16.0.0")
    plain = nfkc()
    nmt = with_nmt(plain)
    maps = {"nfkc": plain, "nmt_nfkc": nmt, "nfkc_cf": with_case_folding(plain), "nmt_nfkc_cf": with_case_folding(nmt)}
    (ROOT / "charsmaps").mkdir(exist_ok=True)
    for name, rules in maps.items():
        blob = compiled(rules)
        packed = lzma.compress(blob, preset=9 | lzma.PRESET_EXTREME)
        (ROOT / "charsmaps" / f"{name}.xz").write_bytes(packed)
        print(f"{name}: {len(rules)} rules, {len(blob)} bytes, {len(packed)} in the file")
    (ROOT / "scripts.txt").write_text(scripts())


if __name__ == "__main__":
    main()
