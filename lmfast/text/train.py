"""Training: from texts to a tokenizer.

The pieces of the texts are counted (`lmfast.text.words`), merges are learnt from the counts (csrc/text/bpe_train.h),
and these become a `TokenizerSpec`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from lmfast.text._train import Trainer
from lmfast.text.formats.ranks import merges_of_ranks
from lmfast.text.spec import BPE, AddedToken, Split, TokenizerSpec, Vocab
from lmfast.text.tokenizer import Tokenizer
from lmfast.text.words import Progress, Source, WordCounts, count_words

__all__ = ["Ties", "TrainingInterrupted", "train_bpe"]

Ties: TypeAlias = Literal["hf", "bytes", "first", "lexmax"]

_NO_SYMBOL = 0xFFFFFFFF
_STEP = 256  # merges between two looks at signals


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C while merges were learnt: `tokenizer` has those that were."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(f"interrupted with {tokenizer.vocab_size} ids")
        self.tokenizer = tokenizer


@overload
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
    seed_merges: Iterable[tuple[bytes, bytes]] | Tokenizer = (),
    snapshots: None = None,
    separator: str | bytes | None = None,
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Tokenizer: ...
@overload
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
    seed_merges: Iterable[tuple[bytes, bytes]] | Tokenizer = (),
    snapshots: Iterable[int],
    separator: str | bytes | None = None,
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> dict[int, Tokenizer]: ...
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
    seed_merges: Iterable[tuple[bytes, bytes]] | Tokenizer = (),
    snapshots: Iterable[int] | None = None,
    separator: str | bytes | None = None,
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Tokenizer | dict[int, Tokenizer]:
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
    seed_merges       pairs of tokens to merge before any other, whether they occur or not; or a `Tokenizer` to have
                      more merges than it has. `vocab_size` counts what they make
    snapshots         sizes of smaller tokenizers wanted from the same run. The result is then a dictionary, size ->
                      `Tokenizer`, of these and of `vocab_size`. Each is what training to that size gives
    separator         cuts the contents of files into documents, which no piece crosses
    threads           for counting; the result is the same for any number
    max_memory        for counting, see `count_words`
    progress          called with a `Progress` now and then; what it raises ends the training

    Exactness: merges and ids are those of the trainers named above, wherever those are deterministic. Counts are 64
    bits wide. Errors: ValueError for a size without room for all bytes, special tokens and seeds, or an alphabet that
    lacks a byte that UTF-8 has; OSError for a file that cannot be read. Ctrl-C while merges are learnt raises
    `TrainingInterrupted`, a KeyboardInterrupt that has them.
    """
    _check(vocab_size, ties, min_frequency, limit_alphabet, max_token_length)
    specials = list(dict.fromkeys(special_tokens))
    if "" in specials:
        raise ValueError("special_tokens: '' is empty; want at least one character")
    if initial_alphabet is None and limit_alphabet is None and vocab_size < 256:  # before anything is counted
        raise ValueError(f"vocab_size {vocab_size} is too small: the 256 single bytes are tokens")
    sizes = sorted({vocab_size, *(snapshots or ())})
    if sizes[-1] > vocab_size:
        raise ValueError(f"snapshots: {sizes[-1]} is larger than vocab_size = {vocab_size}")
    if isinstance(source, WordCounts):
        words = source
    else:
        words = count_words(
            source, pattern, separator=separator, threads=threads, max_memory=max_memory, progress=progress
        )
    try:
        learnt = learn(
            words,
            vocab_size,
            ties=ties,
            min_frequency=min_frequency,
            special_tokens=specials,
            initial_alphabet=range(256) if initial_alphabet is None else initial_alphabet,
            limit_alphabet=limit_alphabet,
            max_token_length=max_token_length,
            seed_merges=_pairs_of(seed_merges),
            progress=progress,
        )
    except _Interrupted as interrupted:
        raise TrainingInterrupted(Tokenizer(interrupted.learnt.spec(words.pattern))) from None
    if snapshots is None:
        return Tokenizer(learnt.spec(words.pattern))
    return {size: Tokenizer(learnt.first(size).spec(words.pattern)) for size in sizes}


