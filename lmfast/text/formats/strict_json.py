"""JSON read strictly: every value knows the path that leads to it, so that an error can name its place.

Refused: text that is not UTF-8, a byte order mark, a key that stands twice in one object (which one counts is left open
by RFC 8259), NaN and infinities, objects and arrays nested more than `MAX_DEPTH` deep. Every error is a
TokenizerFileError that names the file and the JSON path, or the byte offset where the text is no JSON.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from lmfast.text.formats.serde_numbers import read_float
from lmfast.text.spec import MAX_ID, TokenizerFileError

__all__ = ["MAX_DEPTH", "Node", "parse", "shown"]

MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Node:
    """A JSON value, the path to it from the top of the file, and the name of the file."""

    value: Any
    path: str
    where: str

    def fail(self, problem: str) -> NoReturn:
        """Raises TokenizerFileError with the file, the path of the node and what is wrong there."""
        raise TokenizerFileError(f"{self.where}: {self.path or 'top level'}: {problem}")

    def __getitem__(self, key: str | int) -> Node:
        """An element of an object or an array, which has to be there."""
        return Node(self.value[key], _step(self.path, key), self.where)

    def object(self, required: Collection[str], optional: Collection[str] = ()) -> Node:
        """The node itself, which has to be an object with all required keys and no others than those named."""
        if type(self.value) is not dict:
            self.fail(f"want an object, got {shown(self.value)}")
        for key in required:
            if key not in self.value:
                self.fail(f"the key {key!r} is missing")
        for key in self.value:
            if key not in required and key not in optional:
                self.fail(f"key {shown(key)} is not supported; supported: {', '.join([*required, *optional])}")
        return self

    def get(self, key: str) -> Node | None:
        """A value of an object; None where the key is absent or the value is null."""
        return self[key] if self.value.get(key) is not None else None

    def array(self) -> list[Node]:
        """The elements of the value, which has to be an array."""
        if type(self.value) is not list:
            self.fail(f"want an array, got {shown(self.value)}")
        return [self[i] for i in range(len(self.value))]

    def string(self) -> str:
        """The value, which has to be a string of whole characters."""
        if type(self.value) is not str:
            self.fail(f"want a string, got {shown(self.value)}")
        try:
            self.value.encode()
        except UnicodeEncodeError:
            self.fail(f"{shown(self.value)} holds half a surrogate pair")
        return self.value

    def boolean(self) -> bool:
        """The value, which has to be true or false."""
        if type(self.value) is not bool:
            self.fail(f"want true or false, got {shown(self.value)}")
        return self.value

    def integer(self, limit: int = MAX_ID) -> int:
        """The value, which has to be an integer of 0 to `limit`."""
        if type(self.value) is not int or not 0 <= self.value <= limit:
            self.fail(f"want an integer in [0, {limit}], got {shown(self.value)}")
        return self.value

    def text(self) -> str:
        """The value as JSON text, always the same for the same value."""
        text = json.dumps(self.value, sort_keys=True, ensure_ascii=False)
        return Node(text, self.path, self.where).string()


def _step(path: str, key: str | int) -> str:
    """The path to an element: a.b, a[3], a["b c"]."""
    if isinstance(key, str) and key.isascii() and key.isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{key if isinstance(key, int) else shown(key)}]"


def shown(value: object) -> str:
    """A value for a message: short, in ASCII."""
    if isinstance(value, (dict, list)):
        return f"an {'object' if isinstance(value, dict) else 'array'} of {len(value)}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    text = ascii(value[:60] if isinstance(value, str) else value)
    return text + "..." if isinstance(value, str) and len(value) > 60 else text


def parse(data: bytes, where: str) -> Node:
    """The top of a JSON file."""
    if data.startswith(b"\xef\xbb\xbf"):
        raise TokenizerFileError(f"{where}: byte offset 0: a byte order mark; want plain UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerFileError(
            f"{where}: byte offset {error.start}: 0x{data[error.start]:02x} is not UTF-8 ({error.reason})"
        ) from None
    depth = _depth(data)
    if depth > MAX_DEPTH:
        raise TokenizerFileError(f"{where}: objects and arrays are nested {depth} deep; at most {MAX_DEPTH} is allowed")
    try:
        try:
            value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=read_float)
        except _RepeatedKeyError:
            # What stands behind the object has not been read yet and may be wrong as well.
            found = _repeated(json.loads(text, object_pairs_hook=_Pairs), "")
            raise TokenizerFileError(f"{where}: {found}: the key stands twice in its object") from None
        return Node(value, "", where)
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode())
        raise TokenizerFileError(f"{where}: byte offset {offset}: not JSON: {error.msg}") from None
    except TokenizerFileError:
        raise
    except ValueError as error:
        raise TokenizerFileError(f"{where}: {error}") from None


_NOT_MARKS = bytes(set(range(256)) - set(b'"[]{}'))
_DEPTH_STEP = np.zeros(256, np.int32)
_DEPTH_STEP[list(b"[{")] = 1
_DEPTH_STEP[list(b"]}")] = -1


def _depth(data: bytes) -> int:
    """How deep brackets and braces are nested, not counting those inside strings."""
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = np.frombuffer(plain.translate(None, delete=_NOT_MARKS), np.uint8)
    in_string = np.cumsum(marks == ord('"'), dtype=np.int32) & 1
    return int(np.where(in_string, 0, _DEPTH_STEP[marks]).cumsum(dtype=np.int32).max(initial=0))


class _RepeatedKeyError(Exception):
    pass


class _Pairs(list[tuple[str, Any]]):
    """An object as its pairs, which tells it from an array."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise _RepeatedKeyError
    return unique


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _repeated(value: object, path: str) -> str | None:
    """The path of the first key that stands twice."""
    inside: list[tuple[str, object]] = []
    if isinstance(value, _Pairs):
        seen = set()
        for key, child in value:
            if key in seen:
                return _step(path, key)
            seen.add(key)
            inside.append((_step(path, key), child))
    elif isinstance(value, list):
        inside = [(_step(path, i), child) for i, child in enumerate(value)]
    for here, child in inside:
        if isinstance(child, list) and (found := _repeated(child, here)):
            return found
    return None
