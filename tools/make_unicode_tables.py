#!/usr/bin/env python3
"""Writes csrc/text/unicode_tables.c, lmfast/reference/unicode_16.py and lmfast/reference/unicode_sets.py from the
Unicode character database.

The database comes with two packages, pinned because their Unicode version is part of their release:

    pip install unicodedataplus==16.0.0.post1 regex==2024.11.6
    python tools/make_unicode_tables.py

`unicodedataplus` gives categories, decompositions, combining classes and ages, `regex` gives White_Space and the word
characters of UTS #18. Both are asserted to be of Unicode 16.0. The output is the same on every run and every platform.

Classes are those of Unicode 16.0. Normalization is that of Unicode 9.0: by the stability policy (UAX #15, since 4.1)
the data of an assigned character never changes, so it is the 16.0 data of the characters whose age is at most 9.0.

Traits are of the versions that the parts of tokenizers 0.23.3 were built with: general categories of 8.0 (its BERT
parts) and of 9.0 (StripAccents), numbers and lowercase of 17.0 (Rust's char). An older category is that of 16.0 for the
characters of that age, but for the few that were reclassified since; what 17.0 added stands in this file.
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
FORM_AGE, FORM_LIMIT = (9, 0), 0x30000
FORMS = ("NFC", "NFD", "NFKC", "NFKD")
LOWER_LIMIT = 0x1E980
PUNCTUATION, OTHER, NONSPACING, MARK_9, NUMERIC, CASED = (1 << i for i in range(6))
# Category then, where it is another one in Unicode 16.0. Only marks and punctuation matter.
CATEGORY_8 = {0x166D: "Po", 0x1734: "Mn", 0x1885: "Lo", 0x1886: "Lo", 0xA9BD: "Mc", 0x111C9: "Po", 0x1171E: "Mn"}
CATEGORY_9 = {0x1885: "Mn", 0x1886: "Mn", 0x1CF2: "Mc", 0x1CF3: "Mc", 0x111C9: "Po"}
# What Unicode 17.0 added.
NUMBERS_17 = (*range(0x11DE0, 0x11DEA), *range(0x16FF4, 0x16FF7))
# Lowercase that Python 3.10 does not know: what Unicode 14.0 to 17.0 added.
LOWER_AFTER_13 = {0x1C89: 0x1C8A, 0x2C2F: 0x2C5F, 0xA7CB: 0x264, 0xA7DC: 0x19B}
LOWER_AFTER_13 |= {c: c + 1 for c in (0xA7C0, 0xA7CC, 0xA7CE, 0xA7D0, 0xA7D2, 0xA7D4, 0xA7D6, 0xA7D8, 0xA7DA)}
LOWER_AFTER_13 |= {c: c + 0x27 for c in range(0x10570, 0x10596) if c not in (0x1057B, 0x1058B, 0x10593)}
LOWER_AFTER_13 |= {c: c + 0x20 for c in range(0x10D50, 0x10D66)} | {c: c + 27 for c in range(0x16EA0, 0x16EB9)}
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


class Forms:
    """Normalization data of the characters up to one age."""

    def __init__(self) -> None:
        known = [c for c in CODE_POINTS if age(c) <= FORM_AGE and not 0xAC00 <= c <= 0xD7A3]
        self.ccc = {c: ucd.combining(chr(c)) for c in known if ucd.combining(chr(c))}
        canonical = {c: d for c in known if (d := ucd.decomposition(chr(c))) and not d.startswith("<")}
        self.full = {c: decomposed("NFD", c) for c in canonical}
        self.compat = {c: decomposed("NFKD", c) for c in known if decomposed("NFKD", c) != self.full.get(c, [c])}
        self.pairs: dict[int, dict[int, int]] = {}
        for c, d in canonical.items():
            if ucd.normalize("NFC", chr(c)) == chr(c):
                first, second = (int(x, 16) for x in d.split())
                self.pairs.setdefault(first, {})[second] = c
        self.seconds = {b for pairs in self.pairs.values() for b in pairs}
        self.seconds |= {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}
        self.characters = sorted({*self.ccc, *self.full, *self.compat, *self.pairs, *self.seconds})
        assert self.characters[-1] < FORM_LIMIT
        self.check()

    def decomposition(self, form: str, c: int) -> list[int]:
        """The full decomposition that a form begins with."""
        canonical = self.full.get(c, [c])
        return self.compat.get(c, canonical) if "K" in form else canonical

    def unsure(self, form: str, c: int) -> bool:
        """Whether the quick check of a form says No or Maybe."""
        if form.endswith("D"):
            return self.decomposition(form, c) != [c]
        return c in self.seconds or ((c in self.full or c in self.compat) and ucd.normalize(form, chr(c)) != chr(c))

    def joins(self, form: str, c: int) -> bool:
        """Whether the text before may reorder or compose with the character."""
        first = self.decomposition(form, c)[0]
        return first in self.ccc or (form.endswith("C") and first in self.seconds)

    def flags(self, c: int) -> int:
        """The flags of all forms: four bits that say unsure, four that say joins."""
        return sum(self.unsure(f, c) << i | self.joins(f, c) << i + 4 for i, f in enumerate(FORMS))

    def check(self) -> None:
        """What normalize.c builds on."""
        for c in self.characters:
            for form in FORMS:
                assert self.unsure(form, c) or c in self.ccc or not self.joins(form, c), hex(c)
        for c, full in self.full.items():
            assert len(full) <= 4, hex(c)
            assert sum(map(utf8, full)) <= 3 * utf8(c), hex(c)
        for c, full in self.compat.items():
            assert sum(map(utf8, full)) <= 11 * utf8(c), hex(c)
        for first, pairs in self.pairs.items():
            for second, composite in pairs.items():
                assert utf8(first) <= utf8(composite) <= utf8(first) + utf8(second), hex(composite)

    def tables(self) -> tuple[list[int], list[tuple[int, ...]], list[int], list[tuple[int, int]]]:
        """Entry number per code point, the distinct entries, all decompositions, all pairs."""
        number, full, pairs = {(0,) * 8: 0}, [], []
        entry_of = [0] * FORM_LIMIT
        for c in self.characters:
            canonical, compat = self.full.get(c, []), self.compat.get(c, [])
            compositions = sorted(self.pairs.get(c, {}).items())
            entry = (
                self.ccc.get(c, 0),
                self.flags(c),
                len(canonical),
                len(compat),
                len(compositions),
                len(full) if canonical else 0,
                len(full) + len(canonical) if compat else 0,
                len(pairs) if compositions else 0,
            )
            full += canonical + compat
            pairs += compositions
            entry_of[c] = number.setdefault(entry, len(number))
        assert len(full) < 1 << 16
        return entry_of, list(number), full, pairs


def decomposed(form: str, c: int) -> list[int]:
    """The full decomposition of one character."""
    return [ord(x) for x in ucd.normalize(form, chr(c))]


def category_of(version: tuple[int, int], changed: dict[int, str], c: int) -> str:
    """The general category in an older version."""
    return changed.get(c, ucd.category(chr(c))) if age(c) <= version else "Cn"


def lower_of(c: int) -> int:
    """The first character of the lowercase in Unicode 17.0; only U+0130 has a second one."""
    text = chr(c).lower() if age(c) <= (13, 0) else ""
    assert len(text) <= 1 or c == 0x130, hex(c)
    return LOWER_AFTER_13.get(c) or (ord(text[0]) if text else c)


def trait_bytes() -> list[int]:
    """The trait byte of every code point."""
    traits = []
    for c in CODE_POINTS:
        eight = category_of((8, 0), CATEGORY_8, c)
        bits = PUNCTUATION * (eight[0] == "P" or chr(c) in string.punctuation)
        bits |= OTHER * (eight in ("Cc", "Cf", "Co")) | NONSPACING * (eight == "Mn")
        bits |= MARK_9 * (category_of((9, 0), CATEGORY_9, c)[0] == "M")
        bits |= NUMERIC * (ucd.category(chr(c))[0] == "N" or c in NUMBERS_17)
        traits.append(bits | CASED * (lower_of(c) != c))
    return traits


def age(c: int) -> tuple[int, ...]:
    """The version of Unicode that assigned a code point."""
    text = ucd.age(chr(c))
    return tuple(map(int, text.split("."))) if text[0].isdigit() else (999, 0)


def utf8(c: int) -> int:
    """The length of a code point in UTF-8."""
    return len(chr(c).encode())


def c_file(classes: list[int], traits: list[int], forms: Forms) -> str:
    index, blocks = two_stage(classes, 128)
    trait_index, trait_blocks = two_stage(traits, 128)
    deltas = sorted({lower_of(c) - c for c in CODE_POINTS}, key=abs)
    lower_index, lower_blocks = two_stage([deltas.index(lower_of(c) - c) for c in range(LOWER_LIMIT)], 64)
    assert len(deltas) <= 256
    assert all(lower_of(c) == c for c in range(LOWER_LIMIT, 0x110000))
    entry_of, entries, full, pairs = forms.tables()
    form_index, form_blocks = two_stage(entry_of, 64)

    size = (len(index) + 128 * len(blocks)) / 1024
    trait_size = (len(trait_index) + 128 * len(trait_blocks) + len(lower_index) + 64 * len(lower_blocks)) / 1024
    form_size = (len(form_index) + 128 * len(form_blocks) + 12 * len(entries) + 4 * len(full) + 8 * len(pairs)) / 1024
    return f"""\
