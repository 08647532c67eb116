#!/usr/bin/env python3
"""Writes csrc/text/grapheme_tables.c from the Unicode character database.

    pip install regex==2025.11.3
    python tools/make_grapheme_tables.py

`regex` is pinned because its Unicode version, 17.0, is part of its release; it has the three properties that the rules
of grapheme clusters speak of (UAX #29): Grapheme_Cluster_Break, Extended_Pictographic and Indic_Conjunct_Break. That is
the version of tokenizers 0.23.3 too, whose unicode-segmentation is 1.13.3. The output is the same on every run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import regex

ROOT = Path(__file__).resolve().parent.parent
TEXT = "".join(map(chr, range(0x110000)))
# In the order of lf_grapheme_class (graphemes.h). A later one wins: pictographs and consonants are OTHER, and linkers
# EXTEND, but for the rule that they are there for.
CLASSES = [
    r"\p{GCB=Other}",
    r"\p{GCB=CR}",
    r"\p{GCB=LF}",
    r"\p{GCB=Control}",
    r"[\p{GCB=Extend}&&\p{InCB=Extend}]",
    r"[\p{GCB=Extend}&&\p{InCB=None}]",
    r"\p{InCB=Linker}",
    r"\p{GCB=ZWJ}",
    r"\p{GCB=SpacingMark}",
    r"\p{GCB=Prepend}",
    r"\p{GCB=L}",
    r"\p{GCB=V}",
    r"\p{GCB=T}",
    r"\p{GCB=LV}",
    r"\p{GCB=LVT}",
    r"\p{GCB=Regional_Indicator}",
    r"\p{Extended_Pictographic}",
    r"\p{InCB=Consonant}",
]


def class_bytes() -> list[int]:
    """The class of every code point."""
    found = [-1] * len(TEXT)
    for number, pattern in enumerate(CLASSES):
        for match in regex.finditer(pattern, TEXT, regex.V1):
            assert found[match.start()] in (-1, 0), (hex(match.start()), pattern)
            found[match.start()] = number
    assert -1 not in found
    linked = [m.start() for m in regex.finditer(r"[\p{InCB=Linker}--\p{GCB=Extend}]", TEXT, regex.V1)]
    assert not linked, linked
    return found


def rows(items: Iterable[int]) -> str:
    """Numbers separated by commas, in lines of at most 120 columns."""
    lines, line = [], "    "
    for item in items:
        if len(line) + len(f"{item},") > 120:
            lines.append(line)
            line = "    "
        line += f"{item},"
    return "\n".join([*lines, line])


def c_file(classes: list[int]) -> str:
    number: dict[tuple[int, ...], int] = {}
    index = [number.setdefault(tuple(classes[i : i + 128]), len(number)) for i in range(0, len(classes), 128)]
    assert len(number) <= 256
    size = (len(index) + 128 * len(number)) / 1024
    return f"""\
/* grapheme_tables.c - what the characters of Unicode 17.0 are to grapheme clusters ({size:.0f} KB). See graphemes.h.
 * Written by tools/make_grapheme_tables.py; do not edit. */
#include "text/graphemes.h"

const uint8_t lf_grapheme_index[0x110000 >> 7] = {{
{rows(index)}
}};

const uint8_t lf_grapheme_blocks[{len(number)} * 128] = {{
{rows(itertools.chain(*number))}
}};
"""


if __name__ == "__main__":
    assert version("regex") == "2025.11.3", version("regex")
    assert regex.match(r"\p{L}", "\U000323b0"), "not of Unicode 17.0"
    (ROOT / "csrc/text/grapheme_tables.c").write_text(c_file(class_bytes()))
