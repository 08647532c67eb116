"""`tokenizer.json` of Hugging Face tokenizers, with byte-level BPE.

Everything in the file that may change an id is either understood or refused by name and JSON path; what changes no id
(truncation, padding, the offsets that post-processing trims, an unknown token that is never used where every byte is a
token) is kept in `TokenizerSpec.options`. Two places where the file alone does not decide:

Ids of added tokens. The library ignores the ids in `added_tokens`: a content that is in the model's vocabulary has
that id, every other one takes the next id after the vocabulary's size, in file order. A file whose ids say otherwise is
refused, for one of the two is wrong.

Special tokens in the model's vocabulary. The library finds them in the text before the model does, so the model never
sees them; here the text of a special token is plain text unless the caller allows it. So a special token in the
vocabulary that no merge touches stays only in `added_tokens`, or else `ignore_merges` would still produce it.

Read and written as tokenizers 0.23.3 does; source: tokenizers/src/{tokenizer,models/bpe,pre_tokenizers,processors}.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import chain, pairwise, repeat
from operator import add
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lmfast.text.formats.oniguruma import from_oniguruma, to_oniguruma
from lmfast.text.formats.ranks import merges_of_ranks
from lmfast.text.formats.strict_json import Node, parse, shown
from lmfast.text.patterns import GPT2_PATTERN
from lmfast.text.spec import (
    BPE,
    MAX_ID,
    NFC,
    AddedToken,
    Normalizer,
    PrefixSpace,
    PreTokenizer,
    Split,
    TemplatePiece,
    TemplateProcessing,
    TokenizerSpec,
    Vocab,
)

__all__ = ["GPT2_PATTERN", "read_bytes", "to_bytes"]

_BEHAVIORS = {
    "Isolated": "isolated",
    "Removed": "removed",
    "MergedWithPrevious": "merged_with_previous",
    "MergedWithNext": "merged_with_next",
    "Contiguous": "contiguous",
}
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_MAX_PATTERN = 65_536


def _alphabet() -> NDArray[np.uint16]:
    """Byte -> the character that stands for it: itself where it is printable, else the next one from U+0100 on."""
    printable = np.zeros(256, np.bool_)
    for first, last in ("!~", "\xa1\xac", "\xae\xff"):
        printable[ord(first) : ord(last) + 1] = True
    characters = np.arange(256, dtype=np.uint16)
    characters[~printable] = 256 + np.arange(np.count_nonzero(~printable))
    return characters


_CHARACTER_OF = _alphabet()
_BYTE_OF = np.full(int(_CHARACTER_OF.max()) + 2, -1, np.int16)
_BYTE_OF[_CHARACTER_OF] = np.arange(256)
# The 13 others occur in no text, and vocabularies trained without the whole alphabet (GPT-NeoX) lack them.
_IN_UTF8 = np.array([byte for byte in range(256) if byte not in (0xC0, 0xC1) and byte < 0xF5])


def read_bytes(data: bytes, *, where: str, name: str | None = None) -> TokenizerSpec:
    """The tokenizer in the contents of a `tokenizer.json`. `where` is the name of the file, for messages.

    Errors: TokenizerFileError for everything that is wrong with the file or not supported.
    """
    top = parse(data, where).object(
        ("model", "pre_tokenizer"),
        ("version", "truncation", "padding", "added_tokens", "normalizer", "post_processor", "decoder"),
    )
    if top.value.get("version", "1.0") != "1.0":
        top["version"].fail(f'want "1.0", got {shown(top["version"].value)}')
    model = top["model"]
    _check_model(model)
    added = _read_added_tokens(top["added_tokens"]) if "added_tokens" in top.value else []
    bpe = _read_bpe(model, added)
    _check_ids(top, bpe.vocab, added)
    normalizer = top.get("normalizer")
    template, byte_level = _read_post_processor(top.get("post_processor"), bpe.vocab, added)
    if decoder := top.get("decoder"):
        _check_decoder(decoder)
    for key in ("truncation", "padding"):
        if (node := top.get(key)) and type(node.value) is not dict:
            node.fail(f"want an object or null, got {shown(node.value)}")
    options = {
        "truncation": top.get("truncation"),
        "padding": top.get("padding"),
        "post_processor.byte_level": byte_level,
        "model.unk_token": model.get("unk_token"),
    }
    return TokenizerSpec(
        model=bpe,
        pre_tokenizer=tuple(_read_pre_tokenizer(top["pre_tokenizer"])),
        normalizer=tuple(_read_normalizer(normalizer)) if normalizer else (),
        added_tokens=tuple(sorted(added, key=lambda token: token.id)),
        post_processor=template,
        name=name,
        options=tuple((key, node.text()) for key, node in sorted(options.items()) if node),
    )


def _type_of(node: Node, supported: dict[str, tuple[str, ...]]) -> str:
    """The type of a component, once its keys are checked against those the type has."""
    if type(node.value) is not dict:
        node.fail(f"want an object, got {shown(node.value)}")
    if "type" not in node.value:
        node.fail("the key 'type' is missing")
    kind = node["type"].string()
    if kind not in supported:
        node.fail(f"type {shown(kind)} is not supported yet; supported: {', '.join(supported)}")
    node.object(("type", *supported[kind]), ("use_regex",) if kind == "ByteLevel" else ())
    return kind


_BYTE_LEVEL = ("add_prefix_space", "trim_offsets")


def _read_byte_level(node: Node) -> Iterable[PreTokenizer]:
    node["trim_offsets"].boolean()
    if node["add_prefix_space"].boolean():
        yield PrefixSpace()
    if "use_regex" not in node.value or node["use_regex"].boolean():
        yield Split(GPT2_PATTERN)


def _flat(node: Node, supported: dict[str, tuple[str, ...]], inside: str) -> Iterable[tuple[str, Node]]:
    """The components in a component, `Sequence`s opened, each with its type."""
    kind = _type_of(node, supported | {"Sequence": (inside,)})
    if kind != "Sequence":
        yield kind, node
        return
    for child in node[inside].array():
        yield from _flat(child, supported, inside)


def _read_normalizer(node: Node) -> Iterable[Normalizer]:
    return [NFC() for _ in _flat(node, {"NFC": ()}, "normalizers")]


def _read_pre_tokenizer(node: Node) -> Iterable[PreTokenizer]:
    if node.value is None:
        node.fail("null: byte-level BPE needs a ByteLevel here")
    supported = {"ByteLevel": _BYTE_LEVEL, "Split": ("pattern", "behavior", "invert")}
    done = False
    for kind, child in _flat(node, supported, "pretokenizers"):
        if done:
            child.fail(f"{kind} after ByteLevel is not supported: it would split the bytes' stand-ins, not the text")
        if kind == "ByteLevel":
            done = True
            yield from _read_byte_level(child)
        else:
            yield _read_split(child)
    if not done:
        node.fail("no ByteLevel: only byte-level BPE is supported yet")


def _read_split(node: Node) -> Split:
    behavior = node["behavior"].string()
    if behavior not in _BEHAVIORS:
        node["behavior"].fail(f"want one of {', '.join(_BEHAVIORS)}, got {shown(behavior)}")
    pattern = node["pattern"].object((), ("Regex", "String"))
    if len(pattern.value) != 1:
        pattern.fail('want {"Regex": ...} or {"String": ...}')
    kind = next(iter(pattern.value))
    text = pattern[kind].string()
    if not 0 < len(text) <= _MAX_PATTERN:
        pattern[kind].fail(f"a pattern of {len(text)} characters; want 1 to {_MAX_PATTERN}")
    if kind == "Regex":
        try:
            text = from_oniguruma(text)
        except ValueError as error:
            pattern[kind].fail(str(error))
    return Split(text, _BEHAVIORS[behavior], node["invert"].boolean(), literal=kind == "String")  # type: ignore[arg-type]


def _check_decoder(node: Node) -> None:
    decoders = list(_flat(node, {"ByteLevel": _BYTE_LEVEL}, "decoders"))
    if len(decoders) != 1:
        node.fail(f"{len(decoders)} decoders in sequence; want one ByteLevel")
    list(_read_byte_level(decoders[0][1]))


def _read_post_processor(
    node: Node | None, vocab: Vocab, added: list[AddedToken]
) -> tuple[TemplateProcessing | None, Node | None]:
    template, byte_level = None, None
    supported = {"ByteLevel": _BYTE_LEVEL, "TemplateProcessing": ("single", "pair", "special_tokens")}
    for kind, child in _flat(node, supported, "processors") if node else ():
        if kind == "ByteLevel":
            # It changes offsets alone; reading it as a pre-tokenizer checks its values.
            list(_read_byte_level(child))
            byte_level = child
        elif template:
            child.fail("a second TemplateProcessing is not supported")
        else:
            template = _read_template(child, vocab, added)
    return template, byte_level


def _read_template(node: Node, vocab: Vocab, added: list[AddedToken]) -> TemplateProcessing:
    known = {token.id for token in added}
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
            if token_id not in known and vocab.find(token_id) is None:
                special["ids"][i].fail(f"no token has the id {token_id}")
        specials[name] = ids, tokens

    def read(items: Node, sequences: tuple[str, ...]) -> tuple[TemplatePiece, ...]:
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

    return TemplateProcessing(read(node["single"], ("A",)), read(node["pair"], ("A", "B")))


def _check_model(model: Node) -> None:
    """Everything about the model but its vocabulary and merges."""
    if type(model.value) is dict and model.value.get("type", "BPE") != "BPE":
        model["type"].fail(f"{shown(model['type'].value)} is not supported yet; supported: BPE")
    if type(model.value) is dict and not model.value.keys() & {"type", "merges"}:
        model.fail("neither a type nor merges: not a BPE model, and no other is supported yet")
    affixes = ("continuing_subword_prefix", "end_of_word_suffix")
    flags = ("fuse_unk", "byte_fallback", "ignore_merges")
    model.object(("vocab", "merges"), ("type", "dropout", "unk_token", *affixes, *flags))
    if (dropout := model.get("dropout")) and (type(dropout.value) not in (int, float) or dropout.value != 0):
        dropout.fail(f"{shown(dropout.value)} is not supported, dropout makes ids random; want null or 0")
    for key in affixes:
        if (node := model.get(key)) and node.string():
            node.fail(f"{shown(node.value)} is not supported; want null or an empty string")
    # With every byte of UTF-8 in the vocabulary nothing is unknown: fuse_unk, byte_fallback, unk_token do nothing.
    for key in flags:
        if node := model.get(key):
            node.boolean()
    if node := model.get("unk_token"):
        node.string()


def _read_added_tokens(node: Node) -> list[AddedToken]:
    """The added tokens in file order."""
    tokens: dict[str, AddedToken] = {}
    for item in node.array():
        item.object(("id", "content", *_FLAGS))
        content = item["content"].string()
        if not content:
            item["content"].fail("an added token is empty")
        if content in tokens:
            item["content"].fail(f"{shown(content)} is already an added token")
        tokens[content] = AddedToken(content, item["id"].integer(), **{flag: item[flag].boolean() for flag in _FLAGS})
    return list(tokens.values())


def _check_ids(top: Node, vocab: Vocab, added: list[AddedToken]) -> None:
    """The ids of added tokens are those that the library gives, and no id needs tables that do not fit in memory."""
    ids_of: dict[str, int] = top["model"]["vocab"].value
    taken = set(ids_of.values())
    next_id = len(ids_of)
    for i, token in enumerate(added):
        expected = ids_of.get(token.content, next_id)
        next_id += token.content not in ids_of
        here = top["added_tokens"][i]["id"]
        if token.id != expected:
            here.fail(f"{token.id} for {shown(token.content)}, which tokenizers would give the id {expected}")
        if token.id in taken and token.content not in ids_of:
            here.fail(f"{token.id} is already the id of another token")
    largest = max(int(vocab.ids[-1]), *(token.id for token in added), 0)
    limit = min(MAX_ID, 2 * (len(vocab) + len(added)) + 131_072)
    if largest > limit:
        top["model"]["vocab"].fail(f"id {largest} is too large for {len(vocab) + len(added)} tokens: at most {limit}")


def _read_bpe(model: Node, added: list[AddedToken]) -> BPE:
    node = model["vocab"]
    if type(node.value) is not dict:
        node.fail(f"want an object, got {shown(node.value)}")
    _check_vocab_ids(node)
    ids_of: dict[str, int] = dict(node.value)
    pairs, made = _read_merges(model["merges"], ids_of)
    in_merges = {*np.intersect1d([token.id for token in added], np.append(pairs, made)).tolist()}
    for token in added:
        if ids_of.get(token.content) == token.id and token.id not in in_merges:
            always_found = token.special and not token.single_word and len(token.content) > 1
            if always_found or _to_bytes([token.content]) is None:
                del ids_of[token.content]
    ignore_merges = model.get("ignore_merges")
    return BPE(
        _to_vocab(node, ids_of),
        merges=pairs.astype(np.uint32),
        ignore_merges=ignore_merges.boolean() if ignore_merges else False,
    )


def _check_vocab_ids(node: Node) -> None:
    ids = list(node.value.values())
    if set(map(type, ids)) - {int} or min(ids, default=0) < 0 or max(ids, default=0) > MAX_ID:
        for token in node.value:
            node[token].integer()
    if len(set(ids)) != len(ids):
        first: dict[int, str] = {}
        for token, token_id in node.value.items():
            if token_id in first:
                node[token].fail(f"{token_id} is already the id of {shown(first[token_id])}")
            first[token_id] = token


def _to_vocab(node: Node, ids_of: dict[str, int]) -> Vocab:
    """The vocabulary in bytes, by increasing id, with every single byte that UTF-8 has."""
    strings, ids = list(ids_of), np.fromiter(ids_of.values(), np.int64, len(ids_of))
    if bool(np.any(ids[1:] < ids[:-1])):
        order = np.argsort(ids)
        ids = ids[order]
        strings = [strings[i] for i in order.tolist()]
    blob = _to_bytes(strings)
    lengths = np.fromiter(map(len, strings), np.int64, len(strings))
    if blob is None or 0 in lengths:
        for token in strings:
            if not token or _to_bytes([token]) is None:
                node[token].fail("not a byte-level token: one or more of the 256 characters that stand for the bytes")
    assert blob is not None
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    single = np.frombuffer(blob, np.uint8)[offsets[:-1][lengths == 1]]
    missing = np.flatnonzero(np.bincount(single, minlength=256)[_IN_UTF8] == 0)
    if missing.size:
        byte = int(_IN_UTF8[missing[0]])
        node.fail(
            f"{missing.size} of the {_IN_UTF8.size} bytes that UTF-8 has are no tokens, the first is 0x{byte:02x} "
            f"({shown(chr(_CHARACTER_OF[byte]))})"
        )
    return Vocab(ids.astype(np.uint32), offsets, blob)


def _to_bytes(strings: list[str]) -> bytes | None:
    """The bytes that the characters of all strings stand for; None where a character stands for none."""
    try:
        characters = np.frombuffer("".join(strings).encode("utf-32-le"), "<u4")
    except UnicodeEncodeError:
        return None
    blob = _BYTE_OF[np.minimum(characters, _BYTE_OF.size - 1)]
    return None if bool(np.any(blob < 0)) else blob.astype(np.uint8).tobytes()


def _read_merges(node: Node, ids_of: dict[str, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The merges as ids: the pairs, int64[m, 2], and the tokens that they make, int64[m]."""
    if type(node.value) is not list:
        node.fail(f"want an array, got {shown(node.value)}")
    merges: list[Any] = node.value
    kinds = set(map(type, merges))
    if kinds == {str}:
        # Lines of the old `merges.txt` were taken over as they were, its heading too, which the library skips.
        merges = [merge for merge in merges if not merge.startswith("#version")]
        parts = " ".join(merges).split(" ") if merges else []
        n_chars = np.fromiter(map(len, parts), np.int64, len(parts))
        # One space in every merge: as many parts as two for each, and the right lengths from the first on.
        whole = np.fromiter(map(len, merges), np.int64, len(merges))
        right = len(parts) == 2 * len(merges) and np.array_equal(n_chars[0::2] + n_chars[1::2] + 1, whole)
    elif kinds <= {list}:
        parts = list(chain.from_iterable(merges))
        right = set(map(len, merges)) <= {2} and set(map(type, parts)) <= {str}
    else:
        node.fail("want strings or arrays of two strings, one kind throughout")
    if right:
        made = list(map(add, parts[0::2], parts[1::2]))
        ids = np.fromiter(map(ids_of.get, chain(parts, made), repeat(-1)), np.int64, 3 * len(made))
        pairs = ids[: len(parts)].reshape(-1, 2)
        keys = np.sort(pairs[:, 0] << 32 | pairs[:, 1])
        if not bool(np.any(ids < 0)) and not bool(np.any(keys[1:] == keys[:-1])):
            return pairs, ids[len(parts) :]
    _fail_at_merge(node, ids_of)


