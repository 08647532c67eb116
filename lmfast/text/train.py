"""Training: from texts to a tokenizer.

The pieces of the texts are counted (`lmfast.text.words`), merges are learnt from the counts (csrc/text/bpe_train.h),
and these become a `TokenizerSpec`. What the kinds of training differ in has a module for each: `train_bytes`,
`train_characters`, `train_sentencepiece`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, get_args, overload

from lmfast.text.merging import Interrupted, Learnt, Ties
from lmfast.text.sentencepiece_options import SentencePieceOptions
from lmfast.text.spec import TokenizerSpec
from lmfast.text.tokenizer import Tokenizer
from lmfast.text.train_bytes import learn, pairs_of, spec_of_bytes
from lmfast.text.train_characters import learn_characters, spec_of_characters, spec_of_word_pieces
from lmfast.text.train_sentencepiece import learn_pieces, sentence_words, spec_of_pieces
from lmfast.text.words import WHITESPACE, Progress, Source, WordCounts, count_words

__all__ = ["Ties", "TrainingInterrupted", "train_bpe", "train_wordpiece"]

Report = Callable[[Progress], object]


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
    initial_alphabet: Iterable[int] | Iterable[str] | None = None,
    limit_alphabet: int | None = None,
    max_token_length: int | None = None,
    byte_level: bool = True,
    continuing_subword_prefix: str = "",
    end_of_word_suffix: str = "",
    unk_token: str | None = None,
    seed_merges: Iterable[tuple[bytes, bytes]] | Tokenizer = (),
    snapshots: None = None,
    separator: str | bytes | None = None,
    column: str = "text",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Report | None = None,
    **options: Any,
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
    initial_alphabet: Iterable[int] | Iterable[str] | None = None,
    limit_alphabet: int | None = None,
    max_token_length: int | None = None,
    byte_level: bool = True,
    continuing_subword_prefix: str = "",
    end_of_word_suffix: str = "",
    unk_token: str | None = None,
    seed_merges: Iterable[tuple[bytes, bytes]] | Tokenizer = (),
    snapshots: Iterable[int],
    separator: str | bytes | None = None,
    column: str = "text",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Report | None = None,
    **options: Any,
) -> dict[int, Tokenizer]: ...
def train_bpe(
    source: Source | WordCounts,
    vocab_size: int,
    *,
    pattern: str | None = "cl100k",
    ties: Ties = "hf",
    min_frequency: int = 0,
    special_tokens: Iterable[str] = (),
    initial_alphabet: Iterable[int] | Iterable[str] | None = None,
    limit_alphabet: int | None = None,
    max_token_length: int | None = None,
    byte_level: bool = True,
    continuing_subword_prefix: str = "",
    end_of_word_suffix: str = "",
    unk_token: str | None = None,
    seed_merges: Iterable[tuple[bytes, bytes]] | Tokenizer = (),
    snapshots: Iterable[int] | None = None,
    separator: str | bytes | None = None,
    column: str = "text",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Report | None = None,
    **options: Any,
) -> Tokenizer | dict[int, Tokenizer]:
    r"""A BPE tokenizer of at most `vocab_size` tokens, learnt from texts.

    Starting from single bytes, the pair of neighbouring tokens that is found most often within the pieces of the texts
    becomes a token, again and again, until there are `vocab_size` or no pair is left. Training on counted words gives
    the same as training on the texts they were counted from.

    source            a path; an iterable of texts (str, bytes) and files (`pathlib.Path`: text, .jsonl, .parquet, and
                      .gz or .zst of these); or `WordCounts`, whose pattern is then the tokenizer's and for which
                      `pattern`, `separator`, `column` and `threads` mean nothing
    vocab_size        how many ids there will be, special tokens among them
    pattern           a name in `lmfast.text.patterns.PATTERNS`, a regular expression, None (each text is one piece), or
                      "whitespace" (the matches of `\w+|[^\w\s]+`, for `byte_level=False`)
    ties              which of equally frequent pairs is merged first, and with it how ids are given:
                      "hf"      the lower pair of ids, as tokenizers 0.23.3 (BpeTrainer with ByteLevel). Ids: special
                                tokens, then bytes in the order of the characters that stand for them there, then merges
                      "bytes"   the lower pair of ids, as rustbpe 0.1.0. Ids: bytes by value, merges, special tokens
                      "first"   the one that stands first in the texts, as minbpe and tiktoken's _educational; ids as
                                for "bytes"
                      "lexmax"  the greater pair of byte strings, as subword-nmt; ids as for "bytes"
                      "sentencepiece"  all as sentencepiece 0.2.3, see below
    min_frequency     pairs that occur less often are not merged
    special_tokens    never split, never learnt; with ties="hf" a merge that would make one's string takes its id
    initial_alphabet  the bytes that are tokens even where the texts do not have them; None: all 256. What the texts
                      have is added. A tokenizer needs every byte that UTF-8 has. Characters with `byte_level=False`
    limit_alphabet    keeps at most so many of the bytes (characters), the most frequent ones, `initial_alphabet` first,
                      and of equals those with the lower characters; pieces lose the others
    max_token_length  in bytes (characters): a token that is at least so long is made only of two single ones
    byte_level        False: of characters instead of bytes, as tokenizers 0.23.3 (BpeTrainer with Whitespace, where
                      `pattern` is "whitespace"); only ties "hf", "first" and "lexmax". Then there may be:
                      continuing_subword_prefix  what stands before every character of a piece but the first
                      end_of_word_suffix         what stands behind the last character of a piece
                      unk_token                  one of the special tokens, for characters without a token
    seed_merges       pairs of tokens to merge before any other, whether they occur or not; or a `Tokenizer` to have
                      more merges than it has. `vocab_size` counts what they make. Byte-level only
    snapshots         sizes of smaller tokenizers wanted from the same run. The result is then a dictionary, size ->
                      `Tokenizer`, of these and of `vocab_size`. Each is what training to that size gives
    separator         cuts the contents of text files into documents, which no piece crosses
    column            of files of rows: where the text is
    threads           for counting; the result is the same for any number
    max_memory        for counting, see `count_words`
    progress          called with a `Progress` now and then; what it raises ends the training

    ties="sentencepiece" trains on lines of text and takes as `options` those of
    `lmfast.text.sentencepiece_options.SentencePieceOptions` (normalizer="nmt_nfkc", character_coverage, byte_fallback,
    user_defined_symbols, ...); `special_tokens` are its control symbols. Every word of `WordCounts` is a line, with its
    count, as in its format "tsv". The result saves as a sentencepiece `.model`.

    Exactness: merges and ids, or pieces and scores, are those of the trainers named above, wherever those are
    deterministic; that of tokenizers is not with affixes, see `lmfast.text.train_characters`. Counts are 64 bits wide.
    Errors: ValueError for a size without room for all symbols, special tokens and seeds, an alphabet that lacks a byte
    that UTF-8 has, a source without a line for sentencepiece's rules; OSError for a file that cannot be read. Ctrl-C
    while merges are learnt raises `TrainingInterrupted`, a KeyboardInterrupt that has them.
    """
    specials = list(dict.fromkeys(special_tokens))
    affixes = (continuing_subword_prefix, end_of_word_suffix)
    _check(vocab_size, ties, min_frequency, limit_alphabet, max_token_length, specials)
    sizes = _sizes(vocab_size, snapshots)
    seeds = seed_merges.spec if isinstance(seed_merges, Tokenizer) else seed_merges
    if not byte_level and (seed_merges or ties not in ("hf", "first", "lexmax")):
        raise ValueError("byte_level=False: want ties 'hf', 'first' or 'lexmax', and no seed_merges")
    if byte_level and (any(affixes) or unk_token is not None):
        raise ValueError("continuing_subword_prefix, end_of_word_suffix and unk_token need byte_level=False")
    if unk_token is not None and unk_token not in specials:
        raise ValueError(f"unk_token = {unk_token!r} is none of special_tokens")
    reading: dict[str, Any] = {"separator": separator, "column": column, "threads": threads}
    reading |= {"max_memory": max_memory, "progress": progress}
    if ties == "sentencepiece":
        unused = (min_frequency, initial_alphabet, limit_alphabet, max_token_length, not byte_level, seed_merges)
        if any(unused):
            raise ValueError(
                "ties='sentencepiece' has no min_frequency, initial_alphabet, limit_alphabet, "
                "max_token_length, byte_level=False or seed_merges"
            )
        chosen = SentencePieceOptions(**({"control_symbols": specials} | options))
        return _finished(lambda: _pieces(source, vocab_size, chosen, reading), sizes, snapshots)
    if options:
        raise TypeError(f"{', '.join(options)}: want these with ties='sentencepiece' only")
    if byte_level and initial_alphabet is None and limit_alphabet is None and vocab_size < 256:  # before any counting
        raise ValueError(f"vocab_size {vocab_size} is too small: the 256 single bytes are tokens")
    words = source if isinstance(source, WordCounts) else count_words(source, pattern, **reading)
    common: dict[str, Any] = {
        "ties": ties,
        "min_frequency": min_frequency,
        "special_tokens": specials,
        "limit_alphabet": limit_alphabet,
        "max_token_length": max_token_length,
        "progress": progress,
    }
    if not byte_level:

        def spec(learnt: Learnt) -> TokenizerSpec:
            return spec_of_characters(learnt, words.pattern, *affixes, unk_token)

        def characters() -> Callable[[int], TokenizerSpec]:
            learnt = learn_characters(
                words,
                vocab_size,
                initial_alphabet=initial_alphabet or (),  # type: ignore[arg-type]
                prefix=continuing_subword_prefix,
                suffix=end_of_word_suffix,
                spec=spec,
                **common,
            )
            return lambda size: spec(learnt.first(size))

        return _finished(characters, sizes, snapshots)

    def of_bytes() -> Callable[[int], TokenizerSpec]:
        alphabet = range(256) if initial_alphabet is None else initial_alphabet
        learnt = learn(words, vocab_size, initial_alphabet=alphabet, seed_merges=pairs_of(seeds), **common)  # type: ignore[arg-type]
        return lambda size: spec_of_bytes(learnt.first(size), words.pattern)

    return _finished(of_bytes, sizes, snapshots)


def _pieces(
    source: Source | WordCounts, vocab_size: int, options: SentencePieceOptions, reading: dict[str, Any]
) -> Callable[[int], TokenizerSpec]:
    words = sentence_words(source, options, vocab_size, **reading)
    learnt = learn_pieces(words, vocab_size, options, reading["progress"])
    return lambda size: spec_of_pieces(learnt, size, options)


def _finished(
    train: Callable[[], Callable[[int], TokenizerSpec]], sizes: list[int], snapshots: Iterable[int] | None
) -> Tokenizer | dict[int, Tokenizer]:
    """The tokenizers that `train` gives by their sizes; the largest alone without `snapshots`."""
    try:
        spec = train()
    except Interrupted as interrupted:
        raise TrainingInterrupted(Tokenizer(interrupted.spec)) from None
    return Tokenizer(spec(sizes[-1])) if snapshots is None else {size: Tokenizer(spec(size)) for size in sizes}


def train_wordpiece(
    source: Source | WordCounts,
    vocab_size: int,
    *,
    pattern: str | None = WHITESPACE,
    min_frequency: int = 0,
    special_tokens: Iterable[str] = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"),
    unk_token: str = "[UNK]",
    initial_alphabet: Iterable[str] = (),
    limit_alphabet: int | None = None,
    continuing_subword_prefix: str = "##",
    separator: str | bytes | None = None,
    column: str = "text",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Report | None = None,
) -> Tokenizer:
    """A WordPiece tokenizer of at most `vocab_size` tokens, learnt from texts.

    Its tokens are those of BPE over characters with the prefix (`train_bpe` with byte_level=False), as tokenizers' own
    WordPieceTrainer has it, but the same in every run; the arguments are those of `train_bpe`.
    """
    specials = list(dict.fromkeys(special_tokens))
    _check(vocab_size, "hf", min_frequency, limit_alphabet, None, specials)
    if unk_token not in specials:
        raise ValueError(f"unk_token = {unk_token!r} is none of special_tokens")
    if isinstance(source, WordCounts):
        words = source
    else:
        reading: dict[str, Any] = {"separator": separator, "column": column, "threads": threads}
        words = count_words(source, pattern, max_memory=max_memory, progress=progress, **reading)

    def spec(learnt: Learnt) -> TokenizerSpec:
        return spec_of_word_pieces(learnt, words.pattern, continuing_subword_prefix, unk_token)

    try:
        learnt = learn_characters(
            words,
            vocab_size,
            min_frequency=min_frequency,
            special_tokens=specials,
            initial_alphabet=initial_alphabet,
            limit_alphabet=limit_alphabet,
            prefix=continuing_subword_prefix,
            progress=progress,
            spec=spec,
        )
    except Interrupted as interrupted:
        raise TrainingInterrupted(Tokenizer(interrupted.spec)) from None
    return Tokenizer(spec(learnt))


def _sizes(vocab_size: int, snapshots: Iterable[int] | None) -> list[int]:
    sizes = sorted({vocab_size, *(snapshots or ())})
    if sizes[-1] > vocab_size:
        raise ValueError(f"snapshots: {sizes[-1]} is larger than vocab_size = {vocab_size}")
    return sizes


def _check(
    vocab_size: int,
    ties: str,
    min_frequency: int,
    limit_alphabet: int | None,
    max_token_length: int | None,
    special_tokens: list[str],
) -> None:
    if ties not in get_args(Ties):
        raise ValueError(f"ties = {ties!r}; want one of {', '.join(get_args(Ties))}")
    if not 1 <= vocab_size < 2**21 - 1:
        raise ValueError(f"vocab_size = {vocab_size} is outside [1, {2**21 - 1})")
    if min_frequency < 0:
        raise ValueError(f"min_frequency = {min_frequency}; at least 0 is allowed")
    if limit_alphabet is not None and limit_alphabet < 1:
        raise ValueError(f"limit_alphabet = {limit_alphabet}; at least 1 is allowed, or None for no limit")
    if max_token_length is not None and max_token_length < 1:
        raise ValueError(f"max_token_length = {max_token_length}; at least 1 is allowed, or None for no limit")
    if "" in special_tokens:
        raise ValueError("special_tokens: '' is empty; want at least one character")
