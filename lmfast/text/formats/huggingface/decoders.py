"""Decoders of a `tokenizer.json`, read and written."""

from __future__ import annotations

from typing import Any

from lmfast.text.formats.huggingface.components import Keys, cannot_hold, flat, read_pattern, write_pattern
from lmfast.text.formats.huggingface.pre_tokenizers import (
    BYTE_LEVEL,
    METASPACE,
    read_byte_level,
    read_character,
    read_metaspace,
    write_byte_level,
    write_metaspace,
)
from lmfast.text.formats.strict_json import Node
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

__all__ = ["read", "write"]

_SUPPORTED = {
    "ByteLevel": BYTE_LEVEL,
    "Metaspace": METASPACE,
    "WordPiece": Keys(("prefix", "cleanup")),
    "ByteFallback": Keys(),
    "Fuse": Keys(),
    "Strip": Keys(("content", "start", "stop")),
    "Replace": Keys(("pattern", "content")),
    "BPEDecoder": Keys(("suffix",)),
    "CTC": Keys(("pad_token", "word_delimiter_token", "cleanup")),
}


def read(node: Node | None) -> tuple[Decoder, ...]:
    """The decoders in the order in which they apply."""
    return tuple(_read(kind, child) for kind, child in flat(node, _SUPPORTED, "decoders"))


def _read(kind: str, node: Node) -> Decoder:
    match kind:
        case "ByteLevel":
            return read_byte_level(node)
        case "Metaspace":
            return read_metaspace(node)
        case "WordPiece":
            return WordPieceDecoder(node["prefix"].string(), node["cleanup"].boolean())
        case "Strip":
            return StripDecoder(read_character(node["content"]), node["start"].integer(), node["stop"].integer())
        case "Replace":
            pattern, literal = read_pattern(node["pattern"])
            return Replace(pattern, node["content"].string(), literal)
        case "BPEDecoder":
            return BPEDecoder(node["suffix"].string())
        case "CTC":
            pad, delimiter = node["pad_token"].string(), node["word_delimiter_token"].string()
            return CTC(pad, delimiter, node["cleanup"].boolean())
        case "Fuse":
            return Fuse()
        case _:
            return ByteFallback()


def write(decoders: tuple[Decoder, ...]) -> list[dict[str, Any]]:
    """Decoders as components."""
    return [_write(decoder) for decoder in decoders]


def _write(decoder: Decoder) -> dict[str, Any]:
    match decoder:
        case ByteLevel():
            return write_byte_level(decoder)
        case Metaspace():
            return write_metaspace(decoder)
        case WordPieceDecoder(prefix, cleanup):
            return {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup}
        case StripDecoder(content, start, stop):
            return {"type": "Strip", "content": content, "start": start, "stop": stop}
        case Replace(pattern, content, literal):
            return {"type": "Replace", "pattern": write_pattern(pattern, literal), "content": content}
        case BPEDecoder(suffix):
            return {"type": "BPEDecoder", "suffix": suffix}
        case CTC(pad, delimiter, cleanup):
            return {"type": "CTC", "pad_token": pad, "word_delimiter_token": delimiter, "cleanup": cleanup}
        case ByteFallback() | Fuse():
            return {"type": type(decoder).__name__}
    raise cannot_hold(f"the decoder {type(decoder).__name__}")
