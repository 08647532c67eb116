"""Models, step by step: one piece of text into ids, and where in the piece's UTF-8 each comes from.

Exactness: tokenizers 0.23.3; a model whose unknown token is missing raises where that library does.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import NamedTuple

from lmfast.text.spec import BPE, Kind, Model, Unigram, WordLevel, WordPiece

__all__ = ["Token", "Tokenize", "model_of"]


class Token(NamedTuple):
    """An id and the bytes [start, stop) of the piece's UTF-8 that it stands for."""

    id: int
    start: int
    stop: int


Tokenize = Callable[[str], list[Token]]


def model_of(model: Model, rng: random.Random | None = None) -> Tokenize:
    """A model as a function of one piece that is not empty. `rng` draws where a BPE has dropout; None: no dropout.

    Errors: ValueError for a model that only a compiled engine knows.
    """
    match model:
        case BPE(byte_level=False):
            return _bpe(model, rng)
        case Unigram(rule="tokenizers"):
            return _unigram(model)
        case WordPiece():
            return _word_piece(model)
        case WordLevel():
            return _word_level(model)
        case _:
            raise ValueError(f"a {type(model).__name__} model does not go together with the other components")


def _no_unknown(text: str) -> ValueError:
    shown = text if len(text) <= 40 else text[:40] + "..."
    return ValueError(f"{shown!r} is unknown, and this model has no unknown token")


def _word_level(model: WordLevel) -> Tokenize:
    ids = dict(model.vocab)

    def tokenize(piece: str) -> list[Token]:
        data = piece.encode()
        token_id = ids.get(data, model.unk_id)
        if token_id is None:
            raise _no_unknown(piece)
        return [Token(token_id, 0, len(data))]

    return tokenize


def _word_piece(model: WordPiece) -> Tokenize:
    ids = {token.decode("utf-8", "surrogateescape"): token_id for token, token_id in model.vocab}
    prefix = model.continuing_subword_prefix
    longest = max(map(len, ids), default=0)

    def tokenize(piece: str) -> list[Token]:
        tokens: list[Token] = []
        at = done = 0
        while at < len(piece) <= model.max_input_chars_per_word:
            before = prefix if at else ""
            for stop in range(min(len(piece), at + longest), at, -1):
                token_id = ids.get(before + piece[at:stop])
                if token_id is not None:
                    break
            else:
                break
            n = len(piece[at:stop].encode())
            tokens.append(Token(token_id, done, done + n))
            at, done = stop, done + n
        if at == len(piece):
            return tokens
        if model.unk_id is None:
            raise _no_unknown(piece)
        return [Token(model.unk_id, 0, len(piece.encode()))]

    return tokenize


