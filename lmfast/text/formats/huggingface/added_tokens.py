"""Added tokens of a `tokenizer.json`, read and written.

Two places where the file alone does not decide:

Ids. The library ignores the ids in `added_tokens`: a content that is in the model's vocabulary has that id, every other
one takes the next id after the vocabulary's size, in file order. A file whose ids say otherwise is refused, for one of
the two is wrong.

Special tokens in the model's vocabulary. The library finds them in the text before the model does, so the model never
sees them; here the text of a special token is plain text unless the caller allows it. So a special token that the model
would make of such text is taken from what the model finds (`hidden`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lmfast.text.formats.huggingface.components import cannot_hold
from lmfast.text.formats.strict_json import Node, shown
from lmfast.text.spec import MAX_ID, AddedToken, Vocab

__all__ = ["check_ids", "is_always_found", "read", "with_added_tokens", "write"]

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def read(node: Node | None) -> list[AddedToken]:
    """The added tokens in file order."""
    tokens: dict[str, AddedToken] = {}
    for item in node.array() if node else ():
        item.object(("id", "content", *_FLAGS))
        content = item["content"].string()
        if not content:
            item["content"].fail("an added token is empty")
        if content in tokens:
            item["content"].fail(f"{shown(content)} is already an added token")
        tokens[content] = AddedToken(content, item["id"].integer(), **{flag: item[flag].boolean() for flag in _FLAGS})
    return list(tokens.values())


def is_always_found(token: AddedToken) -> bool:
    """Whether the library never shows a token's text to the model."""
    return token.special and not token.single_word and len(token.content) > 1


def check_ids(
    top: Node, ids_of: Mapping[str, int], taken: Collection[int], size: int, vocab: Vocab, added: list[AddedToken]
) -> None:
    """The ids of added tokens are those that the library gives, and no id needs tables that do not fit in memory.

    ids_of  the ids of added tokens that stand in the vocabulary
    taken   the ids that the vocabulary has, or those of them that added tokens have
    size    how many tokens the vocabulary has
    """
    next_id = size
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


def write(token: AddedToken) -> dict[str, Any]:
    return {"id": token.id, "content": token.content} | {flag: getattr(token, flag) for flag in _FLAGS}


def with_added_tokens(ids_of: dict[str, int], added: tuple[AddedToken, ...]) -> dict[str, int]:
    """The vocabulary with those added tokens that get their id only by standing in it.

    The library numbers the others itself, from the size of the vocabulary on: the last k by id can stay out if their
    ids are just the last k of as many numbers as there are tokens in all.
    """
    taken = set(ids_of.values())
    outside = []
    for token in sorted(added, key=lambda token: token.id):
        if ids_of.get(token.content, token.id) != token.id:
            raise cannot_hold(f"{token}: the same characters stand for the token {ids_of[token.content]}")
        if token.content not in ids_of:
            if token.id in taken:
                raise cannot_hold(f"{token}: its id is that of another token of the vocabulary")
            outside.append(token)
    total = len(ids_of) + len(outside)
    while outside and outside[-1].id == total - 1:
        outside.pop()
        total -= 1
    return ids_of | {token.content: token.id for token in outside}