/* unicode_tables.c - classes of Unicode 16.0 ({size:.0f} KB), traits and lowercase ({trait_size:.0f} KB), and the
 * normalization data of Unicode 9.0 ({form_size:.0f} KB). See unicode.h.
 * Written by tools/make_unicode_tables.py; do not edit. */
#include "text/unicode.h"

static const uint8_t index_16[{len(index)}] = {{
{rows(index)}
}};

static const uint8_t class_16[{len(blocks)} * 128] = {{
{rows(itertools.chain(*blocks))}
}};

static const lf_unicode unicode_16 = {{16, index_16, class_16}};

const lf_unicode *lf_unicode_for(int major) {{ return major == 16 ? &unicode_16 : NULL; }}

const uint8_t lf_trait_index[0x110000 >> 7] = {{
{rows(trait_index)}
}};

const uint8_t lf_trait_blocks[{len(trait_blocks)} * 128] = {{
{rows(itertools.chain(*trait_blocks))}
}};

const uint8_t lf_lower_index[LF_LOWER_LIMIT >> 6] = {{
{rows(lower_index)}
}};

const uint8_t lf_lower_blocks[{len(lower_blocks)} * 64] = {{
{rows(itertools.chain(*lower_blocks))}
}};

const int32_t lf_lower_deltas[{len(deltas)}] = {{
{rows(deltas)}
}};

