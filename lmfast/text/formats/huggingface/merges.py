"""The merges of a BPE model in a `tokenizer.json`."""

from __future__ import annotations

from itertools import chain, repeat
from operator import add
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lmfast.text.formats.strict_json import Node, shown

__all__ = ["read_merges"]


def read_merges(node: Node, ids_of: dict[str, int], prefix: str = "") -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The merges as ids: the pairs, int64[m, 2], and the tokens that they make, int64[m].

    prefix  `continuing_subword_prefix`, which the second token of each pair leaves behind
    """
    if type(node.value) is not list:
        node.fail(f"want an array, got {shown(node.value)}")
    merges: list[Any] = node.value
    kinds = set(map(type, merges))
    if kinds == {str}:
        # Lines of the old `merges.txt` were taken over as they were, its heading too, which the library skips.
        text = " ".join(merges)
        if "#version" in text:
            merges = [merge for merge in merges if not merge.startswith("#version")]
            text = " ".join(merges)
        parts = text.split(" ") if merges else []
        right = set(map(str.count, merges, repeat(" "))) <= {1}
    elif kinds <= {list}:
        parts = list(chain.from_iterable(merges))
        right = set(map(len, merges)) <= {2} and set(map(type, parts)) <= {str}
    else:
        node.fail("want strings or arrays of two strings, one kind throughout")
    if right:
        seconds = [part.removeprefix(prefix) for part in parts[1::2]] if prefix else parts[1::2]
        made = list(map(add, parts[0::2], seconds))
        ids = np.fromiter(map(ids_of.get, chain(parts, made), repeat(-1)), np.int64, 3 * len(made))
        pairs = ids[: len(parts)].reshape(-1, 2)
        keys = np.sort(pairs[:, 0] << 32 | pairs[:, 1])
        if not bool(np.any(ids < 0)) and not bool(np.any(keys[1:] == keys[:-1])):
            return pairs, ids[len(parts) :]
    _fail_at_merge(node, ids_of, prefix)


def _fail_at_merge(node: Node, ids_of: dict[str, int], prefix: str) -> NoReturn:
    """Say what is wrong with the first merge that is."""
    first: dict[tuple[str, str], int] = {}
    for number, merge in enumerate(node.value):
        if isinstance(merge, str) and merge.startswith("#version"):
            continue
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2 or not all(type(part) is str for part in parts):
            node[number].fail(f"want two tokens, got {shown(merge)}")
        for token in (*parts, parts[0] + parts[1].removeprefix(prefix)):
            if token not in ids_of:
                node[number].fail(f"{shown(token)} is not in model.vocab")
        pair = parts[0], parts[1]
        if pair in first:
            node[number].fail(f"the same pair as {node.path}[{first[pair]}]")
        first[pair] = number
    raise AssertionError("no merge is wrong")
