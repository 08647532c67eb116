"""What text is turned into ids, said plainly: the specification of `lmfast.Tokenizer`.

Every function takes the `TokenizerSpec` and does what it says, step by step, in the order in which the spec's own
description tells the life of a text. Inside, a text is a `str` in which a byte that is not UTF-8 is one character, the
lone surrogate U+DC00 + byte (Python's "surrogateescape"): it is neither letter, number, mark, white space nor word
character, takes no part in normalization, and becomes its byte again in the end.

Exactness: equal to tiktoken 0.14.0 and tokenizers 0.23.3 on any text they accept (tests/text/test_reference.py).
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import regex
from numpy.typing import ArrayLike, NDArray

from lmfast.reference import unicode
from lmfast.text.patterns import PATTERNS
from lmfast.text.spec import BPE, AddedToken, PrefixSpace, PreTokenizer, Split, TokenizerSpec, Vocab

__all__ = [
    "apply_merge",
    "bigram_entropy",
    "characters",
    "count",
    "decode",
    "decode_bytes",
    "encode",
    "encode_with_offsets",
    "merge",
    "merge_long",
    "pair_counts",
    "split",
    "train_bpe",
    "truncate",
]

GONE = -1

LONG = 400
"""Pieces of more bytes than this are merged by a heap: the textbook loop takes the square of their length."""


# Texts as characters, and parts of them.


def characters(text: str | bytes, errors: str = "replace") -> str:
    """The text with each byte that is not UTF-8 as one lone surrogate.

    Well-formed is as in table 3-7 of the Unicode standard. A `str` may hold surrogates itself: a pair is the character
    it stands for, a lone one is U+FFFD, or a UnicodeEncodeError with its position where `errors` is "strict".
    """
    if isinstance(text, str):
        if errors == "strict" and (lone := _LONE.search(text)):
            raise UnicodeEncodeError("utf-8", text, lone.start(), lone.end(), "surrogates not allowed")
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    return bytes(text).decode("utf-8", "surrogateescape")


_LONE = regex.compile(r"[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Part(NamedTuple):
    """A stretch of text on its way to ids.

    source  int64[bytes, 2]: for every byte of the text's UTF-8 the range of bytes of the original that it comes from
    id      of the added token that this is, None for text
    """

    text: str
    source: NDArray[np.int64]
    id: int | None = None


def _cut(part: Part, bounds: Iterable[tuple[int, int, int | None]]) -> Iterator[Part]:
    """The stretches [start, stop) of a part, in characters; empty ones are left out."""
    sizes = [1] * len(part.text) if part.text.isascii() else [len(_bytes(c)) for c in part.text]
    at = np.cumsum([0, *sizes])
    for start, stop, token_id in bounds:
        if start < stop:
            yield Part(part.text[start:stop], part.source[at[start] : at[stop]], token_id)


# Added tokens.


def find_added(text: str, tokens: dict[str, AddedToken]) -> Iterator[tuple[int, int, int | None]]:
    """Stretches that cover the text: (start, stop, id of the added token or None), as tokenizers 0.23.3 finds them.

    The leftmost match, of those the longest; the search goes on behind it even if it is discarded because a word
    character stands next to it (single_word). White space that a token takes along (lstrip, rstrip) is still searched:
    a token found in what the one before took stands for itself, and text goes on behind it.
    """
    if not tokens:
        yield 0, len(text), None
        return
    longest_first = sorted(tokens, key=len, reverse=True)
    done = 0
    for match in regex.finditer("|".join(map(regex.escape, longest_first)), text):
        token = tokens[match.group()]
        start, stop = match.span()
        beside = text[start - 1 : start] + text[stop : stop + 1]
        if token.single_word and any(map(unicode.is_word, beside)):
            continue
        if token.lstrip:
            while start > 0 and unicode.is_space(text[start - 1]):
                start -= 1
            start = max(start, done)
        if token.rstrip:
            while stop < len(text) and unicode.is_space(text[stop]):
                stop += 1
        if start >= stop:
            continue  # white space that the token before has taken whole
        yield done, start, None
        yield start, stop, token.id
        done = stop
    yield done, len(text), None


def _allowed(spec: TokenizerSpec, allowed_special: Collection[str] | str, normalized: bool) -> dict[str, AddedToken]:
    """The added tokens that are looked for before (or after) normalization, by the text to look for."""
    return {
        _normalize_text(token.content, spec) if normalized else token.content: token
        for token in spec.added_tokens
        if token.normalized == normalized
        and (not token.special or allowed_special == "all" or token.content in allowed_special)
    }


# Normalization.


def _normalize_text(text: str, spec: TokenizerSpec) -> str:
    for _ in spec.normalizer:  # NFC is the only one there is
        text = unicode.nfc(text)
    return text


def _normalize(part: Part, spec: TokenizerSpec) -> Part:
    """The part normalized. A segment that changes comes, all of it, from all of the original segment."""
    if _normalize_text(part.text, spec) == part.text:
        return part
    starts = [0, *(i for i, c in enumerate(part.text) if i and unicode.is_boundary(c))]
    texts, sources = [], []
    for old in _cut(part, [(a, b, None) for a, b in pairwise([*starts, len(part.text)])]):
        new, source = _normalize_text(old.text, spec), old.source
        if new != old.text:
            source = np.tile(np.array([source[0, 0], source[-1, 1]]), (len(_bytes(new)), 1))
        texts.append(new)
        sources.append(source)
    return Part("".join(texts), np.concatenate(sources))


# Splitting.


def _matches(text: str, step: Split) -> Iterator[tuple[int, int, bool]]:
    """Stretches that cover the text, alternately between matches and matches, as the step's flags say."""
    pattern = regex.escape(step.pattern) if step.literal else step.pattern
    seen = text if step.literal or text.isascii() else text.translate(unicode.stand_ins())
    done = 0
    for match in _compiled(pattern).finditer(seen):
        start, stop = match.span()
        if stop == start == done:
            continue
        if done < start:
            yield done, start, step.invert
        yield start, stop, not step.invert
        done = stop
    if done < len(text):
        yield done, len(text), step.invert


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern)


