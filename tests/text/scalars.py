"""Unicode's scalar values: those that a test of all of them takes.

Nine hundred thousand of them have no character and are all alike to Unicode's tables: LMFAST_TEST_FULL=1 takes all
of these too, and by default every 61st stands for them.
"""

import os

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]

# Unicode 17 has its characters in planes 0 to 3 and at the begin of plane 14; private use ends at the end of a plane.
_CHARACTERS = range(0x33480), range(0xE0000, 0xE0200)


def _stands_for_others(c: int) -> bool:
    return c % 61 == 0 or c & 0xFFFF in (0, 1, 0xFFFD, 0xFFFE, 0xFFFF)


SCALARS = [
    c
    for c in ALL
    if os.environ.get("LMFAST_TEST_FULL") == "1" or any(c in block for block in _CHARACTERS) or _stands_for_others(c)
]
