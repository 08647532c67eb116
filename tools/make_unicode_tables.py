#!/usr/bin/env python3
"""Writes csrc/text/unicode_tables.c and lmfast/reference/unicode_16.py from the Unicode character database.

The database comes with two packages, pinned because their Unicode version is part of their release:

    pip install unicodedataplus==16.0.0 regex==2024.11.6
    python tools/make_unicode_tables.py

`unicodedataplus` gives categories, decompositions, combining classes and ages, `regex` gives White_Space and the word
characters of UTS #18. Both are asserted to be of Unicode 16.0. The output is the same on every run and every platform.

Classes are those of Unicode 16.0. Normalization is that of Unicode 9.0: by the stability policy (UAX #15, since 4.1)
the data of an assigned character never changes, so it is the 16.0 data of the characters whose age is at most 9.0.
"""

from __future__ import annotations

import itertools
import string
import sys
import textwrap
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import regex
import unicodedataplus as ucd

ROOT = Path(__file__).resolve().parent.parent
CODE_POINTS = range(0x110000)
NFC_AGE, NFC_LIMIT = (9, 0), 0x30000
UPPER, LOWER, OTHER_LETTER, MARK, NUMBER, SPACE, WORD = (1 << i for i in range(7))
BIT = {"Lu": UPPER, "Lt": UPPER, "Ll": LOWER, "Lm": OTHER_LETTER, "Lo": OTHER_LETTER}
BIT |= dict.fromkeys(("Mn", "Mc", "Me"), MARK) | dict.fromkeys(("Nd", "Nl", "No"), NUMBER)


def matching(pattern: str) -> set[int]:
    """The code points that a pattern of one character matches."""
    return {m.start() for m in regex.finditer(pattern, "".join(map(chr, CODE_POINTS)))}


def two_stage(values: Sequence[int], size: int) -> tuple[list[int], list[Sequence[int]]]:
    """Distinct blocks of `size` values in order of appearance, and which block each stretch of values is."""
    number: dict[tuple[int, ...], int] = {}
    index = [number.setdefault(tuple(values[i : i + size]), len(number)) for i in range(0, len(values), size)]
    assert len(number) <= 256, len(number)
    return index, list(number)


def rows(items: Iterable[object], indent: str = "    ") -> str:
    """Items separated by commas, in lines of at most 120 columns."""
    lines, line = [], indent
    for item in items:
        if len(line) + len(f"{item},") > 120:
            lines.append(line)
            line = indent
        line += f"{item},"
    return "\n".join([*lines, line])


def class_bytes() -> list[int]:
    """The class byte of every code point."""
    classes = [BIT.get(ucd.category(chr(c)), 0) for c in CODE_POINTS]
    for bit, pattern in ((SPACE, r"\p{White_Space}"), (WORD, r"\w")):
        for c in matching(pattern):
            classes[c] |= bit
    return classes


class Nfc:
    """Normalization data of the characters up to one age."""

    def __init__(self) -> None:
        known = [c for c in CODE_POINTS if age(c) <= NFC_AGE and not 0xAC00 <= c <= 0xD7A3]
        self.ccc = {c: ucd.combining(chr(c)) for c in known if ucd.combining(chr(c))}
        canonical = {c: d for c in known if (d := ucd.decomposition(chr(c))) and not d.startswith("<")}
        self.full = {c: [ord(x) for x in ucd.normalize("NFD", chr(c))] for c in canonical}
        self.pairs: dict[int, dict[int, int]] = {}
        for c, d in canonical.items():
            if ucd.normalize("NFC", chr(c)) == chr(c):
                first, second = (int(x, 16) for x in d.split())
                self.pairs.setdefault(first, {})[second] = c
        self.seconds = {b for pairs in self.pairs.values() for b in pairs}
        self.seconds |= {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}
        self.characters = sorted({*self.ccc, *self.full, *self.pairs, *self.seconds})
        assert self.characters[-1] < NFC_LIMIT
        self.check()

    def unsure(self, c: int) -> bool:
        """Whether NFC_Quick_Check is No or Maybe."""
        return c in self.seconds or (c in self.full and ucd.normalize("NFC", chr(c)) != chr(c))

    def joins(self, c: int) -> bool:
        """Whether the text before may reorder or compose with the character."""
        first = self.full.get(c, [c])[0]
        return first in self.ccc or first in self.seconds

    def check(self) -> None:
        """What normalize.c builds on."""
        for c in self.characters:
            assert self.unsure(c) or c in self.ccc or not self.joins(c), hex(c)
        for c, full in self.full.items():
            assert len(full) <= 4, hex(c)
            assert sum(map(utf8, full)) <= 3 * utf8(c), hex(c)
        for first, pairs in self.pairs.items():
            for second, composite in pairs.items():
                assert utf8(first) <= utf8(composite) <= utf8(first) + utf8(second), hex(composite)

    def tables(self) -> tuple[list[int], list[tuple[int, ...]], list[int], list[tuple[int, int]]]:
        """Entry number per code point, the distinct entries, all decompositions, all pairs."""
        number, full, pairs = {(0, 0, 0, 0, 0, 0): 0}, [], []
        entry_of = [0] * NFC_LIMIT
        for c in self.characters:
            mine, compositions = self.full.get(c, []), sorted(self.pairs.get(c, {}).items())
            flags = self.unsure(c) | self.joins(c) << 1
            entry = (
                self.ccc.get(c, 0),
                flags,
                len(mine),
                len(compositions),
                len(full) if mine else 0,
                len(pairs) if compositions else 0,
            )
            full += mine
            pairs += compositions
            entry_of[c] = number.setdefault(entry, len(number))
        return entry_of, list(number), full, pairs