def _split_text(text: str, step: Split) -> list[tuple[int, int]]:
    """The pieces that one step cuts a text into."""
    stretches = list(_matches(text, step))
    if step.behavior == "removed":
        return [(start, stop) for start, stop, is_match in stretches if not is_match]
    backwards = step.behavior == "merged_with_next"
    pieces: list[tuple[int, int]] = []
    before = False
    for start, stop, is_match in reversed(stretches) if backwards else stretches:
        if step.behavior == "contiguous":
            joins = is_match == before
        else:
            joins = step.behavior != "isolated" and is_match and not before
        if joins and pieces:
            last = pieces.pop()
            start, stop = min(start, last[0]), max(stop, last[1])
        pieces.append((start, stop))
        before = is_match
    return pieces[::-1] if backwards else pieces


def _pre_tokenize(part: Part, steps: Sequence[PreTokenizer]) -> Iterator[Part]:
    if not steps:
        yield part
        return
    first, *rest = steps
    if isinstance(first, PrefixSpace):
        if not part.text.startswith(" "):
            first_character = part.source[: len(_bytes(part.text[:1]))]
            place = np.array([[first_character[0, 0], first_character[-1, 1]]])
            part = Part(" " + part.text, np.concatenate([place, part.source]))
        yield from _pre_tokenize(part, rest)
    elif isinstance(first, Split):
        for piece in _cut(part, [(a, b, None) for a, b in _split_text(part.text, first)]):
            yield from _pre_tokenize(piece, rest)
    else:
        raise ValueError(f"{type(first).__name__} is no step of byte-level BPE")


def split(text: str | bytes, spec: TokenizerSpec) -> list[bytes]:
    """The pieces that the spec's pre-tokenizer makes of a text: neither normalized nor searched for added tokens."""
    return [_bytes(piece.text) for piece in _pre_tokenize(_whole(characters(text)), spec.pre_tokenizer) if piece.text]


def _whole(text: str) -> Part:
    at = np.arange(len(_bytes(text)), dtype=np.int64)
    return Part(text, np.stack([at, at + 1], axis=1))


# Merging.


class _Tables(NamedTuple):
    """A model as dictionaries. `join` gives (rank, id) for two neighbouring ids that merge, None where they do not."""

    tokens: dict[int, bytes]
    ids: dict[bytes, int]
    join: Callable[[tuple[int, int]], tuple[int, int] | None]
    merged: dict[bytes, list[int]]


