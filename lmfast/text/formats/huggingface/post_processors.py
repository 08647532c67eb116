"""Post-processors of a `tokenizer.json`, read and written."""

from __future__ import annotations

from typing import Any

from lmfast.text.formats.huggingface.components import Keys, cannot_hold, flat, read_token
from lmfast.text.formats.huggingface.pre_tokenizers import BYTE_LEVEL, read_byte_level
from lmfast.text.formats.strict_json import Node, shown
from lmfast.text.spec import (
    AddedToken,
    BertProcessing,
    PostProcessor,
    RobertaProcessing,
    TemplatePiece,
    TemplateProcessing,
    Vocab,
)

__all__ = ["read", "write"]

_SUPPORTED = {
    "ByteLevel": BYTE_LEVEL,
    "TemplateProcessing": Keys(("single", "pair", "special_tokens")),
    "BertProcessing": Keys(("sep", "cls")),
    "RobertaProcessing": Keys(("sep", "cls", "trim_offsets", "add_prefix_space")),
}


def read(node: Node | None, vocab: Vocab, added: list[AddedToken]) -> tuple[PostProcessor | None, Node | None]:
    """What puts special tokens around ids, and a ByteLevel, which changes offsets alone."""
    found: PostProcessor | None = None
    byte_level = None
    known = {token.id for token in added}
    for kind, child in flat(node, _SUPPORTED, "processors"):
        if kind == "ByteLevel":
            read_byte_level(child)
            byte_level = child
        elif found:
            child.fail(f"a {kind} after another post-processor is not supported")
        elif kind == "TemplateProcessing":
            found = _read_template(child, vocab, known)
        else:
            found = _read_classes(kind, child, vocab, known)
    return found, byte_level


def _check_id(node: Node, token_id: int, vocab: Vocab, known: set[int]) -> None:
    if token_id not in known and vocab.find(token_id) is None:
        node.fail(f"no token has the id {token_id}")


def _read_classes(kind: str, node: Node, vocab: Vocab, known: set[int]) -> PostProcessor:
    sep, cls = read_token(node["sep"]), read_token(node["cls"])
    _check_id(node["sep"][1], sep[1], vocab, known)
    _check_id(node["cls"][1], cls[1], vocab, known)
    if kind == "BertProcessing":
        return BertProcessing(sep, cls)
    return RobertaProcessing(sep, cls, node["trim_offsets"].boolean(), node["add_prefix_space"].boolean())


def _read_template(node: Node, vocab: Vocab, known: set[int]) -> TemplateProcessing:
    specials: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {}
    table = node["special_tokens"]
    if type(table.value) is not dict:
        table.fail(f"want an object, got {shown(table.value)}")
    for name in table.value:
        special = table[name].object(("id", "ids", "tokens"))
        if special["id"].string() != name:
            special["id"].fail(f"want the key that leads here, {shown(name)}, got {shown(special['id'].value)}")
        ids = tuple(item.integer() for item in special["ids"].array())
        tokens = tuple(item.string() for item in special["tokens"].array())
        if len(ids) != len(tokens):
            special.fail(f"{len(ids)} ids and {len(tokens)} tokens; want as many of each")
        for i, token_id in enumerate(ids):
            _check_id(special["ids"][i], token_id, vocab, known)
        specials[name] = ids, tokens

    def read_pieces(items: Node, sequences: tuple[str, ...]) -> tuple[TemplatePiece, ...]:
        pieces = []
        for item in items.array():
            item.object((), ("Sequence", "SpecialToken"))
            if len(item.value) != 1:
                item.fail('want {"Sequence": ...} or {"SpecialToken": ...}')
            kind = next(iter(item.value))
            inner = item[kind].object(("id", "type_id"))
            name, type_id = inner["id"].string(), inner["type_id"].integer()
            if kind == "Sequence":
                if name not in sequences:
                    inner["id"].fail(f"want one of {', '.join(sequences)}, got {shown(name)}")
                pieces.append(TemplatePiece("sequence", name, type_id))
            elif name not in specials:
                inner["id"].fail(f"{shown(name)} is not in {table.path}")
            else:
                pieces.append(TemplatePiece("special", name, type_id, *specials[name]))
        return tuple(pieces)

    return TemplateProcessing(read_pieces(node["single"], ("A",)), read_pieces(node["pair"], ("A", "B")))


def write(processor: PostProcessor | None) -> list[dict[str, Any]]:
    """A post-processor as components."""
    match processor:
        case None:
            return []
        case BertProcessing(sep, cls):
            return [{"type": "BertProcessing", "sep": list(sep), "cls": list(cls)}]
        case RobertaProcessing(sep, cls, trim_offsets, add_prefix_space):
            options = {"trim_offsets": trim_offsets, "add_prefix_space": add_prefix_space}
            return [{"type": "RobertaProcessing", "sep": list(sep), "cls": list(cls)} | options]
        case TemplateProcessing():
            return [_write_template(processor)]


def _write_template(template: TemplateProcessing) -> dict[str, Any]:
    specials: dict[str, Any] = {}

    def write_piece(piece: TemplatePiece) -> dict[str, Any]:
        if piece.kind == "sequence":
            return {"Sequence": {"id": piece.name, "type_id": piece.type_id}}
        special = {"id": piece.name, "ids": list(piece.ids), "tokens": list(piece.tokens)}
        if specials.setdefault(piece.name, special) != special:
            raise cannot_hold(f"two template tokens of the same name {piece.name!r} and different ids")
        return {"SpecialToken": {"id": piece.name, "type_id": piece.type_id}}

    pieces = {key: [write_piece(piece) for piece in getattr(template, key)] for key in ("single", "pair")}
    return {"type": "TemplateProcessing", **pieces, "special_tokens": specials}
