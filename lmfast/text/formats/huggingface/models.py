"""Models over characters in a `tokenizer.json`, read and written: BPE, Unigram, WordPiece and WordLevel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lmfast.text.formats.huggingface.added_tokens import is_always_found, with_added_tokens
from lmfast.text.formats.huggingface.components import cannot_hold
from lmfast.text.formats.huggingface.merges import read_merges
from lmfast.text.formats.huggingface.vocabulary import read_ids, to_strings, to_vocab
from lmfast.text.formats.serde_numbers import writable
from lmfast.text.formats.strict_json import Node, shown
from lmfast.text.spec import BPE, AddedToken, Kind, Model, TokenizerSpec, Unigram, Vocab, WordLevel, WordPiece

__all__ = ["check_keys", "ids_of", "read", "write"]

_AFFIXES = ("continuing_subword_prefix", "end_of_word_suffix")
_FLAGS = ("fuse_unk", "byte_fallback", "ignore_merges")
_KEYS = {
    "BPE": (("vocab", "merges"), ("dropout", "unk_token", *_AFFIXES, *_FLAGS)),
    "Unigram": (("vocab",), ("unk_id", "byte_fallback")),
    "WordPiece": (("vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word"), ()),
    "WordLevel": (("vocab", "unk_token"), ()),
}


def check_keys(model: Node) -> str:
    """The type of a model, once its keys are checked. Old files have no type: the other keys say it."""
    if type(model.value) is not dict:
        model.fail(f"want an object, got {shown(model.value)}")
    if "type" in model.value:
        kind = model["type"].string()
        if kind not in _KEYS:
            model["type"].fail(f"{shown(kind)} is not supported; supported: {', '.join(_KEYS)}")
    elif "merges" in model.value:
        kind = "BPE"
    elif "max_input_chars_per_word" in model.value:
        kind = "WordPiece"
    elif type(model.value.get("vocab")) is list:
        kind = "Unigram"
    elif "unk_token" in model.value:
        kind = "WordLevel"
    else:
        model.fail("neither a type nor the keys of a model")
    required, optional = _KEYS[kind]
    model.object(required, ("type", *optional))
    if kind == "BPE":
        _check_bpe(model)
    return kind


def _check_bpe(model: Node) -> None:
    if dropout := model.get("dropout"):
        value = dropout.value
        if type(value) not in (int, float) or not 0 <= value <= 1:
            dropout.fail(f"want a number in [0, 1] or null, got {shown(value)}")
    for key in (*_AFFIXES, "unk_token"):
        if node := model.get(key):
            node.string()
    for key in _FLAGS:
        if node := model.get(key):
            node.boolean()


def ids_of(model: Node, kind: str) -> dict[str, int]:
    """The tokens of a model and their ids, as the library numbers them."""
    if kind != "Unigram":
        return read_ids(model["vocab"])
    found: dict[str, int] = {}
    for i, item in enumerate(model["vocab"].array()):
        pair = item.value
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not str:
            item.fail(f"want a token and its score, got {shown(pair)}")
        if found.setdefault(pair[0], i) != i:
            item.fail(f"{shown(pair[0])} is already token {found[pair[0]]}")
    return found


def read(model: Node, kind: str, added: list[AddedToken]) -> Model:
    """The model, once its keys are checked (`check_keys`)."""
    found = ids_of(model, kind)
    match kind:
        case "Unigram":
            return _read_unigram(model, found, added)
        case "WordPiece":
            unk_id = found.get(model["unk_token"].string())
            _hide(found, added, unk_id)
            return WordPiece(
                to_vocab(model["vocab"], found),
                unk_id,
                model["continuing_subword_prefix"].string(),
                model["max_input_chars_per_word"].integer(2**63 - 1),
            )
        case "WordLevel":
            unk_id = found.get(model["unk_token"].string())
            _hide(found, added, unk_id)
            return WordLevel(to_vocab(model["vocab"], found), unk_id)
        case _:
            return _read_bpe(model, found, added)


def _hide(found: dict[str, int], added: list[AddedToken], *keep: int | None) -> None:
    """Takes away the special tokens that the library never lets the model find."""
    for token in added:
        if found.get(token.content) == token.id and is_always_found(token) and token.id not in keep:
            del found[token.content]


def _read_bpe(model: Node, found: dict[str, int], added: list[AddedToken]) -> BPE:
    affixes = [node.string() if (node := model.get(key)) else "" for key in _AFFIXES]
    flags = {key: bool((node := model.get(key)) and node.boolean()) for key in _FLAGS}
    unk, dropout = model.get("unk_token"), model.get("dropout")
    if unk and unk.string() not in found:
        unk.fail(f"{shown(unk.value)} is not in model.vocab")
    unk_id = found[unk.value] if unk else None
    pairs, made = read_merges(model["merges"], found, affixes[0])
    _hide(found, added, unk_id, *pairs.ravel().tolist(), *made.tolist())
    return BPE(
        to_vocab(model["vocab"], found),
        pairs.astype(np.uint32).reshape(-1, 2),
        byte_level=False,
        unk_id=unk_id,
        continuing_subword_prefix=affixes[0],
        end_of_word_suffix=affixes[1],
        dropout=float(dropout.value) if dropout else 0.0,
        **flags,
    )


def _read_unigram(model: Node, found: dict[str, int], added: list[AddedToken]) -> Unigram:
    """Special tokens stay, since the lowest score decides what an unknown one costs, but are never matched."""
    node = model["vocab"]
    scores = np.empty(len(found))
    for i, (_, score) in enumerate(node.value):
        if type(score) not in (int, float) or not math.isfinite(score):
            node[i][1].fail(f"want a number, got {shown(score)}")
        scores[i] = score
    vocab = _unigram_vocab(node)
    unk, fallback = model.get("unk_id"), model.get("byte_fallback")
    unk_id = unk.integer() if unk else None
    if unk and vocab.find(unk.value) is None:
        unk.fail(f"no token has the id {unk.value}")
    kinds = None
    hidden = [t.id for t in added if found.get(t.content) == t.id != unk_id and is_always_found(t)]
    if hidden:
        kinds = np.full(len(found), Kind.NORMAL, np.uint8)
        kinds[hidden] = Kind.CONTROL
    byte_fallback = fallback.boolean() if fallback else False
    return Unigram(vocab, scores, kinds, unk_id, byte_fallback, "tokenizers")


def _unigram_vocab(node: Node) -> Vocab:
    data = []
    for i, (token, _) in enumerate(node.value):
        if not token:
            node[i].fail("the token is empty")
        data.append(node[i][0].string().encode())
    lengths = np.fromiter(map(len, data), np.int64, len(data))
    return Vocab(np.arange(len(data), dtype=np.uint32), np.append(0, np.cumsum(lengths)), b"".join(data))


def write(spec: TokenizerSpec, unk_token: str | None) -> dict[str, Any]:
    """A model over characters. `unk_token` is what the file that it is from says where no token is unknown."""
    model = spec.model
    if isinstance(model, Unigram):
        return _write_unigram(model)
    vocab = with_added_tokens(to_strings(model.vocab), spec.added_tokens)
    unk = getattr(model, "unk_id", None)
    unk_token = unk_token if unk is None else (model.vocab.find(unk) or b"").decode()
    match model:
        case WordPiece():
            return {
                "type": "WordPiece",
                "unk_token": _named(unk_token),
                "continuing_subword_prefix": model.continuing_subword_prefix,
                "max_input_chars_per_word": model.max_input_chars_per_word,
                "vocab": vocab,
            }
        case WordLevel():
            return {"type": "WordLevel", "unk_token": _named(unk_token), "vocab": vocab}
        case BPE():
            return _write_bpe(model, vocab, unk_token)
        case _:
            raise cannot_hold(f"a {type(model).__name__} model: a .model file does")


def _named(unk_token: str | None) -> str:
    if unk_token is None:
        raise cannot_hold("a model without an unknown token, unless an option 'model.unk_token' names an absent one")
    return unk_token


def _write_bpe(model: BPE, vocab: dict[str, int], unk_token: str | None) -> dict[str, Any]:
    assert model.merges is not None
    string_of = {token_id: token for token, token_id in vocab.items()}
    return {
        "type": "BPE",
        "dropout": model.dropout or None,
        "unk_token": unk_token,
        "continuing_subword_prefix": model.continuing_subword_prefix or None,
        "end_of_word_suffix": model.end_of_word_suffix or None,
        "fuse_unk": model.fuse_unk,
        "byte_fallback": model.byte_fallback,
        "ignore_merges": model.ignore_merges,
        "vocab": vocab,
        "merges": [[string_of[left], string_of[right]] for left, right in model.merges.tolist()],
    }


def _write_unigram(model: Unigram) -> dict[str, Any]:
    if model.rule != "tokenizers":
        raise cannot_hold(
            "a Unigram model by the rule of sentencepiece, which adds up scores in float32 and takes the longest rule "
            "of its map of characters; tokenizers adds in float64 and goes by grapheme clusters, so some texts would "
            "have other ids. A .model file holds it"
        )
    if not np.array_equal(model.vocab.ids, np.arange(len(model.vocab))):
        raise cannot_hold("a Unigram model with holes between its ids")
    pieces = list(to_strings(model.vocab))
    return {
        "type": "Unigram",
        "unk_id": model.unk_id,
        "vocab": [[piece, writable(score)] for piece, score in zip(pieces, model.scores.tolist(), strict=True)],
        "byte_fallback": model.byte_fallback,
    }