@lru_cache(maxsize=16)
def _tables(spec: TokenizerSpec) -> _Tables:
    ids = dict(spec.model.vocab)
    tokens = {token_id: token for token, token_id in ids.items()}
    if spec.bpe.merges is None:

        def join(pair: tuple[int, int]) -> tuple[int, int] | None:
            token_id = ids.get(tokens[pair[0]] + tokens[pair[1]])
            return None if token_id is None else (token_id, token_id)

        return _Tables(tokens, ids, join, {})
    pairs = ((a, b) for a, b in spec.bpe.merges.tolist())
    ranks = {(a, b): (rank, ids[tokens[a] + tokens[b]]) for rank, (a, b) in enumerate(pairs)}
    return _Tables(tokens, ids, ranks.get, {})


def merge(piece: bytes, spec: TokenizerSpec) -> list[int]:
    """The ids of one piece: from single bytes, again and again the strongest merge, of equals the leftmost one."""
    model = _tables(spec)
    if spec.bpe.ignore_merges and piece in model.ids:
        return [model.ids[piece]]
    ids = [model.ids[bytes([byte])] for byte in piece]
    if len(ids) > LONG:
        return merge_long(ids, model.join)
    while True:
        found = [(*ranked, i) for i, pair in enumerate(pairwise(ids)) if (ranked := model.join(pair))]
        if not found:
            return ids
        _, token_id, i = min(found, key=lambda entry: (entry[0], entry[2]))
        ids[i : i + 2] = [token_id]


def merge_long(ids: list[int], join: Callable[[tuple[int, int]], tuple[int, int] | None]) -> list[int]:
    """The same in n log n steps: a heap of (rank, place), neighbours linked, entries that no longer hold dropped."""
    current = [*ids]
    after, before = [*range(1, len(ids) + 1)], [*range(-1, len(ids) - 1)]
    heap: list[tuple[int, int, tuple[int, int], int]] = []

    def consider(i: int) -> None:
        if i >= 0 and after[i] < len(ids):
            pair = (current[i], current[after[i]])
            if ranked := join(pair):
                heapq.heappush(heap, (ranked[0], i, pair, ranked[1]))

    for i in range(len(ids) - 1):
        consider(i)
    while heap:
        _, i, pair, token_id = heapq.heappop(heap)
        right = after[i]
        if right == len(ids) or (current[i], current[right]) != pair:
            continue
        current[i], current[right] = token_id, GONE
        after[i] = after[right]
        if after[i] < len(ids):
            before[after[i]] = i
        consider(before[i])
        consider(i)
    return [token_id for token_id in current if token_id != GONE]


# Encoding.


def _encoded(
    text: str | bytes, spec: TokenizerSpec, allowed_special: Collection[str] | str, errors: str
) -> Iterator[tuple[list[int], Part]]:
    """Each last part of a text with its ids."""
    raw, normalized = _allowed(spec, allowed_special, False), _allowed(spec, allowed_special, True)
    merged = _tables(spec).merged
    if len(merged) > 100_000:
        merged.clear()
    whole = _whole(characters(text, errors))
    for outer in _cut(whole, find_added(whole.text, raw)):
        if outer.id is not None:
            yield [outer.id], outer
            continue
        tidy = _normalize(outer, spec)
        for inner in _cut(tidy, find_added(tidy.text, normalized)):
            if inner.id is not None:
                yield [inner.id], inner
                continue
            for piece in _pre_tokenize(inner, spec.pre_tokenizer):
                data = _bytes(piece.text)
                if data not in merged:
                    merged[data] = merge(data, spec)
                yield merged[data], piece


def encode(
    text: str | bytes,
    spec: TokenizerSpec,
    *,
    allowed_special: Collection[str] | str = (),
    add_special_tokens: bool = False,
    errors: str = "replace",
) -> list[int]:
    """The ids of a text.

    Special tokens whose text is in `allowed_special` ("all": every one) are recognised, the text of others is plain
    text; added tokens that are not special always are. `add_special_tokens` puts the spec's template around.
    """
    ids = [token_id for part, _ in _encoded(text, spec, allowed_special, errors) for token_id in part]
    if add_special_tokens and spec.template:
        pieces = spec.template.single
        return [token_id for piece in pieces for token_id in (ids if piece.kind == "sequence" else piece.ids)]
    return ids


