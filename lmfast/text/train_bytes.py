"""Byte-level BPE: merges of counted words, beginning with their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from lmfast import _checking
from lmfast.text._train import NOT_A_SYMBOL, Trainer
from lmfast.text.formats.ranks import merges_of_ranks
from lmfast.text.merging import Interrupted, Learnt, Ties, make_merges, numbered, spec_of
from lmfast.text.spec import BPE, TokenizerSpec, Vocab
from lmfast.text.words import Progress, WordCounts

__all__ = ["CHARACTERS", "learn", "pairs_of", "spec_of_bytes"]


def learn(
    words: WordCounts,
    vocab_size: int,
    *,
    ties: Ties = "hf",
    min_frequency: int = 0,
    special_tokens: Iterable[str] = (),
    initial_alphabet: Iterable[int] = range(256),
    limit_alphabet: int | None = None,
    max_token_length: int | None = None,
    seed_merges: Iterable[tuple[bytes, bytes]] = (),
    progress: Callable[[Progress], object] | None = None,
) -> Learnt:
    """The tokens and merges of counted words; the arguments are those of `train_bpe`."""
    alphabet = _alphabet(words, set(initial_alphabet), limit_alphabet)
    specials = list(dict.fromkeys(special_tokens))
    specials_last = ties != "hf"
    reserved: dict[bytes, int] = {}
    if not specials_last:
        spelt = ((_spelt(content), token_id) for token_id, content in enumerate(specials))
        reserved = {string: token_id for string, token_id in spelt if string is not None}
    first_id = 0 if specials_last else len(specials)
    tokens: dict[bytes, int] = {}
    order = chr if specials_last else CHARACTERS.__getitem__
    for byte in sorted(alphabet | {string[0] for string in reserved if len(string) == 1}, key=order):
        token = bytes([byte])
        tokens[token] = reserved.get(token, first_id)
        first_id += token not in reserved
    n_ids = vocab_size - len(specials) * specials_last
    if n_ids < first_id:
        raise ValueError(
            f"vocab_size {vocab_size} is too small: {len(alphabet)} single bytes and {len(specials)} special tokens "
            "have ids"
        )
    symbols = np.full(256, NOT_A_SYMBOL, np.uint32)
    symbols[[token[0] for token in tokens]] = list(tokens.values())
    seeds = _seeds(seed_merges, tokens, reserved, first_id, n_ids)
    trainer = Trainer(
        words.blob,
        words.offsets,
        words.counts,
        symbols,
        strings=[*tokens.items(), *((string, token_id) for string, token_id in reserved.items() if len(string) > 1)],
        n_symbols=len(tokens),
        first_id=first_id,
        n_ids=n_ids,
        ties="ids" if ties in ("hf", "bytes") else ties,
        min_count=max(1, min_frequency),
        max_length=max_token_length or 0,
        seeds=seeds,
    )

    def learnt() -> Learnt:
        vocab = Vocab(*trainer.vocab())
        after = numbered(specials, len(vocab) if specials_last else 0)
        return Learnt(vocab, *trainer.merges(), after, first_id, specials_last)

    try:
        make_merges(trainer, n_ids - first_id, progress)
    except KeyboardInterrupt:
        raise Interrupted(spec_of_bytes(learnt(), words.pattern)) from None
    found = learnt()
    if _checking.on and not len(seeds):
        rows = [([bytes([byte]) for byte in word if byte in alphabet], count) for word, count in words]
        rules = {
            "ties": "ids" if ties in ("hf", "bytes") else ties,
            "least": min_frequency,
            "longest": max_token_length,
        }
        _checking.verify_merges(rows, tokens | reserved, n_ids, found.pairs(), **rules)
    return found


def spec_of_bytes(learnt: Learnt, pattern: str | None) -> TokenizerSpec:
    """The tokenizer."""
    model = BPE(learnt.vocab, np.ascontiguousarray(learnt.merges[:, :2]), ignore_merges=False)
    return spec_of(model, pattern, learnt.special_tokens)


def _seeds(
    pairs: Iterable[tuple[bytes, bytes]], tokens: dict[bytes, int], reserved: dict[bytes, int], next_id: int, n_ids: int
) -> NDArray[np.uint32]:
    """The ids of the pairs: uint32[n, 2]."""
    ids, known = [], dict(tokens)
    for i, (left, right) in enumerate(pairs):
        token = left + right
        for part in (left, right):
            if part not in known:
                raise ValueError(f"seed_merges[{i}]: {part!r} is no token yet")
        if token in known:
            raise ValueError(f"seed_merges[{i}]: {token!r} is a token already")
        if token not in reserved and next_id == n_ids:
            raise ValueError(f"vocab_size is too small: after {i} of seed_merges there is no id left for {token!r}")
        ids.append((known[left], known[right]))
        known[token] = reserved.get(token, next_id)
        next_id += token not in reserved
    return np.array(ids, np.uint32).reshape(-1, 2)


def pairs_of(seed_merges: Iterable[tuple[bytes, bytes]] | TokenizerSpec) -> Iterable[tuple[bytes, bytes]]:
    """Pairs of tokens, those of a tokenizer too."""
    if not isinstance(seed_merges, TokenizerSpec):
        return seed_merges
    model = seed_merges.model
    if not isinstance(model, BPE) or not model.byte_level:
        raise ValueError(f"seed_merges: want a byte-level BPE tokenizer, got one of {type(model).__name__}")
    merges = model.merges if model.merges is not None else merges_of_ranks(model.vocab)[0]
    tokens = {token_id: token for token, token_id in model.vocab}
    return [(tokens[left], tokens[right]) for left, right in merges.tolist()]


def _characters() -> list[str]:
    """The characters that stand for the bytes in GPT-2's alphabet; those that are not printable begin at U+0100."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte if byte in shown else 0x100 + hidden.index(byte)) for byte in range(256)]


CHARACTERS = _characters()
"""The characters that stand for the bytes in GPT-2's alphabet."""

_BYTES = {character: byte for byte, character in enumerate(CHARACTERS)}


def _spelt(content: str) -> bytes | None:
    """The bytes that a string spells in GPT-2's alphabet, None where it has other characters."""
    return bytes(_BYTES[c] for c in content) if all(c in _BYTES for c in content) else None


def _alphabet(words: WordCounts, initial: set[int], limit: int | None) -> set[int]:
    """The bytes that are tokens."""
    if bad := [byte for byte in initial if not 0 <= byte < 256]:
        raise ValueError(f"initial_alphabet: {bad[0]} is no byte; want integers in [0, 256)")
    text = np.frombuffer(words.blob, np.uint8)
    alphabet = initial | set(np.flatnonzero(np.bincount(text, minlength=256)).tolist())
    if limit is None or len(alphabet) <= limit:
        return alphabet
    weights = np.repeat(words.counts, np.diff(words.offsets))
    counts = {byte: sum(weights[text == byte].tolist()) for byte in alphabet - initial}
    kept = sorted(alphabet, key=lambda byte: (byte not in initial, -counts.get(byte, 0), CHARACTERS[byte]))
    return set(kept[:limit])
