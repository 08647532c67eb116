"""GPT-2's alphabet: a printable character for each byte."""

from __future__ import annotations

__all__ = ["BYTE_OF", "CHARACTER_OF"]


def _alphabet() -> list[str]:
    """Byte -> the character that stands for it: itself where it is printable, else the next one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


CHARACTER_OF = _alphabet()
BYTE_OF = {character: byte for byte, character in enumerate(CHARACTER_OF)}