@dataclass(frozen=True, eq=False)
class Learnt:
    """What training found.

    vocab           the single bytes and what the merges make
    merges          uint32[m, 3]: the ids of each pair and of what it makes, in the order in which they were merged
    counts          int64[m]: how often each pair occurred when it was merged
    special_tokens  content -> id
    first_id        the id of the first merge that has a new one
    specials_last   whether special tokens have the ids after all others, not those before
    """

    vocab: Vocab
    merges: NDArray[np.uint32]
    counts: NDArray[np.int64]
    special_tokens: dict[str, int]
    first_id: int
    specials_last: bool

    def spec(self, pattern: str | None) -> TokenizerSpec:
        """The tokenizer."""
        return TokenizerSpec(
            BPE(self.vocab, np.ascontiguousarray(self.merges[:, :2]), ignore_merges=False),
            pre_tokenizer=() if pattern is None else (Split(pattern),),
            added_tokens=tuple(AddedToken(content, token_id) for content, token_id in self.special_tokens.items()),
        )

    def first(self, vocab_size: int) -> Learnt:
        """What training to a smaller size finds."""
        n_new = vocab_size - len(self.special_tokens) * self.specials_last - self.first_id
        if n_new < 0:
            least = vocab_size - n_new
            raise ValueError(f"vocab_size {vocab_size} is too small: {least} single bytes and special tokens have ids")
        made = self.merges[:, 2]
        n = int(np.searchsorted(np.cumsum(made >= self.first_id), n_new)) + 1 if n_new else 0
        gone = set(made[n:].tolist())
        vocab = Vocab.from_items((token, token_id) for token, token_id in self.vocab if token_id not in gone)
        specials = _numbered(self.special_tokens, len(vocab) if self.specials_last else 0)
        return Learnt(vocab, self.merges[:n], self.counts[:n], specials, self.first_id, self.specials_last)


class _Interrupted(KeyboardInterrupt):
    def __init__(self, learnt: Learnt) -> None:
        super().__init__()
        self.learnt = learnt


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
    order = chr if specials_last else _CHARACTERS.__getitem__
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
    symbols = np.full(256, _NO_SYMBOL, np.uint32)
    symbols[[token[0] for token in tokens]] = list(tokens.values())
    seeds = _seeds(seed_merges, tokens, reserved, first_id, n_ids)
    trainer = Trainer(
        words.blob,
        words.offsets,
        words.counts,
        symbols,
        first_id=first_id,
        n_ids=n_ids,
        ties="ids" if ties in ("hf", "bytes") else ties,
        min_count=max(1, min_frequency),
        max_length=max_token_length or 0,
        reserved=[(string, token_id) for string, token_id in reserved.items() if len(string) > 1],
        seeds=seeds,
    )
    by_id = {token_id: token for token, token_id in tokens.items()}  # kept up only for who looks at the progress

    def learnt() -> Learnt:
        made, counts = trainer.merges()
        vocab = Vocab(*trainer.vocab())
        after = _numbered(specials, len(vocab) if specials_last else 0)
        return Learnt(vocab, made, counts, after, first_id, specials_last)

    n_done = n_named = 0
    try:
        while (n_now := trainer.run(n_done + _STEP)) >= n_done + _STEP:
            n_done = n_now
            if progress is None:
                continue
            for left, right, token_id in trainer.merges(n_named)[0].tolist():
                by_id[token_id] = by_id[left] + by_id[right]
            n_named = n_done
            progress(Progress("merge", n_done, n_ids - first_id, by_id[token_id]))
    except KeyboardInterrupt:
        raise _Interrupted(learnt()) from None
    return learnt()


def _numbered(contents: Iterable[str], first_id: int) -> dict[str, int]:
    return {content: token_id for token_id, content in enumerate(contents, first_id)}


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


def _pairs_of(seed_merges: Iterable[tuple[bytes, bytes]] | Tokenizer) -> Iterable[tuple[bytes, bytes]]:
    if not isinstance(seed_merges, Tokenizer):
        return seed_merges
    model = seed_merges.spec.bpe
    merges = model.merges if model.merges is not None else merges_of_ranks(model.vocab)[0]
    tokens = {token_id: token for token, token_id in model.vocab}
    return [(tokens[left], tokens[right]) for left, right in merges.tolist()]


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
