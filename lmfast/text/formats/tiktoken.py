r"""Rank files (`.tiktoken`): one token a line, its bytes in base64, a space, its rank.

    IQ== 0
    Ig== 1
    IHRoZQ== 262

The rank is the id and the merge order at once. The file holds nothing else: the split pattern and the special tokens
come from the caller, by name (`lmfast.text.patterns.PATTERNS`) or in full. Line ends are "\n" or "\r\n"; the last line
may lack its end.

Reading is one call into C (csrc/text/rank_file.h). Anything that looks wrong on the way sends the file through
`_inspect`, a plain loop over the lines that names the line and what is wrong with it.

Source of the format: `tiktoken.load` of tiktoken 0.14.0.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping

import numpy as np

from lmfast.text import _text
from lmfast.text.formats.published import SPECIAL_TOKENS
from lmfast.text.formats.ranks import merges_of_ranks
from lmfast.text.patterns import PATTERNS, splitter_of
from lmfast.text.spec import BPE, MAX_ID, AddedToken, Split, TokenizerFileError, TokenizerSpec, Vocab

__all__ = ["read_bytes", "to_bytes"]


def read_bytes(
    data: bytes,
    *,
    where: str,
    pattern: str | None,
    special_tokens: Mapping[str, int] | None = None,
    name: str | None = None,
) -> TokenizerSpec:
    """The tokenizer in the contents of a rank file.

    where           the name of the file, for messages
    pattern         a name in `PATTERNS`, or a regular expression
    special_tokens  content -> id. None: the standard ones of a named pattern if the file holds as many ranks as the
                    vocabulary they belong to, else none.

    Errors: ValueError for an unknown pattern; TokenizerFileError for everything that is wrong with the file, and for
    special tokens that do not go with it.
    """
    regex = _regex(pattern)
    vocab = _read_vocab(data, where)
    if special_tokens is None:
        size, standard = SPECIAL_TOKENS.get(pattern or "", (-1, {}))
        special_tokens = standard if size == len(vocab) else {}
    return TokenizerSpec(
        model=BPE(vocab, merges=None, ignore_merges=True),
        pre_tokenizer=(Split(regex),),
        added_tokens=_added_tokens(special_tokens, vocab, where),
        name=name,
    )


def to_bytes(spec: TokenizerSpec) -> bytes:
    """The rank file of a tokenizer: same ids when read with the same pattern and special tokens.

    The pattern and the special tokens are not in the file. Raises ValueError, with the reason, for a tokenizer that a
    rank file cannot hold.
    """
    model = spec.bpe
    if spec.normalizer:
        raise _cannot_hold(f"the normalizer {spec.normalizer}")
    if len(spec.pre_tokenizer) != 1 or spec.pre_tokenizer != (Split(getattr(spec.pre_tokenizer[0], "pattern", "")),):
        raise _cannot_hold(f"the pre-tokenizer {spec.pre_tokenizer}: it has to be one Split(pattern), isolated")
    if spec.post_processor:
        raise _cannot_hold("a post-processor")
    for token in spec.added_tokens:
        if token != AddedToken(token.content, token.id, normalized=token.normalized):
            raise _cannot_hold(f"{token}: special tokens are plain there, without flags")
    if len({token.normalized for token in spec.added_tokens}) > 1:
        raise _cannot_hold("added tokens of which only some are normalized: they are searched for in two rounds")
    if model.merges is not None:
        _check_merges_are_ranks(model)
    lines = (b"%b %d\n" % (base64.b64encode(token), rank) for token, rank in model.vocab)
    return b"".join(lines)


def _cannot_hold(what: str) -> ValueError:
    return ValueError(f"a .tiktoken file cannot hold {what}")


def _check_merges_are_ranks(model: BPE) -> None:
    """Raise unless the merges give the same ids as the ranks alone would.

    Only one pair can ever merge into a given token when the lowest rank goes first: the pair that is left when the
    token itself is encoded (`merges_of_ranks`). So it is enough that the merges are ordered by the token they make and
    that, for each token, the first of them is that pair.
    """
    assert model.merges is not None
    from_ranks, reachable = merges_of_ranks(model.vocab)
    if not (model.ignore_merges or reachable):
        raise _cannot_hold("tokens that no merge makes, without ignore_merges: there, a piece that is a token is one")
    token = dict((i, t) for t, i in model.vocab)
    made = [model.vocab.id_of(token[a] + token[b]) for a, b in model.merges.tolist()]
    order = np.array(made, np.int64)
    first = np.unique(order, return_index=True)[1]
    if bool(np.any(np.diff(order) < 0)) or not np.array_equal(model.merges[first], from_ranks):
        raise _cannot_hold("merges other than those that the order of the ids gives")


def _regex(pattern: str | None) -> str:
    known = f"a regular expression, or one of {', '.join(PATTERNS)}"
    if pattern is None:
        raise ValueError(f"a .tiktoken file does not hold its split pattern: pass pattern=, {known}")
    if pattern in PATTERNS:
        return PATTERNS[pattern]
    if re.fullmatch(r"[\w.\-]*", pattern):
        raise ValueError(f"pattern {pattern!r} is not known: want {known}")
    if splitter_of(pattern) is None:
        import regex

        try:
            regex.compile(pattern)
        except (regex.error, RecursionError) as error:
            raise ValueError(f"pattern {pattern!r} is not a regular expression: {error}") from error
    return pattern


def _added_tokens(special_tokens: Mapping[str, int], vocab: Vocab, where: str) -> tuple[AddedToken, ...]:
    limit = _id_limit(len(vocab) + len(special_tokens))
    taken: dict[int, str] = {}
    for content, token_id in special_tokens.items():
        here = f"{where}: special token {content!r}"
        if not isinstance(content, str) or not content:
            raise TokenizerFileError(f"{here}: want a string of one character or more")
        if any("\ud800" <= char <= "\udfff" for char in content):
            raise TokenizerFileError(f"{here}: half a surrogate pair is no text")
        if type(token_id) is not int or not 0 <= token_id <= limit:
            raise TokenizerFileError(f"{here}: id {token_id!r} is not an integer in [0, {limit}]")
        token = vocab.find(token_id)
        if token is not None:
            raise TokenizerFileError(f"{here}: id {token_id} is already the rank of {token!r}")
        if token_id in taken:
            raise TokenizerFileError(f"{here}: id {token_id} is already the id of {taken[token_id]!r}")
        taken[token_id] = content
    return tuple(AddedToken(content, token_id) for token_id, content in sorted(taken.items()))


def _id_limit(count: int) -> int:
    """The largest id allowed for so many tokens: tables are sized by the largest id, so it must not run away."""
    return min(MAX_ID, 2 * count + 131_072)


def _read_vocab(data: bytes, where: str) -> Vocab:
    text = data.replace(b"\r\n", b"\n") if b"\r" in data else data
    text = text.rstrip(b"\n")
    if not text:
        raise TokenizerFileError(f"{where}: the file is empty; want lines of a token in base64, a space and its rank")
    vocab = _read_lines(text)
    if vocab is None:
        vocab = _inspect(text, where)
    lengths = np.diff(vocab.offsets)
    single = np.frombuffer(vocab.blob, np.uint8)[vocab.offsets[:-1][lengths == 1]]
    missing = np.flatnonzero(np.bincount(single, minlength=256) == 0)
    if missing.size:
        raise TokenizerFileError(
            f"{where}: {missing.size} of the 256 single bytes have no line, the first is 0x{int(missing[0]):02x} "
            f"({base64.b64encode(bytes([int(missing[0])])).decode()}); is the file whole?"
        )
    return vocab


def _read_lines(text: bytes) -> Vocab | None:
    """All lines at once; None where a line may be wrong."""
    found = _text.read_rank_lines(text)
    if found is None:
        return None
    ids, offsets, blob, hashes = found
    if int(ids.max()) > _id_limit(ids.size) or _text.may_repeat(hashes):
        return None
    if bool(np.any(ids[1:] <= ids[:-1])):
        order = np.argsort(ids)
        ids, lengths, first = ids[order], np.diff(offsets)[order], offsets[:-1][order]
        if bool(np.any(ids[1:] == ids[:-1])):
            return None
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        place = np.arange(len(blob)) + np.repeat(first - offsets[:-1], lengths)
        blob = np.frombuffer(blob, np.uint8)[place].tobytes()
    return Vocab(ids, offsets, blob)


def _inspect(text: bytes, where: str) -> Vocab:
    """Line by line: raise for the first line that is wrong. A file with nothing wrong gives its vocabulary."""
    odd = re.search(rb"[^\t\n\r -~]", text)
    if odd:
        raise TokenizerFileError(
            f"{where}: byte offset {odd.start()}: 0x{odd.group()[0]:02x} is not ASCII text; "
            "want lines of a token in base64, a space and its rank"
        )
    limit = _id_limit(text.count(b"\n") + 1)
    line_of_token: dict[bytes, int] = {}
    line_of_rank: dict[int, int] = {}
    for number, ended_line in enumerate(io.BytesIO(text), 1):
        line = ended_line.rstrip(b"\n")

        def wrong(problem: str, number: int = number) -> TokenizerFileError:
            return TokenizerFileError(f"{where}: line {number}: {problem}")

        word, *rest = line.split(b" ")
        if len(rest) != 1:
            raise wrong(f"want a token in base64, one space and its rank, got {_shown(line)}")
        if not word:
            raise wrong(f"the token is empty: {_shown(line)}")
        if len(word) % 4 or not re.fullmatch(rb"[A-Za-z0-9+/]+={0,2}", word):
            raise wrong(f"{_shown(word)} is not base64")
        token = base64.b64decode(word)
        if base64.b64encode(token) != word:
            raise wrong(f"{_shown(word)} is not base64: bits are left over at its end")
        if not re.fullmatch(rb"[0-9]{1,9}", rest[0]) or int(rest[0]) > limit:
            raise wrong(f"rank {_shown(rest[0])} is not an integer in [0, {limit}]")
        rank = int(rest[0])
        if rank in line_of_rank:
            raise wrong(f"rank {rank} is already on line {line_of_rank[rank]}")
        if token in line_of_token:
            raise wrong(f"token {_shown(word)} is already on line {line_of_token[token]}")
        line_of_rank[rank], line_of_token[token] = number, number
    return Vocab.from_items(zip(line_of_token, line_of_rank, strict=True))


def _shown(value: bytes) -> str:
    """For a message: in quotes, and not without end."""
    text = value[:60].decode("ascii")
    return repr(text) + (f" and {len(value) - 60} more characters" if len(value) > 60 else "")
