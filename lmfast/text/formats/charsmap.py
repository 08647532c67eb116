"""sentencepiece's table of replacements as it stands in files."""

from __future__ import annotations

import struct

__all__ = ["charsmap_problem"]


def charsmap_problem(charsmap: bytes) -> str | None:
    """What is wrong with the layout of a charsmap: the size of a trie, the trie in units of 4 bytes, and strings, each
    ended by a NUL. What the units say is checked where they are followed.
    """
    if len(charsmap) < 4:
        return f"{len(charsmap)} bytes; want at least 4"
    (size,) = struct.unpack_from("<I", charsmap)
    if size % 4 or not 0 < size < len(charsmap) - 4:
        return f"a trie of {size} bytes in a table of {len(charsmap)}"
    if charsmap[-1]:
        return "the last string has no end"
    return None
