"""A text as it is given, and its UTF-8: what the bytes are, and which characters they make."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Errors", "Text", "character_starts", "is_strict", "str_index", "utf8"]

Text: TypeAlias = str | bytes | bytearray | memoryview
Errors: TypeAlias = Literal["replace", "strict"]
_LONE = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")


def is_strict(errors: str) -> bool:
    """Whether lone surrogates are an error. Errors: ValueError for any other word than these two."""
    if errors not in ("replace", "strict"):
        raise ValueError(f"errors = {errors!r}; want 'replace' or 'strict'")
    return errors == "strict"


def utf8(text: Text, strict: bool) -> bytes:
    """The UTF-8 of a str, where surrogates join as a high one precedes a low one, or bytes as they are.

    A lone surrogate becomes U+FFFD; where `strict`, it raises UnicodeEncodeError.
    """
    if not isinstance(text, str):
        return bytes(text)
    try:
        return text.encode()
    except UnicodeEncodeError:
        if strict and (lone := _LONE.search(text)):
            raise UnicodeEncodeError("utf-8", text, lone.start(), lone.end(), "surrogates not allowed") from None
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def str_index(text: str, n: int) -> int:
    """The index in a str of its character number n, where a pair of surrogates is one character."""
    pairs = re.finditer("[\ud800-\udbff][\udc00-\udfff]", text)
    for before, pair in enumerate(pairs):
        if pair.start() - before >= n:
            break
        n += 1
    return n


def character_starts(data: bytes) -> NDArray[np.bool_]:
    """bool[n]: where a character begins; a byte that is not UTF-8 is one."""
    bytes_ = np.frombuffer(data, np.uint8)
    starts: NDArray[np.bool_] = (bytes_ & 0xC0) != 0x80
    try:
        data.decode()
    except UnicodeDecodeError:
        # Rare: every byte of the text's ill-formed parts begins a character.
        at = 0
        for character in data.decode("utf-8", "surrogateescape"):
            if "\udc80" <= character <= "\udcff":
                starts[at] = True
                at += 1
            else:
                at += len(character.encode())
    return starts