const uint8_t lf_form_index[LF_FORM_LIMIT >> 6] = {{
{rows(form_index)}
}};

const uint16_t lf_form_entry_number[{len(form_blocks)} * 64] = {{
{rows(itertools.chain(*form_blocks))}
}};

const lf_form_entry lf_form_entries[{len(entries)}] = {{
{rows("{" + ",".join(map(str, e)) + "}" for e in entries)}
}};

const uint32_t lf_form_full[{len(full)}] = {{
{rows(full)}
}};

const lf_form_pair lf_form_pairs[{len(pairs)}] = {{
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
    new = " ".join(f"{c:x}" for c in sorted(active()) if age(c) > FORM_AGE)
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
    changed = [c for c in CODE_POINTS if ucd.decomposition(chr(c))]
    parts = {ord(x) for c in changed if ucd.decomposition(chr(c))[0] != "<" for x in ucd.normalize("NFD", chr(c))}
    return parts | set(changed) | {c for c in CODE_POINTS if ucd.combining(chr(c))}


def sets_file(traits: list[int]) -> str:
    """The characters with each trait as ranges, and the lowercase that Python 3.10 does not know."""
    names = {
        "PUNCTUATION_8": (PUNCTUATION, "Punctuation of Unicode 8.0 (P), and all ASCII punctuation."),
        "OTHER_8": (OTHER, "Control, format and private use of Unicode 8.0 (Cc, Cf, Co)."),
        "NONSPACING_8": (NONSPACING, "Nonspacing marks of Unicode 8.0 (Mn)."),
        "MARKS_9": (MARK_9, "Marks of Unicode 9.0 (M)."),
        "NUMERIC_17": (NUMERIC, "Numbers of Unicode 17.0 (N)."),
    }
    parts = []
    for name, (bit, doc) in names.items():
        members = [c for c in CODE_POINTS if traits[c] & bit]
        parts.append(f'{name} = (\n{quoted(ranges(members))}\n)\n"""{doc}"""')
    lower = " ".join(f"{c:x}:{lower_of(c):x}" for c in CODE_POINTS if lower_of(c) != c and age(c) > (13, 0))
    parts.append(
        f'LOWER_AFTER_13 = (\n{quoted(lower)}\n)\n"""Lowercase of what came after Unicode 13.0, up to 17.0."""'
    )
    body = "\n\n".join(parts)
    return f'''\
"""Character sets of stated versions of Unicode, as ranges in hexadecimal: first-last, or one character. Written by
tools/make_unicode_tables.py; do not edit.
"""

{body}
'''


def ranges(members: list[int]) -> str:
    """Code points as ranges, in hexadecimal."""
    runs = [list(group) for _, group in itertools.groupby(enumerate(members), lambda pair: pair[1] - pair[0])]
    return " ".join(f"{run[0][1]:x}-{run[-1][1]:x}" if len(run) > 1 else f"{run[0][1]:x}" for run in runs)


def quoted(text: str) -> str:
    """A text as lines of string literals."""
    return "\n".join(f'    "{line} "' for line in textwrap.wrap(text, 110, break_on_hyphens=False))


if __name__ == "__main__":
    assert ucd.unidata_version == "16.0.0", ucd.unidata_version
    assert version("regex") == "2024.11.6", version("regex")
    assert all(matching(rf"\p{{{k}}}") == {c for c in CODE_POINTS if ucd.category(chr(c))[0] == k} for k in "LMN")
    classes, traits = class_bytes(), trait_bytes()
    (ROOT / "csrc/text/unicode_tables.c").write_text(c_file(classes, traits, Forms()))
    (ROOT / "lmfast/reference/unicode_16.py").write_text(python_file(classes))
    (ROOT / "lmfast/reference/unicode_sets.py").write_text(sets_file(traits))
    sys.stdout.write("wrote csrc/text/unicode_tables.c and lmfast/reference/unicode_{16,sets}.py\n")
