"""The wire format of Protocol Buffers, as much of it as files need: a message is a list of numbered fields.

A field is a key, `number << 3 | kind`, and a value: a varint (kind 0), 8 or 4 bytes (1, 5), or a length and as many
bytes (2), which are a string or another message. What the numbers mean is not in the data. Groups (3, 4), which no
current schema has, are refused. Reading takes one pass and no memory beyond the values.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from lmfast.text.spec import TokenizerFileError

__all__ = ["BYTES", "FIXED32", "FIXED64", "VARINT", "Field", "encode", "fields", "signed"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_SIZES = {FIXED64: 8, FIXED32: 4}
_MAX_NUMBER = 2**29 - 1


class Field(NamedTuple):
    """A field of a message.

    value   the number of a varint, else the bytes
    at      where in the file its key begins
    inside  where in the file its value begins
    stop    where in the file it ends
    """

    number: int
    kind: int
    value: int | bytes
    at: int
    inside: int
    stop: int


def fields(data: bytes, where: str, base: int = 0) -> Iterator[Field]:
    """The fields of a message in order. `base` is where in the file `where` the message begins.

    Errors: TokenizerFileError names the byte offset of what is no field.
    """
    at, n = 0, len(data)
    while at < n:
        start = at
        key = data[at]
        at += 1
        if key >= 0x80:
            key, at = _varint(data, start, where, base)
        number, kind = key >> 3, key & 7
        if not 0 < number <= _MAX_NUMBER:
            raise TokenizerFileError(f"{where}: byte offset {base + start}: field number {number} is not allowed")
        if kind == VARINT:
            inside = at
            value, at = _varint(data, at, where, base)
            yield Field(number, kind, value, base + start, base + inside, base + at)
            continue
        if kind == BYTES:
            size, at = _varint(data, at, where, base)
        elif kind in _SIZES:
            size = _SIZES[kind]
        else:
            raise TokenizerFileError(f"{where}: byte offset {base + start}: wire type {kind} is not supported")
        if size > n - at:
            raise TokenizerFileError(
                f"{where}: byte offset {base + start}: field {number} has {size} bytes, and {n - at} are left"
            )
        yield Field(number, kind, data[at : at + size], base + start, base + at, base + at + size)
        at += size


def _varint(data: bytes, at: int, where: str, base: int) -> tuple[int, int]:
    """The number at a place, seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for i in range(10):
        if at + i == len(data):
            raise TokenizerFileError(f"{where}: byte offset {base + at}: the file ends inside a number")
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if value >= 2**64:
                break
            return value, at + i + 1
    raise TokenizerFileError(f"{where}: byte offset {base + at}: a number of more than 64 bits")


def signed(value: int) -> int:
    """A varint as the signed number that it stands for."""
    return value - 2**64 if value >= 2**63 else value


def encode(number: int, value: int | float | bytes) -> bytes:
    """A field: an int as a varint, a float as 4 bytes, bytes with their length."""
    if isinstance(value, float):
        return _encode_varint(number << 3 | FIXED32) + struct.pack("<f", value)
    if isinstance(value, bytes):
        return _encode_varint(number << 3 | BYTES) + _encode_varint(len(value)) + value
    return _encode_varint(number << 3 | VARINT) + _encode_varint(value % 2**64)


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
