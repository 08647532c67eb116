"""Training: from texts to a tokenizer.

The pieces of the texts are counted (`lmfast.text.words`), merges are learnt from the counts (csrc/text/bpe_train.h),
and these become a `TokenizerSpec`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmfast.text._train import Trainer
from lmfast.text.spec import BPE, AddedToken, Split, TokenizerSpec, Vocab
from lmfast.text.tokenizer import Tokenizer
from lmfast.text.words import Progress, Source, WordCounts, count_words

__all__ = ["Ties", "train_bpe"]

Ties: TypeAlias = Literal["hf", "bytes", "first", "lexmax"]

_NO_SYMBOL = 0xFFFFFFFF
_STEP = 256  # merges between two looks at signals


def train_bpe(
    source: Source | WordCounts,
    vocab_size: int,
    *,
    pattern: str | None = "cl100k",
    ties: Ties = "hf",
    min_frequency: int = 0,
    special_tokens: Iterable[str] = (),
    initial_alphabet: Iterable[int] | None = None,
    limit_alphabet: int | None = None,
    max_token_length: int | None = None,
    separator: str | bytes | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Tokenizer:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens, learnt from texts.

    Starting from single bytes, the pair of neighbouring tokens that is found most often within the pieces of the texts
    becomes a token, again and again, until there are `vocab_size` or no pair is left. Training on counted words gives
    the same as training on the texts they were counted from.

    source            a path; an iterable of texts (str, bytes) and files (`pathlib.Path`); or `WordCounts`, whose
                      pattern is then the tokenizer's and for which `pattern`, `separator` and `threads` mean nothing
    vocab_size        how many ids there will be, special tokens among them
    pattern           a name in `lmfast.text.patterns.PATTERNS`, a regular expression, or None: each text is one piece
    ties              which of equally frequent pairs is merged first, and with it how ids are given:
                      "hf"      the lower pair of ids, as tokenizers 0.23.3 (BpeTrainer with ByteLevel). Ids: special
                                tokens, then bytes in the order of the characters that stand for them there, then merges
                      "bytes"   the lower pair of ids, as rustbpe 0.1.0. Ids: bytes by value, merges, special tokens
                      "first"   the one that stands first in the texts, as minbpe and tiktoken's _educational; ids as
                                for "bytes"
                      "lexmax"  the greater pair of byte strings, as subword-nmt; ids as for "bytes"
    min_frequency     pairs that occur less often are not merged
    special_tokens    never split, never learnt; with ties="hf" a merge that would make one's string takes its id
    initial_alphabet  the bytes that are tokens even where the texts do not have them; None: all 256. What the texts
                      have is added. A tokenizer needs every byte that UTF-8 has
    limit_alphabet    keeps at most so many of the bytes, the most frequent ones, `initial_alphabet` first, and of
                      equals those with the lower characters; pieces lose the other bytes
    max_token_length  in bytes: a token that is at least so long is made only of two single bytes
    separator         cuts the contents of files into documents, which no piece crosses
    threads           for counting; the result is the same for any number
    progress          called with a `Progress` now and then; what it raises ends the training

    Exactness: merges and ids are those of the trainers named above, wherever those are deterministic. Counts are 64
    bits wide. Errors: ValueError for a size without room for all bytes and special tokens, or an alphabet that lacks a
    byte that UTF-8 has; OSError for a file that cannot be read.
    """
    _check(vocab_size, ties, min_frequency, limit_alphabet, max_token_length)
    specials = list(dict.fromkeys(special_tokens))
    if "" in specials:
        raise ValueError("special_tokens: '' is empty; want at least one character")
    if initial_alphabet is None and limit_alphabet is None and vocab_size < 256:  # before anything is counted
        raise ValueError(f"vocab_size {vocab_size} is too small: the 256 single bytes are tokens")
    if isinstance(source, WordCounts):
        words = source
    else:
        words = count_words(source, pattern, separator=separator, threads=threads, progress=progress)
    learnt = learn(
        words,
        vocab_size,
        ties=ties,
        min_frequency=min_frequency,
        special_tokens=specials,
        initial_alphabet=range(256) if initial_alphabet is None else initial_alphabet,
        limit_alphabet=limit_alphabet,
        max_token_length=max_token_length,
        progress=progress,
    )
    return Tokenizer(learnt.spec(words.pattern))


