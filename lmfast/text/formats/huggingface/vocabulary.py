"""The vocabulary of a model in a `tokenizer.json`: an object from token to id."""

from __future__ import annotations

import numpy as np

from lmfast.text.formats.strict_json import Node, shown
from lmfast.text.spec import MAX_ID, Vocab

__all__ = ["read_ids", "to_strings", "to_vocab"]


def read_ids(node: Node) -> dict[str, int]:
    """Tokens and their ids, no two the same."""
    if type(node.value) is not dict:
        node.fail(f"want an object, got {shown(node.value)}")
    _check_ids(node)
    return dict(node.value)


def _check_ids(node: Node) -> None:
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


def to_vocab(node: Node, ids_of: dict[str, int]) -> Vocab:
    """The vocabulary as text in UTF-8, by increasing id."""
    strings = sorted(ids_of, key=ids_of.__getitem__)
    data = []
    for token in strings:
        if not token:
            node[token].fail("the token is empty")
        try:
            data.append(token.encode())
        except UnicodeEncodeError:
            node[token].fail("the token holds half a surrogate pair")
    ids = np.fromiter((ids_of[token] for token in strings), np.uint32, len(strings))
    lengths = np.fromiter(map(len, data), np.int64, len(data))
    return Vocab(ids, np.append(0, np.cumsum(lengths)), b"".join(data))


def to_strings(vocab: Vocab) -> dict[str, int]:
    """Tokens and their ids as the file has them. Errors: ValueError for a token that is not UTF-8."""
    try:
        return {token.decode(): token_id for token, token_id in vocab}
    except UnicodeDecodeError as error:
        raise ValueError(f"a tokenizer.json cannot hold the token {error.object!r}: it is not UTF-8") from None
