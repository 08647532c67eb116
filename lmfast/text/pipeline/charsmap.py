"""sentencepiece's table of replacements, `precompiled_charsmap`, one lookup at a time.

The table is a double array (a trie in units of 32 bits) and the replacements, each ended by a NUL. A unit holds an
offset, a label and whether a value follows; what a damaged table says is followed within its bounds only.

Source: darts-clone, include/darts.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["Charsmap"]


class Charsmap:
    """Replacements by what they replace."""

    def __init__(self, charsmap: bytes) -> None:
        (size,) = struct.unpack_from("<I", charsmap)
        self._units = struct.unpack_from(f"<{size // 4}I", charsmap, 4)
        self._strings = charsmap[4 + size :]
        self._first: dict[str, str | None] = {}

    def _prefixes(self, key: bytes) -> Iterator[int]:
        """The values of the beginnings of a key, the shortest first."""
        units, n = self._units, len(self._units)
        at = 0
        unit = units[0] if n else 0
        at ^= _offset(unit)
        for byte in key:
            at ^= byte
            if byte == 0 or at >= n:
                return
            unit = units[at]
            if unit & 0x800000FF != byte:
                return
            at ^= _offset(unit)
            if unit >> 8 & 1 and at < n:
                yield units[at] & 0x7FFFFFFF

    def first(self, text: str) -> str | None:
        """The replacement of the shortest beginning of a text that has one."""
        if text in self._first:
            return self._first[text]
        found = None
        for value in self._prefixes(text.encode()):
            if value < len(self._strings):
                stop = self._strings.find(b"\0", value)
                found = self._strings[value : stop if stop >= 0 else None].decode("utf-8", "replace")
            break
        if len(self._first) < 65536:
            self._first[text] = found
        return found


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)