def count(text: str | bytes, spec: TokenizerSpec, *, allowed_special: Collection[str] | str = ()) -> int:
    """How many ids a text has."""
    return len(encode(text, spec, allowed_special=allowed_special))


def encode_with_offsets(
    text: str | bytes, spec: TokenizerSpec, *, allowed_special: Collection[str] | str = ()
) -> tuple[list[int], NDArray[np.int64], NDArray[np.int64]]:
    """The ids, and for each the range of the text that it comes from: byte offsets int64[n, 2], character offsets too.

    Offsets are into the text's UTF-8 and its characters (a byte that is not UTF-8 is one). A token's characters are all
    those it has a byte of. A space put in front comes from the character that it was put before; all tokens of a
    segment that NFC changed come from the whole segment, and an added token from its white space too.
    """
    ids: list[int] = []
    ranges: list[tuple[int, int]] = []
    tokens = _tables(spec).tokens
    for part_ids, part in _encoded(text, spec, allowed_special, "replace"):
        sizes = [len(part.source)] if part.id is not None else [len(tokens[i]) for i in part_ids]
        ids += part_ids
        for a, b in pairwise(np.cumsum([0, *sizes]).tolist()):
            ranges.append((int(part.source[a, 0]), int(part.source[b - 1, 1])))
    byte_offsets = np.array(ranges, np.int64).reshape(-1, 2)
    ends = np.cumsum([0, *(len(_bytes(c)) for c in characters(text))])
    first = np.searchsorted(ends, byte_offsets[:, 0], "right") - 1
    last = np.searchsorted(ends, byte_offsets[:, 1], "left")
    return ids, byte_offsets, np.stack([first, last], axis=1).astype(np.int64)


def truncate(
    text: str | bytes, spec: TokenizerSpec, max_tokens: int, *, allowed_special: Collection[str] | str = ()
) -> str | bytes:
    """The longest beginning of a text, in whole characters, that its first `max_tokens` ids reach and that has no more.

    (What follows a cut decides where the last piece ends, so a beginning may need one id more than it had.)
    """
    ids, byte_offsets, _ = encode_with_offsets(text, spec, allowed_special=allowed_special)
    if len(ids) <= max_tokens:
        return text
    stop = int(byte_offsets[max_tokens - 1, 1]) if max_tokens else 0
    whole = characters(text)
    for at in range(len(whole), -1, -1):
        head = _bytes(whole[:at])
        if len(head) <= stop and count(head, spec, allowed_special=allowed_special) <= max_tokens:
            break
    return text[:at] if isinstance(text, str) else head


# Decoding.


def decode_bytes(ids: Iterable[int], spec: TokenizerSpec) -> bytes:
    """The bytes of the tokens, one after another. An id that no token has is an IndexError."""
    added = {token.id: token.content.encode() for token in spec.added_tokens}
    tokens = _tables(spec).tokens
    out = []
    for at, token_id in enumerate(map(int, ids)):
        token = added.get(token_id, tokens.get(token_id))
        if token is None:
            raise IndexError(f"ids[{at}] = {token_id} is the id of no token")
        out.append(token)
    return b"".join(out)


def decode(ids: Iterable[int], spec: TokenizerSpec, errors: str = "replace") -> str:
    """The text of the tokens; what is not UTF-8 by `errors`, as `bytes.decode` has it."""
    return decode_bytes(ids, spec).decode("utf-8", errors)


# Training, and counting in tensors.