class Learnt(NamedTuple):
    """What training found."""

    tokens: list[tuple[bytes, int]]
    """tokens and their ids"""
    merges: NDArray[np.uint32]
    """uint32[m, 2]: the ids of each pair in the order in which they were merged"""
    counts: NDArray[np.int64]
    """int64[m]: how often each pair occurred when it was merged"""
    special_tokens: dict[str, int]

    def spec(self, pattern: str | None) -> TokenizerSpec:
        """The tokenizer."""
        return TokenizerSpec(
            BPE(Vocab.from_items(self.tokens), self.merges, ignore_merges=False),
            pre_tokenizer=() if pattern is None else (Split(pattern),),
            added_tokens=tuple(AddedToken(content, token_id) for content, token_id in self.special_tokens.items()),
        )


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
    progress: Callable[[Progress], object] | None = None,
) -> Learnt:
    """The tokens and merges of counted words; the arguments are those of `train_bpe`."""
    alphabet = _alphabet(words, set(initial_alphabet), limit_alphabet)
    specials = list(dict.fromkeys(special_tokens))
    symbols = np.full(256, _NO_SYMBOL, np.uint32)
    reserved: list[tuple[bytes, int]] = []
    room = vocab_size
    if ties == "hf":
        spelt = {content: _spelt(content) for content in specials}
        for token_id, content in enumerate(specials):
            if (string := spelt[content]) is None:
                continue
            if len(string) == 1:
                symbols[string[0]] = token_id
            else:
                reserved.append((string, token_id))
        first_id = len(specials)
        for byte in sorted(alphabet, key=_CHARACTERS.__getitem__):
            if symbols[byte] == _NO_SYMBOL:
                symbols[byte] = first_id
                first_id += 1
    else:
        first_id = len(alphabet)
        symbols[sorted(alphabet)] = np.arange(first_id)
        room -= len(specials)
    if room < first_id:
        raise ValueError(
            f"vocab_size {vocab_size} is too small: {len(alphabet)} single bytes and {len(specials)} special tokens "
            "have ids"
        )
    trainer = Trainer(
        words.blob,
        words.offsets,
        words.counts,
        symbols,
        first_id=first_id,
        n_ids=room,
        ties="ids" if ties in ("hf", "bytes") else ties,
        min_count=max(1, min_frequency),
        max_length=max_token_length or 0,
        reserved=reserved,
    )
    n_merges = 0
    while (n_now := trainer.run(n_merges + _STEP)) == n_merges + _STEP:
        n_merges = n_now
        if progress is not None:
            progress(Progress("merge", n_merges, room - first_id))
    made, counts = trainer.merges()
    tokens = {int(token_id): bytes([byte]) for byte, token_id in enumerate(symbols.tolist()) if token_id != _NO_SYMBOL}
    for left, right, token_id in made.tolist():
        tokens[token_id] = tokens[left] + tokens[right]
    if ties != "hf":
        first_id = len(tokens)
    return Learnt(
        [(token, token_id) for token_id, token in tokens.items()],
        np.ascontiguousarray(made[:, :2]),
        counts,
        {content: token_id for token_id, content in enumerate(specials, 0 if ties == "hf" else first_id)},
    )


def _check(
    vocab_size: int, ties: str, min_frequency: int, limit_alphabet: int | None, max_token_length: int | None
) -> None:
    if ties not in ("hf", "bytes", "first", "lexmax"):
        raise ValueError(f"ties = {ties!r}; want 'hf', 'bytes', 'first' or 'lexmax'")
    if not 1 <= vocab_size < 2**21 - 1:
        raise ValueError(f"vocab_size = {vocab_size} is outside [1, {2**21 - 1})")
    if min_frequency < 0:
        raise ValueError(f"min_frequency = {min_frequency}; at least 0 is allowed")
    if limit_alphabet is not None and limit_alphabet < 1:
        raise ValueError(f"limit_alphabet = {limit_alphabet}; at least 1 is allowed, or None for no limit")
    if max_token_length is not None and max_token_length < 1:
        raise ValueError(f"max_token_length = {max_token_length}; at least 1 is allowed, or None for no limit")


def _characters() -> list[str]:
    """The characters that stand for the bytes in GPT-2's alphabet; those that are not printable begin at U+0100."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte if byte in shown else 0x100 + hidden.index(byte)) for byte in range(256)]


_CHARACTERS = _characters()
_BYTES = {character: byte for byte, character in enumerate(_CHARACTERS)}


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
    kept = sorted(alphabet, key=lambda byte: (byte not in initial, -counts.get(byte, 0), _CHARACTERS[byte]))
    return set(kept[:limit])
