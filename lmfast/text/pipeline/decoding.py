"""Decoders, step by step: the tokens of ids into the strings whose sequence is the text.

Exactness: tokenizers 0.23.3, and sentencepiece 0.2.3 for `SentencePieceDecoder`, which is not here: it needs to know
what kind of piece an id is.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from lmfast.text.pipeline.bytes_alphabet import BYTE_OF
from lmfast.text.pipeline.normalizing import find_matches
from lmfast.text.spec import (
    CTC,
    BPEDecoder,
    ByteFallback,
    ByteLevel,
    Decoder,
    Fuse,
    Metaspace,
    Replace,
    StripDecoder,
    WordPieceDecoder,
)

__all__ = ["Step", "byte_of", "clean_up", "decode", "step_of"]

Step = Callable[[list[str]], list[str]]


def decode(tokens: list[str], steps: list[Step]) -> str:
    """The text of tokens. Without a step, they are joined by spaces."""
    if not steps:
        return " ".join(tokens)
    for step in steps:
        tokens = step(tokens)
    return "".join(tokens)


def step_of(decoder: Decoder) -> Step:
    """What a decoder makes of tokens. Errors: ValueError for one that only a compiled engine knows."""
    match decoder:
        case Replace(pattern, content, literal):
            return lambda tokens: [_replace(token, pattern, content, literal) for token in tokens]
        case Metaspace(replacement, prepend_scheme):
            return _metaspace(replacement, prepend_scheme != "never")
        case ByteLevel():
            return _byte_level
        case WordPieceDecoder(prefix, cleanup):
            return _word_piece(prefix, cleanup)
        case ByteFallback():
            return _byte_fallback
        case Fuse():
            return lambda tokens: ["".join(tokens)]
        case StripDecoder(content, start, stop):
            return lambda tokens: [_strip(token, content, start, stop) for token in tokens]
        case BPEDecoder(suffix):
            return lambda tokens: [
                token.replace(suffix, "" if i == len(tokens) - 1 else " ") for i, token in enumerate(tokens)
            ]
        case CTC():
            return _ctc(decoder)
        case _:
            raise ValueError(f"a {type(decoder).__name__} does not go together with the other components of this spec")


def _replace(token: str, pattern: str, content: str, literal: bool) -> str:
    if literal:
        return token.replace(pattern, content) if pattern else token
    parts: list[str] = []
    done = 0
    for start, stop in find_matches(pattern, False, token):
        parts += (token[done:start], content)
        done = stop
    return "".join([*parts, token[done:]])


def _metaspace(replacement: str, drops_first: bool) -> Step:
    def step(tokens: list[str]) -> list[str]:
        return [t.replace(replacement, "" if drops_first and i == 0 else " ") for i, t in enumerate(tokens)]

    return step


def _byte_level(tokens: list[str]) -> list[str]:
    """A token with a character that stands for no byte is itself; what is not UTF-8 in the end becomes U+FFFD."""
    data = bytearray()
    for token in tokens:
        try:
            data += bytes([BYTE_OF[c] for c in token])
        except KeyError:
            data += token.encode()
    return [data.decode("utf-8", "replace")]


def _word_piece(prefix: str, cleanup: bool) -> Step:
    def step(tokens: list[str]) -> list[str]:
        joined = [
            token if i == 0 else token[len(prefix) :] if token.startswith(prefix) else " " + token
            for i, token in enumerate(tokens)
        ]
        return [clean_up(token) for token in joined] if cleanup else joined

    return step


_CLEAN_UPS = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def clean_up(token: str) -> str:
    """Without the spaces that English does not have."""
    for old, new in _CLEAN_UPS:
        token = token.replace(old, new)
    return token


def byte_of(token: str) -> int | None:
    """The byte that a token such as <0x41> stands for."""
    if len(token.encode()) == 6 and token.startswith("<0x") and token.endswith(">"):
        digits = token[3:5]
        if digits.isascii() and all(c in "0123456789abcdefABCDEF" for c in digits):
            return int(digits, 16)
        if digits[0] == "+" and digits[1:] in set("0123456789abcdefABCDEF"):
            return int(digits[1:], 16)  # Rust's from_str_radix takes a sign
    return None


def _byte_fallback(tokens: list[str]) -> list[str]:
    found: list[str] = []
    for is_byte, run in groupby(tokens, lambda token: byte_of(token) is not None):
        if not is_byte:
            found += run
            continue
        data = bytes([byte for token in run if (byte := byte_of(token)) is not None])
        try:
            found.append(data.decode())
        except UnicodeDecodeError:
            found += ["\ufffd"] * len(data)
    return found


def _strip(token: str, content: str, start: int, stop: int) -> str:
    first = 0
    while first < min(start, len(token)) and token[first] == content:
        first += 1
    last = len(token)
    while last > 0 and len(token) - last < stop and token[last - 1] == content:
        last -= 1
    return token[first:last] if first < last else ""


def _ctc(options: CTC) -> Step:
    def step(tokens: list[str]) -> list[str]:
        found = []
        for token, _ in groupby(tokens):
            new = token.replace(options.pad_token, "")
            if options.cleanup:
                new = clean_up(new)
                new = new.replace(options.word_delimiter_token, " ")
            if new:
                found.append(new)
        return found

    return step