def _fail_at_merge(node: Node, ids_of: dict[str, int]) -> NoReturn:
    """Say what is wrong with the first merge that is."""
    first: dict[tuple[str, str], int] = {}
    for number, merge in enumerate(node.value):
        if isinstance(merge, str) and merge.startswith("#version"):
            continue
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2 or not all(type(part) is str for part in parts):
            node[number].fail(f"want two tokens, got {shown(merge)}")
        for token in (*parts, parts[0] + parts[1]):
            if token not in ids_of:
                node[number].fail(f"{shown(token)} is not in model.vocab")
        pair = parts[0], parts[1]
        if pair in first:
            node[number].fail(f"the same pair as {node.path}[{first[pair]}]")
        first[pair] = number
    raise AssertionError("no merge is wrong")


def to_bytes(spec: TokenizerSpec) -> bytes:
    """The `tokenizer.json` of a tokenizer: tokenizers 0.23.3 loads it and gives the same ids.

    A rank file's merges are derived from its ranks (`merges_of_ranks`), `ignore_merges` stays true only where it is
    needed. Raises ValueError, with the reason, for a tokenizer that this format cannot hold.
    """
    options = {key: json.loads(text) for key, text in spec.options}
    content = {
        "version": "1.0",
        "truncation": options.get("truncation"),
        "padding": options.get("padding"),
        "added_tokens": [_write_added_token(token) for token in sorted(spec.added_tokens, key=lambda t: t.id)],
        "normalizer": _write_sequence([{"type": "NFC"} for _ in spec.normalizer], "normalizers"),
        "pre_tokenizer": _write_sequence(_write_pre_tokenizer(spec.pre_tokenizer), "pretokenizers"),
        "post_processor": _write_sequence(
            [options[key] for key in ("post_processor.byte_level",) if key in options]
            + [_write_template(template) for template in (spec.post_processor,) if template],
            "processors",
        ),
        "decoder": _byte_level(add_prefix_space=True, use_regex=True),
        "model": _write_model(spec, options.get("model.unk_token")),
    }
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"


