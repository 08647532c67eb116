"""The functions of the text domain for any spec: each family of tokenizers has a module that says what it does."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from lmfast.reference.text import byte_level, pipeline
from lmfast.text.spec import SentencePieceNormalizer, TokenizerSpec

__all__ = ["count", "decode", "decode_bytes", "encode", "encode_with_offsets", "truncate"]


def encode(
    text: str | bytes,
    spec: TokenizerSpec,
    *,
    allowed_special: Collection[str] | str = (),
    add_special_tokens: bool = False,
    errors: str = "replace",
) -> list[int]:
    """The ids of a text.

    Special tokens whose text is in `allowed_special` ("all": every one) are recognised, the text of others is plain
    text; added tokens that are not special always are. `add_special_tokens` puts the spec's template around.
    """
    if spec.is_byte_level:
        ids = byte_level.encode(text, spec, allowed_special=allowed_special, errors=errors)
    elif _is_sentencepiece(spec):
        ids = [token_id for token_id, _, _ in _sentencepiece(text, spec, allowed_special, errors)]
    else:
        ids = pipeline.encode(text, spec, allowed_special=allowed_special, errors=errors)
    if add_special_tokens and spec.template:
        pieces = spec.template.single
        return [token_id for piece in pieces for token_id in (ids if piece.kind == "sequence" else piece.ids)]
    return ids


def _is_sentencepiece(spec: TokenizerSpec) -> bool:
    return any(isinstance(normalizer, SentencePieceNormalizer) for normalizer in spec.normalizer)


def _sentencepiece(
    text: str | bytes, spec: TokenizerSpec, allowed: Collection[str] | str, errors: str = "replace"
) -> list[tuple[int, int, int]]:
    """The ids of a text by a sentencepiece model, and where in its UTF-8 each begins and ends."""
    from lmfast.reference.text import sentencepiece

    whole = byte_level.characters(text, errors)
    wanted = {t.content: t for t in spec.added_tokens if not t.special or allowed == "all" or t.content in allowed}
    found: list[tuple[int, int, int]] = []
    at = 0
    for start, stop, token_id in byte_level.find_added(whole, wanted):
        stretch = whole[start:stop].encode("utf-8", "surrogateescape")
        if token_id is not None:
            found.append((token_id, at, at + len(stretch)))
        elif stretch:
            ids = sentencepiece.encode(sentencepiece.model_of(spec), stretch)
            found += [(i, at + begin, at + end) for i, begin, end in ids]
        at += len(stretch)
    return found


def count(text: str | bytes, spec: TokenizerSpec, *, allowed_special: Collection[str] | str = ()) -> int:
    """How many ids a text has."""
    return len(encode(text, spec, allowed_special=allowed_special))


def encode_with_offsets(
    text: str | bytes, spec: TokenizerSpec, *, allowed_special: Collection[str] | str = ()
) -> tuple[list[int], NDArray[np.int64], NDArray[np.int64]]:
    """The ids, and for each the range of the text that it comes from: byte offsets int64[n, 2], character offsets too.

    Offsets are into the text's UTF-8 and its characters (a byte that is not UTF-8 is one). A token's characters are all
    those it has a byte of.
    """
    if spec.is_byte_level:
        return byte_level.encode_with_offsets(text, spec, allowed_special=allowed_special)
    if _is_sentencepiece(spec):
        found = _sentencepiece(text, spec, allowed_special)
        ids = [token_id for token_id, _, _ in found]
        byte_offsets = np.array([place for _, *place in found], np.int64).reshape(-1, 2)
    else:
        ids, byte_offsets = pipeline.encode_with_offsets(text, spec, allowed_special=allowed_special)
    whole = byte_level.characters(text)
    ends = np.cumsum([0, *(len(c.encode("utf-8", "surrogateescape")) for c in whole)])
    first = np.searchsorted(ends, byte_offsets[:, 0], "right") - 1
    last = np.searchsorted(ends, byte_offsets[:, 1], "left")
    last = np.where(byte_offsets[:, 0] == byte_offsets[:, 1], first, last)
    return ids, byte_offsets, np.stack([first, last], axis=1).astype(np.int64)


def truncate(
    text: str | bytes, spec: TokenizerSpec, max_tokens: int, *, allowed_special: Collection[str] | str = ()
) -> str | bytes:
    """The longest beginning of a text, in whole characters, that its first ids reach and that has no more of them."""
    if spec.is_byte_level:
        return byte_level.truncate(text, spec, max_tokens, allowed_special=allowed_special)
    ids, byte_offsets, _ = encode_with_offsets(text, spec, allowed_special=allowed_special)
    if len(ids) <= max_tokens:
        return text
    stop = int(byte_offsets[max_tokens - 1, 1]) if max_tokens else 0
    whole = byte_level.characters(text)
    for at in range(len(whole), -1, -1):
        head = whole[:at].encode("utf-8", "surrogateescape")
        if len(head) <= stop and count(head, spec, allowed_special=allowed_special) <= max_tokens:
            break
    return text[:at] if isinstance(text, str) else head


def decode_bytes(ids: Iterable[int], spec: TokenizerSpec) -> bytes:
    """The bytes of ids. An id that no token has is an IndexError."""
    if spec.is_byte_level:
        return byte_level.decode_bytes(ids, spec)
    if _is_sentencepiece(spec):
        from lmfast.reference.text import sentencepiece

        return sentencepiece.decode(sentencepiece.model_of(spec), list(ids))
    return pipeline.decode_bytes(ids, spec)


def decode(ids: Iterable[int], spec: TokenizerSpec, errors: str = "replace") -> str:
    """The text of ids; what is not UTF-8 by `errors`, as `bytes.decode` has it."""
    return decode_bytes(ids, spec).decode("utf-8", errors)
