"""What the trainers of byte-pair encoding have in common: how merges are made, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmfast.text._train import Trainer
from lmfast.text.spec import AddedToken, Decoder, Model, PreTokenizer, Split, TokenizerSpec, Vocab, Whitespace
from lmfast.text.words import WHITESPACE, Progress

__all__ = ["Interrupted", "Learnt", "Ties", "make_merges", "numbered", "pre_tokenizer_of", "spec_of"]

Ties: TypeAlias = Literal["hf", "bytes", "first", "lexmax", "sentencepiece"]

_STEP = 256  # merges between two looks at signals


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while merges were made: `spec` is the tokenizer of those that were."""

    def __init__(self, spec: TokenizerSpec) -> None:
        super().__init__()
        self.spec = spec


@dataclass(frozen=True, eq=False)
class Learnt:
    """What training found.

    vocab           the symbols and what the merges make
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
    specials_last: bool = False

    def pairs(self) -> list[tuple[bytes, bytes, int]]:
        """The two strings and the count of each merge."""
        tokens = {token_id: token for token, token_id in self.vocab}
        rows = zip(self.merges[:, :2].tolist(), self.counts.tolist(), strict=True)
        return [(tokens[left], tokens[right], count) for (left, right), count in rows]

    def first(self, vocab_size: int) -> Learnt:
        """What training to a smaller size finds."""
        n_new = vocab_size - len(self.special_tokens) * self.specials_last - self.first_id
        if n_new < 0:
            least = vocab_size - n_new
            raise ValueError(f"vocab_size {vocab_size} is too small: {least} symbols and special tokens have ids")
        made = self.merges[:, 2]
        n = int(np.searchsorted(np.cumsum(made >= self.first_id), n_new)) + 1 if n_new else 0
        if n >= len(made):
            return self
        gone = set(made[n:].tolist()) - set(made[:n].tolist())
        vocab = Vocab.from_items((token, token_id) for token, token_id in self.vocab if token_id not in gone)
        specials = numbered(self.special_tokens, len(vocab) if self.specials_last else 0)
        return Learnt(vocab, self.merges[:n], self.counts[:n], specials, self.first_id, self.specials_last)


def make_merges(trainer: Trainer, total: int, progress: Callable[[Progress], object] | None) -> None:
    """Lets a trainer make all its merges, about `total`. Signals are looked at, and progress is told, now and then."""
    n_done = 0
    while (n_now := trainer.run(n_done + _STEP)) >= n_done + _STEP:
        n_done = n_now
        if progress is not None:
            progress(Progress("merge", n_done, total, trainer.last()))


def numbered(contents: Iterable[str], first_id: int = 0) -> dict[str, int]:
    """Ids for strings: content -> id."""
    return {content: token_id for token_id, content in enumerate(contents, first_id)}


def pre_tokenizer_of(pattern: str | None) -> tuple[PreTokenizer, ...]:
    """What splits text as `count_words` does by a pattern."""
    if pattern is None:
        return ()
    return (Whitespace(),) if pattern == WHITESPACE else (Split(pattern),)


def spec_of(
    model: Model, pattern: str | None, special_tokens: dict[str, int], decoder: tuple[Decoder, ...] = ()
) -> TokenizerSpec:
    """The tokenizer of a model."""
    added = tuple(AddedToken(content, token_id) for content, token_id in special_tokens.items())
    return TokenizerSpec(model, pre_tokenizer=pre_tokenizer_of(pattern), added_tokens=added, decoder=decoder)