def _cannot_hold(what: str) -> ValueError:
    return ValueError(f"a tokenizer.json cannot hold {what}")


def _byte_level(*, add_prefix_space: bool, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def _write_sequence(components: list[dict[str, Any]], inside: str) -> dict[str, Any] | None:
    if len(components) > 1:
        return {"type": "Sequence", inside: components}
    return components[0] if components else None


def _write_added_token(token: AddedToken) -> dict[str, Any]:
    return {"id": token.id, "content": token.content} | {flag: getattr(token, flag) for flag in _FLAGS}


def _write_pre_tokenizer(steps: tuple[PreTokenizer, ...]) -> list[dict[str, Any]]:
    """Any number of Splits, then one ByteLevel, which may add a prefix space and then split by `GPT2_PATTERN`."""
    use_regex = steps[-1:] == (Split(GPT2_PATTERN),)
    rest = steps[:-1] if use_regex else steps
    add_prefix_space = rest[-1:] == (PrefixSpace(),)
    rest = rest[:-1] if add_prefix_space else rest
    names = {behavior: name for name, behavior in _BEHAVIORS.items()}
    components: list[dict[str, Any]] = []
    for step in rest:
        if not isinstance(step, Split):
            raise _cannot_hold(f"{step} as step {steps.index(step)}: there it is a part of the last one, ByteLevel")
        pattern = {"String": step.pattern} if step.literal else {"Regex": to_oniguruma(step.pattern)}
        components.append(
            {"type": "Split", "pattern": pattern, "behavior": names[step.behavior], "invert": step.invert}
        )
    return [*components, _byte_level(add_prefix_space=add_prefix_space, use_regex=use_regex)]


def _write_template(template: TemplateProcessing) -> dict[str, Any]:
    specials: dict[str, Any] = {}

    def write(piece: TemplatePiece) -> dict[str, Any]:
        if piece.kind == "sequence":
            return {"Sequence": {"id": piece.name, "type_id": piece.type_id}}
        special = {"id": piece.name, "ids": list(piece.ids), "tokens": list(piece.tokens)}
        if specials.setdefault(piece.name, special) != special:
            raise _cannot_hold(f"two template tokens of the same name {piece.name!r} and different ids")
        return {"SpecialToken": {"id": piece.name, "type_id": piece.type_id}}

    pieces = {"single": [write(piece) for piece in template.single], "pair": [write(piece) for piece in template.pair]}
    return {"type": "TemplateProcessing", **pieces, "special_tokens": specials}


def _write_model(spec: TokenizerSpec, unk_token: str | None) -> dict[str, Any]:
    model = spec.model
    merges, ignore_merges = model.merges, model.ignore_merges
    if merges is None:
        merges, reachable = merges_of_ranks(model.vocab)
        ignore_merges = not reachable
    strings = _to_strings(model.vocab)
    ids = model.vocab.ids.tolist()
    string_of = dict(zip(ids, strings, strict=True))
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unk_token,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": ignore_merges,
        "vocab": _with_added_tokens(dict(zip(strings, ids, strict=True)), spec.added_tokens),
        "merges": [[string_of[left], string_of[right]] for left, right in merges.tolist()],
    }


def _to_strings(vocab: Vocab) -> list[str]:
    text = _CHARACTER_OF[np.frombuffer(vocab.blob, np.uint8)].astype("<u2").tobytes().decode("utf-16-le")
    at = vocab.offsets.tolist()
    return [text[a:b] for a, b in pairwise(at)]


def _with_added_tokens(ids_of: dict[str, int], added: tuple[AddedToken, ...]) -> dict[str, int]:
    """The vocabulary with those added tokens that get their id only by standing in it.

    The library numbers the others itself, from the size of the vocabulary on: the last k by id can stay out if their
    ids are just the last k of as many numbers as there are tokens in all.
    """
    taken = set(ids_of.values())
    outside = []
    for token in sorted(added, key=lambda token: token.id):
        if ids_of.get(token.content, token.id) != token.id:
            raise _cannot_hold(f"{token}: the same characters stand for the token {ids_of[token.content]}")
        if token.content not in ids_of:
            if token.id in taken:
                raise _cannot_hold(f"{token}: its id is that of another token of the vocabulary")
            outside.append(token)
    total = len(ids_of) + len(outside)
    while outside and outside[-1].id == total - 1:
        outside.pop()
        total -= 1
    return ids_of | {token.content: token.id for token in outside}
