"""Decoders of a `tokenizer.json` as a table: where a token's text depends on no other token, the texts are joined.

    tokens    ▁Hello | , | ▁w | <0xC3> <0xB6> | rld       Replace ▁ by a space, ByteFallback, Fuse, Strip a space
    texts    ` Hello | , |  w |    C3     B6  | rld`      from the table, joined: csrc/text/token_texts.h
    text     `Hello, wörld`                               what comes behind Fuse is done to the text

Exactness: tokenizers 0.23.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lmfast.text._token_texts import BYTE, EMPTY, NONE, TEXT, TokenTexts
from lmfast.text.pipeline import decoding
from lmfast.text.pipeline.bytes_alphabet import BYTE_OF
from lmfast.text.spec import (
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

__all__ = ["Table", "table_of"]


class Called(Protocol):
    """What ids are called; None where one has no token."""

    def name_of(self, token_id: int) -> str | None: ...

    def names(self) -> list[str | None]: ...


_OF_TOKENS = (BPEDecoder, Metaspace, Replace, StripDecoder, WordPieceDecoder)
"""Decoders that make of each token one, by what it is and whether it is the first or the last."""


def table_of(decoders: Sequence[Decoder], names: Called) -> Table | None:
    """The table of decoders for ids and what they are called; None where tokens depend on each other."""
    joins = next((i for i, decoder in enumerate(decoders) if isinstance(decoder, Fuse | ByteLevel)), len(decoders))
    own, rest = list(decoders[:joins]), decoders[joins + 1 :]
    as_bytes = joins < len(decoders) and isinstance(decoders[joins], ByteLevel)
    fallback = bool(own) and isinstance(own[-1], ByteFallback)
    if fallback:
        own.pop()
    if not all(isinstance(decoder, _OF_TOKENS) for decoder in own) or (fallback and as_bytes):
        return None
    steps = [decoding.step_of(decoder) for decoder in own]
    if not decoders:
        steps = [_with_spaces]
    return Table(steps, fallback, as_bytes, rest, names)


def _with_spaces(tokens: list[str]) -> list[str]:
    return [token if i == 0 else " " + token for i, token in enumerate(tokens)]


class Table:
    """What each id becomes between others is in a table; what the first and the last become is asked for one by one."""

    def __init__(
        self,
        steps: list[decoding.Step],
        fallback: bool,
        as_bytes: bool,
        rest: Sequence[Decoder],
        names: Called,
    ) -> None:
        self._steps, self._fallback, self._as_bytes = steps, fallback, as_bytes
        self._rest = [decoding.step_of(decoder) for decoder in rest]
        self._strips = [decoder for decoder in rest if isinstance(decoder, StripDecoder)]
        self._only_strips = len(self._strips) == len(rest) and not as_bytes
        self._called = names
        self._at_edges: dict[tuple[int, bool, bool], bytes | None] = {}

    @cached_property
    def _texts(self) -> TokenTexts:
        """Made when it is first needed: a vocabulary of 256,000 tokens takes a fifth of a second."""
        names = self._called.names()
        found = self._run(["", *(name or "" for name in names), ""])[1:-1]
        kinds = np.full(len(names), NONE, np.uint16)
        texts = []
        for i, (name, text) in enumerate(zip(names, found, strict=True)):
            byte = decoding.byte_of(text) if self._fallback else None
            texts.append(self._encoded(text) if byte is None else bytes([byte]))
            if name is not None:
                kinds[i] = BYTE + byte if byte is not None else TEXT if texts[-1] else EMPTY
        return TokenTexts(texts, kinds)

    def _run(self, tokens: list[str]) -> list[str]:
        for step in self._steps:
            tokens = step(tokens)
        return tokens

    def _encoded(self, text: str) -> bytes:
        if self._as_bytes and all(c in BYTE_OF for c in text):
            return bytes([BYTE_OF[c] for c in text])
        return text.encode()

    def _at_edge(self, token_id: int, first: bool, last: bool) -> bytes | None:
        """What an id becomes there, or None where that is what it becomes everywhere.

        Errors: IndexError for an id that no token has; LookupError for one that is a byte in only one of the places.
        """
        key = token_id, first, last
        if key not in self._at_edges:
            name = self._called.name_of(token_id)
            if name is None:
                raise IndexError(f"{token_id} is no token")
            (here,) = self._run([*[""] * (not first), name, *[""] * (not last)])[not first : 1 + (not first)]
            _, usual, _ = self._run(["", name, ""])
            if here != usual and self._fallback and {decoding.byte_of(here), decoding.byte_of(usual)} != {None}:
                raise LookupError
            self._at_edges[key] = None if here == usual else self._encoded(here)
        return self._at_edges[key]

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The UTF-8 of the text of ids.

        Errors: IndexError for an id that no token has; LookupError where the decoders have to be followed step by step.
        """
        n, before, after = len(ids), None, None
        if n:
            before = self._at_edge(int(ids[0]), True, n == 1)
        if n > 1:
            after = self._at_edge(int(ids[-1]), False, True)
        inner = ids[before is not None : n - (after is not None)]
        data = (before or b"") + self._texts.join(inner) + (after or b"")
        if self._only_strips:
            for decoder in self._strips:
                data = _stripped(data, decoder)
            return data
        tokens = [data.decode("utf-8", "replace")]
        for step in self._rest:
            tokens = step(tokens)
        return "".join(tokens).encode()


def _stripped(text: bytes, decoder: StripDecoder) -> bytes:
    """What the decoder makes of a text, in UTF-8."""
    content = decoder.content.encode()
    start, stop = 0, len(text)
    for _ in range(min(decoder.start, len(text))):
        if not text.startswith(content, start):
            break
        start += len(content)
    for _ in range(min(decoder.stop, len(text))):
        if not text.endswith(content, 0, stop):
            break
        stop -= len(content)
    return text[start:stop]
