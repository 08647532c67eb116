"""Byte-level BPE in a `tokenizer.json`: a vocabulary spelled in stand-ins for bytes, and a ByteLevel before it.

In a spec of byte-level BPE tokens are bytes, and pre-tokenizers cut text; the stand-ins are the file's affair alone.

Nearly all of such a file is its vocabulary and its merges. They are read by C (csrc/text/bpe_json.h) where they look as
usual, and the rest by the strict reader; anything else, and anything wrong, sends the whole file through the strict
reader.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmfast.text import _text
from lmfast.text.formats.huggingface import decoders, normalizers, pre_tokenizers
from lmfast.text.formats.huggingface.added_tokens import is_always_found, with_added_tokens
from lmfast.text.formats.huggingface.components import cannot_hold, flat
from lmfast.text.formats.huggingface.merges import read_merges
from lmfast.text.formats.huggingface.pre_tokenizers import SUPPORTED, read_byte_level, read_split
from lmfast.text.formats.huggingface.vocabulary import read_ids
from lmfast.text.formats.ranks import merges_of_ranks
from lmfast.text.formats.strict_json import Node, shown
from lmfast.text.patterns import GPT2_PATTERN
from lmfast.text.spec import (
    BPE,
    NFC,
    AddedToken,
    ByteLevel,
    PrefixSpace,
    PreTokenizer,
    Split,
    TokenizerSpec,
    Vocab,
)

__all__ = [
    "Tables",
    "is_byte_level",
    "read",
    "read_pre_tokenizer",
    "read_tables",
    "without_tables",
    "write",
    "write_pre_tokenizer",
]


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


class Tables(NamedTuple):
    """The text of the vocabulary and of the merges of a file."""

    vocab: memoryview
    merges: memoryview


def is_byte_level(top: Node) -> bool:
    """Whether a file with a BPE model is byte-level BPE, all of it: nothing but Splits before one ByteLevel, no
    normalizer but NFC, no affixes, no dropout, and a decoder that turns stand-ins into bytes.
    """
    model = top["model"]
    before = [kind for kind, _ in flat(top["pre_tokenizer"], SUPPORTED, "pretokenizers")]
    return (
        before[-1:] == ["ByteLevel"]
        and set(before[:-1]) <= {"Split"}
        and not any(model.value.get(key) for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"))
        and set(normalizers.read(top.get("normalizer"))) <= {NFC()}
        and {type(decoder) for decoder in decoders.read(top.get("decoder"))} <= {ByteLevel}
    )


def read_pre_tokenizer(node: Node) -> tuple[PreTokenizer, ...]:
    """The steps as a spec of byte-level BPE has them: the ByteLevel becomes a prefix space and a split."""
    steps: list[PreTokenizer] = []
    for kind, child in flat(node, SUPPORTED, "pretokenizers"):
        if kind == "Split":
            steps.append(read_split(child))
            continue
        byte_level = read_byte_level(child)
        steps += [PrefixSpace()] if byte_level.add_prefix_space else []
        steps += [Split(GPT2_PATTERN)] if byte_level.use_regex else []
    return tuple(steps)


def read(model: Node, added: list[AddedToken]) -> BPE:
    """The model, once its keys but the vocabulary and the merges are checked.

    With every byte of UTF-8 in the vocabulary nothing is unknown: fuse_unk, byte_fallback, unk_token do nothing.
    """
    node = model["vocab"]
    ids_of = read_ids(node)
    pairs, made = read_merges(model["merges"], ids_of)
    added_ids = np.array([token.id for token in added], np.int64)
    in_merges = {*added_ids[np.isin(added_ids, np.append(pairs, made))].tolist()}
    for token in added:
        unreached = ids_of.get(token.content) == token.id and token.id not in in_merges
        if unreached and (is_always_found(token) or _to_bytes([token.content]) is None):
            del ids_of[token.content]
    return BPE(_to_vocab(node, ids_of), pairs.astype(np.uint32), _ignores_merges(model))


def without_tables(data: bytes) -> tuple[bytes, Tables] | None:
    """A file without its vocabulary and its merges, and these two; None where they are not found.

    What is left is small. It is right if and only if the whole is, as far as the tables are.
    """
    found = _text.find_bpe_json(data)
    if found is None:
        return None
    vocab, merges = found
    view = memoryview(data)
    at = [(vocab, b"{}"), (merges, b"[]")] if vocab.start < merges.start else [(merges, b"[]"), (vocab, b"{}")]
    (first, one), (second, two) = at
    rest = b"".join([view[: first.start], one, view[first.stop : second.start], two, view[second.stop :]])
    return rest, Tables(view[vocab], view[merges])


def read_tables(
    model: Node, added: list[AddedToken], tables: Tables
) -> tuple[BPE, dict[str, int], NDArray[np.uint32]] | None:
    """As `read`, from the text of the tables; also the ids that the vocabulary has for added tokens, and all its ids.
    None where anything is unusual: then `read` takes it, or says what is wrong.
    """
    bytes_of = {token.content: data for token in added if (data := _to_bytes([token.content])) is not None}
    found = _text.read_bpe_json(tables.vocab, tables.merges, list(bytes_of.values()))
    if found is None:
        return None
    ids, offsets, blob, pairs, made, numbers = found
    keys = np.sort(pairs[:, 0].astype(np.int64) << 32 | pairs[:, 1])
    if bool(np.any(keys[1:] == keys[:-1])):
        return None
    number_of = {content: number for content, number in zip(bytes_of, numbers, strict=True) if number >= 0}
    known = {content: int(ids[number]) for content, number in number_of.items()}
    seen = np.ones(len(ids), np.bool_)
    for token in added:
        if known.get(token.content) == token.id and is_always_found(token):
            seen[number_of[token.content]] = False
    seen[pairs] = seen[made] = True
    merges, kept = ids[pairs], ids
    if not seen.all():
        blob = np.frombuffer(blob, np.uint8)[np.repeat(seen, np.diff(offsets))].tobytes()
        offsets = np.append(0, np.cumsum(np.diff(offsets)[seen]))
        kept = ids[seen]
    return BPE(_vocab(model["vocab"], kept, offsets, blob), merges, _ignores_merges(model)), known, ids


def _ignores_merges(model: Node) -> bool:
    node = model.get("ignore_merges")
    return node.boolean() if node else False


def _to_vocab(node: Node, ids_of: dict[str, int]) -> Vocab:
    """The vocabulary in bytes, by increasing id."""
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
    return _vocab(node, ids.astype(np.uint32), np.append(0, np.cumsum(lengths)), blob)


def _vocab(node: Node, ids: NDArray[np.uint32], offsets: NDArray[np.int64], blob: bytes) -> Vocab:
    """A vocabulary, which needs every single byte that UTF-8 has."""
    single = np.frombuffer(blob, np.uint8)[offsets[:-1][np.diff(offsets) == 1]]
    missing = np.flatnonzero(np.bincount(single, minlength=256)[_IN_UTF8] == 0)
    if missing.size:
        byte = int(_IN_UTF8[missing[0]])
        node.fail(
            f"{missing.size} of the {_IN_UTF8.size} bytes that UTF-8 has are no tokens, the first is 0x{byte:02x} "
            f"({shown(chr(_CHARACTER_OF[byte]))})"
        )
    return Vocab(ids, offsets, blob)


def _to_bytes(strings: list[str]) -> bytes | None:
    """The bytes that the characters of all strings stand for; None where a character stands for none."""
    try:
        characters = np.frombuffer("".join(strings).encode("utf-32-le"), "<u4")
    except UnicodeEncodeError:
        return None
    blob = _BYTE_OF[np.minimum(characters, _BYTE_OF.size - 1)]
    return None if bool(np.any(blob < 0)) else blob.astype(np.uint8).tobytes()


def write(spec: TokenizerSpec, unk_token: str | None) -> dict[str, Any]:
    model = spec.bpe
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
        "vocab": with_added_tokens(dict(zip(strings, ids, strict=True)), spec.added_tokens),
        "merges": [[string_of[left], string_of[right]] for left, right in merges.tolist()],
    }


def _to_strings(vocab: Vocab) -> list[str]:
    text = _CHARACTER_OF[np.frombuffer(vocab.blob, np.uint8)].astype("<u2").tobytes().decode("utf-16-le")
    at = vocab.offsets.tolist()
    return [text[a:b] for a, b in pairwise(at)]


def write_pre_tokenizer(steps: tuple[PreTokenizer, ...]) -> list[dict[str, Any]]:
    """Any number of Splits, then one ByteLevel, which may add a prefix space and then split by `GPT2_PATTERN`."""
    use_regex = steps[-1:] == (Split(GPT2_PATTERN),)
    rest = steps[:-1] if use_regex else steps
    add_prefix_space = rest[-1:] == (PrefixSpace(),)
    rest = rest[:-1] if add_prefix_space else rest
    for step in rest:
        if not isinstance(step, Split):
            raise cannot_hold(f"{step} as step {steps.index(step)}: there it is a part of the last one, ByteLevel")
    return pre_tokenizers.write((*rest, ByteLevel(add_prefix_space, use_regex)))
