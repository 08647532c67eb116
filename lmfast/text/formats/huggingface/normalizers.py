"""Normalizers of a `tokenizer.json`, read and written."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from lmfast.text.formats.charsmap import charsmap_problem
from lmfast.text.formats.huggingface.components import Keys, cannot_hold, flat, read_pattern, write_pattern
from lmfast.text.formats.strict_json import Node
from lmfast.text.spec import (
    NFC,
    NFD,
    NFKC,
    NFKD,
    BertNormalizer,
    ByteLevel,
    Lowercase,
    Nmt,
    Normalizer,
    Precompiled,
    Prepend,
    Replace,
    Strip,
    StripAccents,
)

__all__ = ["read", "write"]

_PLAIN: dict[str, Normalizer] = {
    "NFC": NFC(),
    "NFD": NFD(),
    "NFKC": NFKC(),
    "NFKD": NFKD(),
    "Lowercase": Lowercase(),
    "StripAccents": StripAccents(),
    "Nmt": Nmt(),
    "ByteLevel": ByteLevel(),
}
_BERT = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
_SUPPORTED = {name: Keys() for name in _PLAIN} | {
    "Strip": Keys(("strip_left", "strip_right")),
    "Prepend": Keys(("prepend",)),
    "Replace": Keys(("pattern", "content")),
    "Precompiled": Keys(("precompiled_charsmap",)),
    "BertNormalizer": Keys(_BERT),
}


def read(node: Node | None) -> tuple[Normalizer, ...]:
    """The normalizers in the order in which they apply."""
    return tuple(_read(kind, child) for kind, child in flat(node, _SUPPORTED, "normalizers"))


def _read(kind: str, node: Node) -> Normalizer:
    match kind:
        case "Strip":
            return Strip(node["strip_left"].boolean(), node["strip_right"].boolean())
        case "Prepend":
            return Prepend(node["prepend"].string())
        case "Replace":
            pattern, literal = read_pattern(node["pattern"])
            return Replace(pattern, node["content"].string(), literal)
        case "Precompiled":
            return Precompiled(_read_charsmap(node["precompiled_charsmap"]))
        case "BertNormalizer":
            accents = node.get("strip_accents")
            return BertNormalizer(
                node["clean_text"].boolean(),
                node["handle_chinese_chars"].boolean(),
                accents.boolean() if accents else None,
                node["lowercase"].boolean(),
            )
        case _:
            return _PLAIN[kind]


def _read_charsmap(node: Node) -> bytes:
    try:
        charsmap = base64.b64decode(node.string(), validate=True)
    except (binascii.Error, ValueError) as error:
        node.fail(f"not base64: {error}")
    if problem := charsmap_problem(charsmap):
        node.fail(problem)
    try:
        charsmap[4 + int.from_bytes(charsmap[:4], "little") :].decode()
    except UnicodeDecodeError:
        node.fail("the replacements are not UTF-8")
    return charsmap


def write(normalizers: tuple[Normalizer, ...]) -> list[dict[str, Any]]:
    """Normalizers as components."""
    return [_write(normalizer) for normalizer in normalizers]


def _write(normalizer: Normalizer) -> dict[str, Any]:
    match normalizer:
        case Strip(left, right):
            return {"type": "Strip", "strip_left": left, "strip_right": right}
        case Prepend(prepend):
            return {"type": "Prepend", "prepend": prepend}
        case Replace(pattern, content, literal):
            return {"type": "Replace", "pattern": write_pattern(pattern, literal), "content": content}
        case Precompiled(charsmap):
            return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
        case BertNormalizer():
            return {"type": "BertNormalizer"} | {key: getattr(normalizer, key) for key in _BERT}
    name = type(normalizer).__name__
    if name not in _PLAIN:
        raise cannot_hold(f"the normalizer {name}")
    return {"type": name}
