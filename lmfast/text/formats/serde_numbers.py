"""Decimal numbers as tokenizers reads them.

Its JSON reader (serde_json without `float_roundtrip`) takes the digits as one integer, rounds that to a float and
multiplies or divides by a power of ten, which rounds again. A quarter of the scores of a Unigram model come out one
unit off, and that decides between segmentations of equal score. So numbers are read here in the same two steps, and
written as the digits that these steps bring back.
"""

from __future__ import annotations

import math

__all__ = ["read_float", "writable"]


def read_float(text: str) -> float:
    """The float of a JSON number that has a fraction or an exponent. Errors: ValueError for one that is too large."""
    mantissa, _, exponent = text.lower().lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    power = int(exponent or 0) - len(fraction)
    digits = whole + fraction
    kept = digits[:19] if int(digits[:20]) >= 2**64 else digits[:20]
    power += len(digits) - len(kept)
    value = float(int(kept))
    if value and power > 308:
        raise ValueError(f"{text[:40]} is too large for a float")
    if power >= 0:
        value *= float(10 ** min(power, 308))
    else:
        while value and power < -308:
            value /= 1e308
            power += 308
        value /= float(f"1e{-power}") if value else 1.0
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large for a float")
    return -value if text.startswith("-") else value


def writable(value: float) -> float:
    """A float whose digits are read back as `value`."""
    below = above = value
    for _ in range(8):
        for candidate in (below, above):
            if read_float(repr(candidate)) == value:
                return candidate
        below, above = math.nextafter(below, -math.inf), math.nextafter(above, math.inf)
    raise ValueError(f"no decimal number is read as {value!r} by tokenizers")