def train_bpe(texts: Iterable[str | bytes], vocab_size: int, pattern: str = "gpt2") -> TokenizerSpec:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens, learnt from texts.

    Starting from the 256 bytes, the pair of neighbouring tokens that is found most often within the pieces of the texts
    becomes a token, again and again; of equals the one with the smallest ids. `pattern` is a name in
    `lmfast.text.patterns.PATTERNS` or a regular expression. Ends early when no pair is left.

    Ids and merges equal those of tokenizers 0.23.3 (BpeTrainer with the alphabet of ByteLevel): bytes are numbered in
    the order of the characters that stand for them there, the printable ones first. Errors: ValueError for a size that
    has no room for all bytes.
    """
    if vocab_size < 256:
        raise ValueError(f"vocab_size {vocab_size} is too small: the 256 single bytes are tokens")
    step = Split(PATTERNS.get(pattern, pattern))
    pieces: Counter[str] = Counter()
    for text in map(characters, texts):
        pieces.update(text[start:stop] for start, stop in _split_text(text, step))
    tokens = [bytes([byte]) for byte in sorted(range(256), key=lambda b: (not _printable(b), b))]
    byte_ids = {token[0]: i for i, token in enumerate(tokens)}
    words = [[byte_ids[byte] for byte in _bytes(piece)] for piece in pieces]
    weights = list(pieces.values())
    counts: Counter[tuple[int, int]] = Counter()
    places: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for at, word in enumerate(words):
        for pair in pairwise(word):
            counts[pair] += weights[at]
            places[pair].add(at)
    heap = [(-n, pair) for pair, n in counts.items()]
    heapq.heapify(heap)
    merges: list[tuple[int, int]] = []
    while heap and len(tokens) < vocab_size:
        n, pair = heapq.heappop(heap)
        if -n != counts[pair]:  # it has become rarer since: back into the queue with what it has now
            if counts[pair] > 0:
                heapq.heappush(heap, (-counts[pair], pair))
            continue
        new = len(tokens)
        tokens.append(tokens[pair[0]] + tokens[pair[1]])
        merges.append(pair)
        changed = set()
        for at in places.pop(pair):
            old, words[at] = words[at], _merge_all(words[at], pair, new)
            for gone in pairwise(old):
                counts[gone] -= weights[at]
            for made in pairwise(words[at]):
                counts[made] += weights[at]
                if new in made:
                    places[made].add(at)
                    changed.add(made)
        for made in changed:
            heapq.heappush(heap, (-counts[made], made))
    vocab = Vocab.from_items((token, i) for i, token in enumerate(tokens))
    model = BPE(vocab, np.array(merges, np.uint32).reshape(-1, 2), ignore_merges=False)
    return TokenizerSpec(model, pre_tokenizer=(step,))


def _printable(byte: int) -> bool:
    """Whether GPT-2's alphabet shows a byte as itself."""
    return 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF


def _merge_all(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """The ids with every occurrence of the pair, from the left, replaced."""
    out: list[int] = []
    i = 0
    while i < len(ids):
        if ids[i] == pair[0] and i + 1 < len(ids) and ids[i + 1] == pair[1]:
            out.append(new)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def pair_counts(ids: Any) -> tuple[Any, Any]:
    """The pairs of neighbours in a torch tensor int64[n] and how often each occurs: int64[m, 2] in order, int64[m].

    Overlaps count: a a a has the pair (a, a) twice.
    """
    import torch

    return torch.unique(torch.stack([ids[:-1], ids[1:]], dim=1), dim=0, return_counts=True)  # type: ignore[no-any-return]


def apply_merge(ids: Any, pair: tuple[int, int], new_id: int) -> Any:
    """A torch tensor int64[n] with every occurrence of the pair, from the left, replaced by `new_id`.

    Occurrences overlap only where both ids are the same: then every other one of a run counts, beginning at the first.
    """
    import torch

    found = (ids[:-1] == pair[0]) & (ids[1:] == pair[1])
    if pair[0] == pair[1]:
        at = torch.arange(len(found), device=ids.device)
        last_miss = torch.where(found, -1, at).cummax(0).values
        found &= (at - last_miss) % 2 == 1
    end = found.new_zeros(min(1, len(ids)))
    kept = ~torch.cat([end, found])
    return torch.where(torch.cat([found, end]), new_id, ids)[kept]


def bigram_entropy(ids: ArrayLike) -> float:
    """The entropy in bits of an id given the one before it, under the counts of the ids themselves; 2**it: perplexity.

    H = - sum over pairs (a, b) of p(a, b) log2 p(b | a). Fewer than two ids have none: 0.
    """
    flat = np.asarray(ids, np.uint64).ravel()
    _, first = np.unique(flat[:-1], return_counts=True)
    _, both = np.unique(flat[:-1] << np.uint64(32) | flat[1:], return_counts=True)
    n = max(flat.size - 1, 1)
    return float((first * np.log2(first)).sum() - (both * np.log2(both)).sum()) / n
