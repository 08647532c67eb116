"""sentencepiece models as the `tokenizer.json` files that transformers converts them to."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

import numpy as np

from lmfast.text.spec import Kind, SentencePieceNormalizer, TokenizerSpec

MARK = "\u2581"


@cache
def scores_of(spec: TokenizerSpec) -> dict[str, float]:
    scores = spec.model.scores.tolist()  # type: ignore[union-attr]
    return {token.decode(): score for (token, _), score in zip(spec.model.vocab, scores, strict=True)}


@cache
def merges_of(spec: TokenizerSpec) -> list[tuple[str, str]]:
    """Every way to put a piece together from two, the highest score first, then by the ids of the two."""
    scores = scores_of(spec)
    ids = {piece: i for i, piece in enumerate(scores)}
    merges: list[tuple[float, str, str]] = []
    for piece, score in scores.items():
        splits = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        local = [(score, left, right) for left, right in splits if left in ids and right in ids]
        merges += sorted(local, key=lambda split: (ids[split[1]], ids[split[2]]))
    return [(left, right) for _, left, right in sorted(merges, key=lambda merge: merge[0], reverse=True)]


def special(content: str, token_id: int, normalized: bool = False) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": normalized, "special": True}
    return {"id": token_id, "content": content, **flags}


def charsmap_of(rules: dict[str, str]) -> bytes:
    """A double array with 256 units for the children of each state, which lie at its base xor a byte."""
    states: list[dict[int, int]] = [{}]
    values: dict[int, int] = {}
    strings = b""
    for source, target in rules.items():
        at = 0
        for byte in source.encode():
            if byte not in states[at]:
                states.append({})
                states[at][byte] = len(states) - 1
            at = states[at][byte]
        values[at] = len(strings)
        strings += target.encode() + b"\0"
    units = np.full(256 * (len(states) + 1), 1 << 31, np.uint32)  # what no path leads to
    bases = {0: 256}
    units[0] = 1 << 10 | 0x200
    for state, children in enumerate(states):
        if state in values:
            units[bases[state]] = 1 << 31 | values[state]
        for byte, child in children.items():
            place = bases[state] ^ byte
            bases[child] = 256 * (child + 1) | place & 255
            units[place] = (place ^ bases[child]) >> 8 << 10 | 0x200 | (child in values) << 8 | byte
    return (4 * len(units)).to_bytes(4, "little") + units.astype("<u4").tobytes() + strings


def llama(spec: TokenizerSpec, metaspace: str | None = None, normalized: bool = False) -> bytes:
    """A Llama-2 tokenizer.json: the old form with normalizers, or with a Metaspace of a scheme."""
    scores = scores_of(spec)
    normalizers = [
        {"type": "Prepend", "prepend": MARK},
        {"type": "Replace", "pattern": {"String": " "}, "content": MARK},
    ]
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": MARK}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    split = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": metaspace, "split": False}
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "<s>", "type_id": 1}},
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [special(c, i, normalized) for i, c in enumerate(["<unk>", "<s>", "</s>"])],
            "normalizer": None if metaspace else {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": split if metaspace else None,
            "post_processor": template,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": "<unk>",
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": True,
                "ignore_merges": False,
                "vocab": {piece: i for i, piece in enumerate(scores)},
                "merges": merges_of(spec),
            },
        }
    ).encode()


def t5(spec: TokenizerSpec) -> bytes:
    """A T5 tokenizer.json."""
    normalizer = spec.normalizer[0]
    assert isinstance(normalizer, SentencePieceNormalizer)
    scores = list(scores_of(spec).items())
    kinds = spec.model.kinds.tolist()  # type: ignore[union-attr]
    metaspace = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}
    added = [special(piece, i) for i, (piece, _) in enumerate(scores) if kinds[i] in (Kind.CONTROL, Kind.UNKNOWN)]
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    a, b = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": {
                "type": "Precompiled",
                "precompiled_charsmap": base64.b64encode(normalizer.charsmap).decode(),
            },
            "pre_tokenizer": metaspace,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [a, end],
                "pair": [a, end, b, end],
                "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
            },
            "decoder": metaspace,
            "model": {"type": "Unigram", "unk_id": 2, "vocab": scores, "byte_fallback": False},
        }
    ).encode()
