"""BPE over characters, and WordPiece: merges of counted words, beginning with their characters.

As tokenizers 0.23.3 has it (BpeTrainer, WordPieceTrainer), and deterministic where that is not: of equally frequent
characters, those with the lower code points stay within `limit_alphabet`; characters with an affix get their ids in the
order of the words by falling count, then by bytes. tokenizers goes by the order of a hash table, so its ids, and with
them which of equally frequent pairs comes first, differ from run to run as soon as there are affixes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lmfast import _checking
from lmfast.text._train import NOT_A_SYMBOL, Trainer
from lmfast.text.characters import Characters
from lmfast.text.merging import Interrupted, Learnt, Ties, make_merges, numbered, spec_of
from lmfast.text.spec import BPE, BPEDecoder, Decoder, TokenizerSpec, Vocab, WordPiece, WordPieceDecoder
from lmfast.text.words import Progress, WordCounts

__all__ = ["learn_characters", "spec_of_characters", "spec_of_word_pieces"]


def learn_characters(
    words: WordCounts,
    vocab_size: int,
    *,
    ties: Ties = "hf",
    min_frequency: int = 0,
    special_tokens: Iterable[str] = (),
    initial_alphabet: Iterable[str] = (),
    limit_alphabet: int | None = None,
    max_token_length: int | None = None,
    prefix: str = "",
    suffix: str = "",
    progress: Callable[[Progress], object] | None = None,
    spec: Callable[[Learnt], TokenizerSpec] | None = None,
) -> Learnt:
    """The tokens and merges of counted words; the arguments are those of `train_bpe`, and `spec` is for interrupts."""
    characters = Characters(words)
    ids = numbered(dict.fromkeys(special_tokens))
    specials = dict(ids)
    for code in _alphabet(characters, initial_alphabet, limit_alphabet):
        ids.setdefault(chr(code), len(ids))
    rows = _rows(words, characters, ids, prefix, suffix)
    if len(ids) > vocab_size:
        raise ValueError(
            f"vocab_size {vocab_size} is too small: {len(ids) - len(specials)} symbols and {len(specials)} special "
            "tokens have ids"
        )
    used = np.zeros(len(ids), np.bool_)
    used[rows[rows != NOT_A_SYMBOL]] = True
    strings = [(token.encode(), token_id) for token, token_id in ids.items()]
    is_symbol = [bool(used[token_id]) or token not in specials for token, token_id in ids.items()]
    symbols = [string for string, symbol in zip(strings, is_symbol, strict=True) if symbol]
    trainer = Trainer(
        rows.view(np.uint8),
        characters.offsets,
        words.counts,
        None,
        strings=symbols + [string for string, symbol in zip(strings, is_symbol, strict=True) if not symbol],
        n_symbols=len(symbols),
        first_id=len(ids),
        n_ids=vocab_size,
        ties="ids" if ties == "hf" else ties,
        min_count=max(1, min_frequency),
        max_length=max_token_length or 0,
        prefix=prefix.encode(),
        repeats=bool(prefix or suffix),
        seeds=np.empty((0, 2), np.uint32),
    )

    def learnt() -> Learnt:
        vocab = dict(Vocab(*trainer.vocab())) | {token.encode(): token_id for token, token_id in specials.items()}
        return Learnt(Vocab.from_items(vocab), *trainer.merges(), specials, len(ids))

    try:
        make_merges(trainer, vocab_size - len(ids), progress)
    except KeyboardInterrupt:
        if spec is None:
            raise
        raise Interrupted(spec(learnt())) from None
    found = learnt()
    if _checking.on:
        tokens = {token_id: token.encode() for token, token_id in ids.items()}
        bounds = pairwise(characters.offsets.tolist())
        words_of = [[tokens[i] for i in rows[a:b].tolist() if i != NOT_A_SYMBOL] for a, b in bounds]
        rules = {"ties": "ids" if ties == "hf" else ties, "least": min_frequency, "longest": max_token_length}
        known = {token: token_id for token_id, token in tokens.items()}
        counted = list(zip(words_of, words.counts.tolist(), strict=True))
        _checking.verify_merges(counted, known, vocab_size, found.pairs(), prefix=prefix.encode() or None, **rules)
    return found


def _alphabet(characters: Characters, initial: Iterable[str], limit: int | None) -> list[int]:
    """The code points that are tokens, rising."""
    wanted = set()
    for character in initial:
        if len(character) != 1:
            raise ValueError(f"initial_alphabet: {character!r} is no character; want strings of one")
        wanted.add(ord(character))
    counts = characters.counts | dict.fromkeys(wanted, 1 << 63)
    return sorted(sorted(counts, key=lambda code: (-counts[code], code))[:limit])


def _rows(
    words: WordCounts, characters: Characters, ids: dict[str, int], prefix: str, suffix: str
) -> NDArray[np.uint32]:
    """The ids of all characters of the words. Those of characters with affixes are made."""
    of_code = np.full(0x110000, NOT_A_SYMBOL, np.uint32)
    single = {ord(token): token_id for token, token_id in ids.items() if len(token) == 1}
    of_code[list(single)] = list(single.values())
    rows = of_code[characters.codes]
    if not prefix and not suffix:
        return rows
    starts, ends = characters.offsets[:-1], characters.offsets[1:]
    affixes = np.full(len(rows), 1 if prefix else 0, np.uint8)
    affixes[starts] = 0
    affixes[ends - 1] |= 2 if suffix else 0
    keys = characters.codes.astype(np.int64) << 2 | affixes
    keys[rows == NOT_A_SYMBOL] = -1
    by_word = sorted(range(len(words)), key=_falling(words))
    order = np.concatenate([np.arange(starts[i], ends[i]) for i in by_word]) if by_word else np.arange(0)
    found, first, which = np.unique(keys[order], return_index=True, return_inverse=True)
    of_key = np.full(len(found), NOT_A_SYMBOL, np.uint32)
    for i in np.argsort(first, kind="stable").tolist():
        key = int(found[i])
        if key >= 0:
            symbol = prefix * (key & 1) + chr(key >> 2) + suffix * (key >> 1 & 1)
            of_key[i] = ids.setdefault(symbol, len(ids))
    rows[order] = of_key[which]
    return rows


def _falling(words: WordCounts) -> Callable[[int], tuple[int, bytes]]:
    counts, at = words.counts.tolist(), words.offsets.tolist()
    return lambda i: (-counts[i], words.blob[at[i] : at[i + 1]])


def _seen(learnt: Learnt, unk_token: str | None) -> Vocab:
    """The vocabulary without the special tokens that are cut out of a text before the model sees it."""
    merged = set(learnt.merges.ravel().tolist())
    cut = {i for content, i in learnt.special_tokens.items() if len(content) > 1 and content != unk_token} - merged
    return Vocab.from_items((token, token_id) for token, token_id in learnt.vocab if token_id not in cut)


def spec_of_characters(
    learnt: Learnt, pattern: str | None, prefix: str, suffix: str, unk_token: str | None = None
) -> TokenizerSpec:
    """The BPE tokenizer."""
    model = BPE(
        _seen(learnt, unk_token),
        np.ascontiguousarray(learnt.merges[:, :2]),
        ignore_merges=False,
        byte_level=False,
        unk_id=None if unk_token is None else learnt.special_tokens[unk_token],
        continuing_subword_prefix=prefix,
        end_of_word_suffix=suffix,
    )
    decoder: tuple[Decoder, ...] = ()
    if suffix:
        decoder = (BPEDecoder(suffix),)
    elif prefix:
        decoder = (WordPieceDecoder(prefix, cleanup=False),)
    return spec_of(model, pattern, learnt.special_tokens, decoder)


def spec_of_word_pieces(learnt: Learnt, pattern: str | None, prefix: str, unk_token: str) -> TokenizerSpec:
    """The WordPiece tokenizer: its tokens, and nothing of how they were merged."""
    model = WordPiece(_seen(learnt, unk_token), learnt.special_tokens[unk_token], prefix)
    return spec_of(model, pattern, learnt.special_tokens, (WordPieceDecoder(prefix),))