def _unigram(model: Unigram) -> Tokenize:
    """The best path, found from left to right; of equal sums the first one found, that is the longest last piece."""
    kinds = [Kind.NORMAL] * len(model.vocab) if model.kinds is None else model.kinds.tolist()
    ids = {token: i for (token, i), kind in zip(model.vocab, kinds, strict=True) if kind != Kind.CONTROL}
    scores = dict(zip(model.vocab.ids.tolist(), model.scores.tolist(), strict=True))
    longest = max(map(len, ids), default=0)
    unk_score = min(scores.values(), default=float("inf")) - 10.0

    def best_path(data: bytes, starts: list[int]) -> list[Token]:
        best: list[tuple[float, int, int] | None] = [None] * (len(data) + 1)  # sum, start, id
        best[0] = (0.0, 0, -1)
        lengths = [b - a for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
        for start, n_character in zip(starts, lengths, strict=True):
            here = best[start]
            so_far = 0.0 if here is None else here[0]
            single = False
            for stop in range(start + 1, min(len(data), start + longest) + 1):
                token_id = ids.get(data[start:stop])
                if token_id is not None:
                    single = single or stop - start == n_character
                    total, there = scores[token_id] + so_far, best[stop]
                    if there is None or total > there[0]:
                        best[stop] = total, start, token_id
            if not single:
                total, there = unk_score + so_far, best[start + n_character]
                if there is None or total > there[0]:
                    if model.unk_id is None:
                        raise _no_unknown(data[start : start + n_character].decode())
                    best[start + n_character] = total, start, model.unk_id
        path = []
        stop = len(data)
        while stop > 0:
            node = best[stop]
            assert node is not None
            path.append(Token(node[2], node[1], stop))
            stop = node[1]
        return path[::-1]

    def tokenize(piece: str) -> list[Token]:
        data = piece.encode()
        starts = [i for i, byte in enumerate(data) if byte & 0xC0 != 0x80]
        fused: list[Token] = []
        for token in best_path(data, starts):
            if token.id == model.unk_id and fused and fused[-1].id == model.unk_id:
                token = Token(token.id, fused.pop().start, token.stop)
            fused.append(token)
        tokens: list[Token] = []
        for token in fused:
            # A fused run is looked up again as a whole.
            text = data[token.start : token.stop]
            token_id = ids.get(text)
            if token_id is not None:
                tokens.append(Token(token_id, token.start, token.stop))
            elif model.byte_fallback and (found := _byte_tokens(ids, text)):
                tokens += [Token(byte_id, token.start, token.stop) for byte_id in found]
            else:
                tokens.append(token)
        return tokens

    return tokenize


def _byte_tokens(ids: dict[bytes, int], text: bytes) -> list[int] | None:
    """The ids of `<0x00>`...`<0xFF>` for a text, where all of them are there."""
    found = [ids.get(b"<0x%02X>" % byte) for byte in text]
    return None if None in found else [i for i in found if i is not None]


class _Merge(NamedTuple):
    rank: int
    at: int
    made: int


def _bpe(model: BPE, rng: random.Random | None) -> Tokenize:
    ids = dict(model.vocab)
    tokens = {token_id: token for token, token_id in ids.items()}
    prefix, suffix = model.continuing_subword_prefix.encode(), model.end_of_word_suffix.encode()
    merges: dict[tuple[int, int], tuple[int, int]] = {}
    assert model.merges is not None
    for rank, (a, b) in enumerate(model.merges.tolist()):
        merges[a, b] = rank, ids[tokens[a] + tokens[b][len(prefix) :]]
    dropout = model.dropout if rng else 0.0

    def symbols_of(piece: str) -> tuple[list[int], list[int]]:
        """The ids that merging begins with, and the bytes that each stands for.

        An unknown token is held back until a known character comes, so that bytes of fallback come before it.
        """
        found: list[int] = []
        sizes: list[int] = []
        unknown = 0
        for i, c in enumerate(piece):
            data = c.encode()
            name = (prefix if i else b"") + data + (suffix if i == len(piece) - 1 else b"")
            token_id = ids.get(name)
            if token_id is not None:
                if unknown and model.unk_id is not None:
                    found.append(model.unk_id)
                    sizes.append(unknown)
                    unknown = 0
                found.append(token_id)
                sizes.append(len(data))
            elif model.byte_fallback and (fallback := _byte_tokens(ids, name)):
                found += fallback
                sizes += [1] * len(fallback)
            elif model.unk_id is not None:
                if unknown and not model.fuse_unk:
                    found.append(model.unk_id)
                    sizes.append(unknown)
                    unknown = 0
                unknown += len(data)
        if unknown and model.unk_id is not None:
            found.append(model.unk_id)
            sizes.append(unknown)
        return found, sizes

    def tokenize(piece: str) -> list[Token]:
        if model.ignore_merges and not dropout and (whole := ids.get(piece.encode())) is not None:
            return [Token(whole, 0, len(piece.encode()))]
        found, sizes = symbols_of(piece)
        _merge_all(found, sizes, merges, dropout, rng)
        result: list[Token] = []
        at, n = 0, len(piece.encode())
        for token_id, size in zip(found, sizes, strict=True):
            if size:
                # An affix that falls back to bytes has more of them than the piece: they stand for its last one.
                result.append(Token(token_id, min(at, n - 1), min(at + size, n)))
                at += size
        return result

    return tokenize


def _merge_all(
    found: list[int],
    sizes: list[int],
    merges: dict[tuple[int, int], tuple[int, int]],
    dropout: float,
    rng: random.Random | None,
) -> None:
    """Again and again the strongest merge, of equals the leftmost; a symbol that is gone has size 0.

    A merge that dropout passes over is put back once another one has been made.
    """
    n = len(found)
    after, before = [*range(1, n + 1)], [*range(-1, n - 1)]
    heap: list[_Merge] = []

    def consider(i: int) -> None:
        if i >= 0 and after[i] < n and (merge := merges.get((found[i], found[after[i]]))):
            heapq.heappush(heap, _Merge(merge[0], i, merge[1]))

    for i in range(n - 1):
        consider(i)
    skipped: list[_Merge] = []
    while heap:
        top = heapq.heappop(heap)
        if dropout and rng and rng.random() < dropout:
            skipped.append(top)
            continue
        for merge in skipped:
            heapq.heappush(heap, merge)
        skipped.clear()
        at, right = top.at, after[top.at]
        if not sizes[at] or right == n:
            continue
        merge_now = merges.get((found[at], found[right]))
        if merge_now is None or merge_now[1] != top.made:
            continue
        found[at] = top.made
        sizes[at] += sizes[right]
        sizes[right] = 0
        after[at] = after[right]
        if after[at] < n:
            before[after[at]] = at
        consider(before[at])
        consider(at)