def age(c: int) -> tuple[int, ...]:
    """The version of Unicode that assigned a code point."""
    text = ucd.age(chr(c))
    return tuple(map(int, text.split("."))) if text[0].isdigit() else (999, 0)


def utf8(c: int) -> int:
    """The length of a code point in UTF-8."""
    return len(chr(c).encode())


def c_file(classes: list[int], nfc: Nfc) -> str:
    index, blocks = two_stage(classes, 128)
    entry_of, entries, full, pairs = nfc.tables()
    nfc_index, nfc_blocks = two_stage(entry_of, 64)

    size = (len(index) + 128 * len(blocks)) / 1024
    nfc_size = (len(nfc_index) + 128 * len(nfc_blocks) + 8 * len(entries) + 4 * len(full) + 8 * len(pairs)) / 1024
    return f"""\
/* unicode_tables.c - classes of Unicode 16.0 ({size:.0f} KB) and normalization data of Unicode 9.0 ({nfc_size:.0f} KB).
 * See unicode.h. Written by tools/make_unicode_tables.py; do not edit. */
#include "text/unicode.h"

static const uint8_t index_16[{len(index)}] = {{
{rows(index)}
}};

static const uint8_t class_16[{len(blocks)} * 128] = {{
{rows(itertools.chain(*blocks))}
}};

static const lf_unicode unicode_16 = {{16, index_16, class_16}};

const lf_unicode *lf_unicode_for(int major) {{ return major == 16 ? &unicode_16 : NULL; }}

const uint8_t lf_nfc_index[LF_NFC_LIMIT >> 6] = {{
{rows(nfc_index)}
}};

const uint16_t lf_nfc_entry_number[{len(nfc_blocks)} * 64] = {{
{rows(itertools.chain(*nfc_blocks))}
}};

const lf_nfc_entry lf_nfc_entries[{len(entries)}] = {{
{rows("{" + ",".join(map(str, e)) + "}" for e in entries)}
}};

const uint32_t lf_nfc_full[{len(full)}] = {{
{rows(full)}
}};

const lf_nfc_pair lf_nfc_pairs[{len(pairs)}] = {{
{rows("{" + f"{a},{b}" + "}" for a, b in pairs)}
}};
"""


def python_file(classes: list[int]) -> str:
    """General category, White_Space and word-ness of every code point as runs, and what came after Unicode 9.0."""
    kinds = [
        ucd.category(chr(c)) + " s" * bool(classes[c] & SPACE) + " w" * bool(classes[c] & WORD) for c in CODE_POINTS
    ]
    letter = dict(zip(sorted(set(kinds)), string.ascii_letters, strict=False))
    runs = [(len(list(group)), letter[kind]) for kind, group in itertools.groupby(kinds)]
    text = "".join((str(n) if n > 1 else "") + name for n, name in runs)
    lines = "\n".join(f'    "{text[i : i + 110]}"' for i in range(0, len(text), 110))
    names = "\n".join(f'    "{name}": "{kind}",' for kind, name in letter.items())
    new = " ".join(f"{c:x}" for c in sorted(active()) if age(c) > NFC_AGE)
    new_lines = "\n".join(f'    "{line} "' for line in textwrap.wrap(new, 110))
    return f'''\
"""Unicode 16.0 as the reference reads it. Written by tools/make_unicode_tables.py; do not edit."""

KINDS = {{
{names}
}}
"""General category by letter; with "s" for White_Space, with "w" for the word characters of UTS #18."""

RUNS = (
{lines}
)
"""All code points from 0 up as runs of one kind: a length (1 if left out), then a letter of KINDS."""

AFTER_9 = (
{new_lines}
)
"""The characters younger than Unicode 9.0 that normalization does something with, in hexadecimal."""
'''


def active() -> set[int]:
    """The characters that normalization does something with in Unicode 16.0: marks, what decomposes, what composes."""
    changed = [c for c in CODE_POINTS if ucd.decomposition(chr(c)) and ucd.decomposition(chr(c))[0] != "<"]
    parts = {ord(x) for c in changed for x in ucd.normalize("NFD", chr(c))}
    return parts | set(changed) | {c for c in CODE_POINTS if ucd.combining(chr(c))}


if __name__ == "__main__":
    assert ucd.unidata_version == "16.0.0", ucd.unidata_version
    assert version("regex") == "2024.11.6", version("regex")
    assert all(matching(rf"\p{{{k}}}") == {c for c in CODE_POINTS if ucd.category(chr(c))[0] == k} for k in "LMN")
    classes = class_bytes()
    (ROOT / "csrc/text/unicode_tables.c").write_text(c_file(classes, Nfc()))
    (ROOT / "lmfast/reference/unicode_16.py").write_text(python_file(classes))
    sys.stdout.write("wrote csrc/text/unicode_tables.c and lmfast/reference/unicode_16.py\n")
