"""Training a Unigram model: from texts to a tokenizer that chooses the most probable segmentation.

Lines of text are normalized and cut into words, which are counted (`lmfast.text.words`); the repeated substrings of the
words are the first pieces, and rounds of expectation-maximization and pruning leave the best of them
(csrc/text/unigram_train.h). `mode` chooses the arithmetic; `lmfast.reference.text.unigram_train` has the definition.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from lmfast import threads as _threads
from lmfast.text._train import Sentences, Words
from lmfast.text._train_unigram import Trainer, count_characters
from lmfast.text.charsmaps import scripts
from lmfast.text.line_ends import LineEnds, marked
from lmfast.text.sentencepiece_options import SentencePieceOptions
from lmfast.text.spec import Kind, TokenizerSpec, Unigram, Vocab
from lmfast.text.tokenizer import Tokenizer
from lmfast.text.train_sentencepiece import required_characters, spec_of_model
from lmfast.text.words import Progress, Source, WordCounts, count_by

__all__ = ["LearntUnigram", "Mode", "Round", "learn_unigram", "train_unigram", "unigram_words"]

Mode: TypeAlias = Literal["fast", "sentencepiece"]

_NO_LIMIT = 2**30 - 1
_SENTENCEPIECE_LIMIT = 4192
_OVERSHOOT = 1.1  # training ends with so many times the pieces that are wanted
_SHRINKING_FACTOR: dict[Mode, float] = {"fast": 0.6, "sentencepiece": 0.75}
_SUB_ITERATIONS: dict[Mode, int] = {"fast": 1, "sentencepiece": 2}
_LEAST_CLOSED = 5  # so often occurs what fast training begins with and no longer piece could begin with, ...
_MANY_WORDS = 4  # ... where there are so many different words for a piece that the rare ones are not needed
_PENALTY = np.float32(0.0001)  # between required characters that no piece is left of
_LONG_VOWEL = 0x30FC  # of Katakana, though its script is Common
_UNKNOWN = 0x2585


class Round(NamedTuple):
    """How far expectation-maximization has come."""

    number: int
    """of passes over the words, from 1"""
    pieces: int
    """there are now"""
    target: int
    """at which training ends"""
    log_likelihood: float
    """of the words, in nats, under the pieces before this pass"""
    seconds_left: float
    """about"""


def train_unigram(
    source: Source | WordCounts,
    vocab_size: int,
    *,
    mode: Mode = "fast",
    normalizer: str | bytes = "nmt_nfkc",
    character_coverage: float = 0.9995,
    required_chars: str = "",
    control_symbols: Iterable[str] = (),
    user_defined_symbols: Iterable[str] = (),
    byte_fallback: bool = False,
    seed_size: int = 1_000_000,
    shrinking_factor: float | None = None,
    sub_iterations: int | None = None,
    max_piece_length: int = 16,
    split_by_whitespace: bool = True,
    split_by_unicode_script: bool = True,
    split_by_number: bool = True,
    split_digits: bool = False,
    treat_whitespace_as_suffix: bool = False,
    allow_whitespace_only_pieces: bool = False,
    add_dummy_prefix: bool = True,
    remove_extra_whitespaces: bool = True,
    max_sentence_length: int | None = None,
    hard_vocab_limit: bool = True,
    unk_id: int = 0,
    bos_id: int = 1,
    eos_id: int = 2,
    pad_id: int = -1,
    unk_piece: str = "<unk>",
    bos_piece: str = "<s>",
    eos_piece: str = "</s>",
    pad_piece: str = "<pad>",
    unk_surface: str = " \u2047 ",
    num_threads: int = 16,
    separator: str | bytes | None = None,
    column: str = "text",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Callable[[Progress | Round], object] | None = None,
) -> Tokenizer:
    """A Unigram tokenizer of `vocab_size` pieces, learnt from texts.

    source                a path; an iterable of texts (str, bytes) and files (`pathlib.Path`), all read by lines; or
                          `WordCounts`, of which every word is a line with its count, as in sentencepiece's "tsv"
    vocab_size            how many pieces there will be, those that are not learnt among them
    mode                  "fast": float64, all lines whatever their length, scores estimated again for the last pieces.
                          "sentencepiece": the pieces and scores of sentencepiece 0.2.3, see below
    normalizer            a name in `lmfast.text.charsmaps.CHARSMAPS` or the bytes of a charsmap
    character_coverage    pieces of one character are the most frequent ones that make up this share of the text
    required_chars        ... and these
    control_symbols       pieces that no text becomes
    user_defined_symbols  pieces that text always becomes
    byte_fallback         characters without a piece become 256 pieces for the bytes of their UTF-8
    seed_size             how many substrings training begins with; 0: the larger of 100,000 and 8 `vocab_size`
    shrinking_factor      what share of the pieces a round keeps; None: 0.6, with mode="sentencepiece" its 0.75
    sub_iterations        expectation-maximization passes in a round; None: 1, with mode="sentencepiece" its 2
    max_piece_length      in characters
    split_by_whitespace   white space is only at the beginning of a piece (at the end with `treat_whitespace_as_suffix`)
    split_by_unicode_script  pieces have characters of one script, numbers being Common (any with
                          `split_by_number=False`)
    split_digits          every digit is a piece
    allow_whitespace_only_pieces  ... such as two spaces
    add_dummy_prefix, remove_extra_whitespaces  as `lmfast.text.spec.SentencePieceNormalizer`
    max_sentence_length   in bytes: longer lines are left out. None: no limit; 4192 with mode="sentencepiece"
    hard_vocab_limit      False: there may be fewer pieces than `vocab_size`
    unk_id ... unk_surface  ids (-1: there is none) and pieces as in sentencepiece
    num_threads           with mode="sentencepiece": its option of that name, on which its result depends
    separator             in files: also ends a line
    column                of files of rows: where the text is
    threads               how many; None: as many as there are processors. The result is the same for any number
    max_memory            for counting, see `count_words`
    progress              called with a `Progress` while words are counted, then with a `Round` after each pass; what it
                          raises ends the training

    Exactness: with mode="sentencepiece", pieces, ids and scores (float32) equal those of sentencepiece 0.2.3 with the
    same `num_threads`, for all options above and text of up to 500 MB, on the same machine: both use its C library's
    `exp`, `log` and `log1p`. Larger text is not the same, since sentencepiece looks for its first pieces in parts of
    500 MB then. Where words need not begin with U+2581 (`add_dummy_prefix=False`, `treat_whitespace_as_suffix=True`,
    `split_by_whitespace=False`), the ends of all lines are in memory, with the last of these options all lines.

    Errors: ValueError for a size that the pieces do not fit, in sentencepiece's words, or a source without a line;
    OSError for a file that cannot be read.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode = {mode!r}; want 'fast' or 'sentencepiece'")
    exact = mode == "sentencepiece"
    if max_sentence_length is None:
        max_sentence_length = _SENTENCEPIECE_LIMIT if exact else _NO_LIMIT
    options = SentencePieceOptions(
        normalizer=normalizer,
        character_coverage=character_coverage,
        required_chars=required_chars,
        control_symbols=_strings("control_symbols", control_symbols),
        user_defined_symbols=_strings("user_defined_symbols", user_defined_symbols),
        byte_fallback=byte_fallback,
        split_digits=split_digits,
        split_by_unicode_script=split_by_unicode_script,
        split_by_number=split_by_number,
        split_by_whitespace=split_by_whitespace,
        treat_whitespace_as_suffix=treat_whitespace_as_suffix,
        allow_whitespace_only_pieces=allow_whitespace_only_pieces,
        add_dummy_prefix=add_dummy_prefix,
        remove_extra_whitespaces=remove_extra_whitespaces,
        max_sentencepiece_length=max_piece_length,
        max_sentence_length=max_sentence_length,
        hard_vocab_limit=hard_vocab_limit,
        unk_id=unk_id,
        bos_id=bos_id,
        eos_id=eos_id,
        pad_id=pad_id,
        unk_piece=unk_piece,
        bos_piece=bos_piece,
        eos_piece=eos_piece,
        pad_piece=pad_piece,
        unk_surface=unk_surface,
    )
    _check(vocab_size, seed_size, shrinking_factor, sub_iterations, num_threads)
    words, last = unigram_words(
        source,
        options,
        vocab_size,
        mode=mode,
        separator=separator,
        column=column,
        threads=threads,
        max_memory=max_memory,
        progress=progress,
    )
    counts = count_characters(words.blob, words.offsets, words.counts)
    required = _required(counts, vocab_size, options)
    trainer = _trainer(words, last, required, vocab_size, options, mode, seed_size, num_threads)
    del words  # the trainer has them in its own way
    learnt = learn_unigram(
        trainer,
        required,
        vocab_size,
        options,
        mode=mode,
        shrinking_factor=shrinking_factor,
        sub_iterations=sub_iterations,
        threads=threads,
        progress=progress,
    )
    del trainer
    return Tokenizer(_spec(learnt, vocab_size, options))


def unigram_words(
    source: Source | WordCounts,
    options: SentencePieceOptions,
    vocab_size: int,
    *,
    mode: Mode = "fast",
    separator: str | bytes | None = None,
    column: str = "text",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Callable[[Progress | Round], object] | None = None,
) -> tuple[WordCounts, bytes | None]:
    """The words of normalized lines, and the last of them where csrc/text/unigram_train.h wants it.

    For mode="sentencepiece" words have a mark behind them that says what follows, as that file explains.
    """
    exact = mode == "sentencepiece"
    # All words but the first begin with U+2581, and so do all sentences: then only the ends of sentences matter.
    simple = options.split_by_whitespace and options.add_dummy_prefix and not options.treat_whitespace_as_suffix
    sentences = Sentences(
        options.charsmap,
        [piece.encode() for piece, _ in options.meta_pieces(vocab_size).values()],
        add_dummy_prefix=options.add_dummy_prefix,
        remove_extra_whitespaces=options.remove_extra_whitespaces,
        treat_whitespace_as_suffix=options.treat_whitespace_as_suffix,
        max_bytes=options.max_sentence_length,
        split_by_whitespace=options.split_by_whitespace,
        allow_whitespace_only_pieces=options.allow_whitespace_only_pieces,
        behind="nothing" if not exact else "ends" if simple else "next",
    )
    line_ends = LineEnds(keeps_all=not simple)

    def count(table: Words, text: Any, spans: NDArray[np.int64], position: int, counts: Any) -> None:
        ends = sentences.count(table, text, spans, position, counts)
        if ends is not None:
            line_ends.add(position, len(text), *ends)

    words = count_by(
        count,
        source,
        separator=separator,
        column=column,
        threads=threads,
        max_memory=max_memory,
        progress=progress,
    )
    last = None
    if exact:
        found = line_ends.sentences()
        if simple:
            last = found[-1].last if found else None
        else:
            words = (
                _in_rows(list(marked(found)))
                if not options.split_by_whitespace
                else (WordCounts.from_items([*words, *marked(found)], None))
            )
    if not len(words):
        limit = (
            ""
            if options.max_sentence_length == _NO_LIMIT
            else (f", and those that are longer than max_sentence_length = {options.max_sentence_length} bytes")
        )
        raise ValueError(f"source: no line to learn from; empty lines and lines with U+2585 are left out{limit}")
    return words, last


def _in_rows(pairs: list[tuple[bytes, int]]) -> WordCounts:
    """Words and their counts as they are, equal ones apart."""
    offsets = np.cumsum([0, *(len(word) for word, _ in pairs)], dtype=np.int64)
    return WordCounts(b"".join(word for word, _ in pairs), offsets, np.array([n for _, n in pairs], np.int64), None)


@dataclass(frozen=True, eq=False)
class LearntUnigram:
    """What training found.

    pieces  the most probable first
    scores  float64[n], natural logarithms; those of sentencepiece are float32 numbers
    rounds  what each pass found
    """

    pieces: list[bytes]
    scores: NDArray[np.float64]
    rounds: list[Round]


def _required(counts: NDArray[np.int64], vocab_size: int, options: SentencePieceOptions) -> dict[int, int]:
    """The characters that are pieces and their counts, of the counts of all code points."""
    found = np.flatnonzero(counts)
    required = required_characters(dict(zip(found.tolist(), counts[found].tolist(), strict=True)), options)
    n_meta = len(options.meta_pieces(vocab_size))
    if len(required) + n_meta > vocab_size:
        raise ValueError(
            f"Vocabulary size is smaller than required_chars. {vocab_size} vs {len(required) + n_meta}. "
            "Increase vocab_size or decrease character_coverage"
        )
    if not required.keys() & set(found.tolist()):
        raise ValueError("source: no character to learn from")
    return required


def _trainer(
    words: WordCounts,
    last: bytes | None,
    required: Mapping[int, int],
    vocab_size: int,
    options: SentencePieceOptions,
    mode: Mode,
    seed_size: int,
    num_threads: int,
) -> Trainer:
    return Trainer(
        words.blob,
        words.offsets,
        words.counts,
        *_alphabet(required),
        exact=mode == "sentencepiece",
        n_sums=num_threads,
        seed_size=seed_size or max(100_000, 8 * vocab_size),
        max_length=options.max_sentencepiece_length,
        least_closed=_LEAST_CLOSED if mode == "fast" and len(words) > _MANY_WORDS * vocab_size else 2,
        split_by_script=options.split_by_unicode_script,
        split_by_number=options.split_by_number,
        split_digits=options.split_digits,
        split_by_whitespace=options.split_by_whitespace,
        whitespace_as_suffix=options.treat_whitespace_as_suffix,
        whitespace_only=options.allow_whitespace_only_pieces,
        in_order=not options.split_by_whitespace,
        last=last,
    )


def learn_unigram(
    trainer: Trainer,
    required: Mapping[int, int],
    vocab_size: int,
    options: SentencePieceOptions,
    *,
    mode: Mode = "fast",
    shrinking_factor: float | None = None,
    sub_iterations: int | None = None,
    threads: int | None = None,
    progress: Callable[[Progress | Round], object] | None = None,
) -> LearntUnigram:
    """The pieces of counted words, as many as there is room for beside those that are not learnt."""
    shrinking_factor = shrinking_factor or _SHRINKING_FACTOR[mode]
    sub_iterations = sub_iterations or _SUB_ITERATIONS[mode]
    n_meta = len(options.meta_pieces(vocab_size))
    training = _Training(trainer, _threads.count(threads), int(vocab_size * _OVERSHOOT), shrinking_factor, progress)
    training.seed()
    training.shrink(sub_iterations)
    if mode == "fast":
        training.maximize(sub_iterations)
    training.drop_shadowed()
    return LearntUnigram(*_best(trainer, required, vocab_size - n_meta, mode), training.rounds)


class _Training:
    """The stages of one training, each in parts that threads share."""

    def __init__(
        self,
        trainer: Trainer,
        workers: int,
        target: int,
        shrinking_factor: float,
        progress: Callable[[Progress | Round], object] | None,
    ) -> None:
        self._trainer = trainer
        self._workers = workers
        self._target = target
        self._shrinking_factor = shrinking_factor
        self._progress = progress
        self._began = time.monotonic()
        self.rounds: list[Round] = []

    def seed(self) -> None:
        self._run("sort")
        self._trainer.select()
        self._run("link")
        self._trainer.lay()
        self._run("fill")
        self._trainer.begin()

    def shrink(self, sub_iterations: int) -> None:
        """Rounds until there are no more pieces than wanted, or no more can be dropped."""
        n_before = math.inf
        while True:
            self.maximize(sub_iterations)
            n = self._trainer.alive()
            self._run("viterbi")
            self._trainer.add()
            self._run("loss")
            # As sentencepiece computes it.
            self._trainer.prune(max(self._target, int(np.float32(self._shrinking_factor) * np.float32(n))))
            self._run("compact")
            n = self._trainer.alive()
            if n <= self._target or n == n_before:
                return
            n_before = n

    def maximize(self, sub_iterations: int) -> None:
        for _ in range(sub_iterations):
            began = time.monotonic()
            self._run("expect")
            log_likelihood = self._trainer.add()
            self._trainer.maximize()
            self._run("compact")
            if not self._trainer.alive():  # sentencepiece refuses too
                raise ValueError("source: too little text; no piece is expected to occur half a time")
            self._report(log_likelihood, time.monotonic() - began, sub_iterations)

    def drop_shadowed(self) -> None:
        self._run("shadow")
        self._trainer.reach()

    def _run(self, stage: str) -> None:
        parts = [partial(self._trainer.run, stage, part) for part in range(self._trainer.parts(stage))]
        _threads.run(parts, self._workers)

    def _report(self, log_likelihood: float, seconds: float, sub_iterations: int) -> None:
        pieces = self._trainer.alive()
        n_left = max(0, math.ceil(math.log(self._target / pieces) / math.log(self._shrinking_factor)))
        # A round is about so much shorter than the one before; pruning takes about as long as a pass.
        left = sum(self._shrinking_factor**k for k in range(n_left)) * seconds * (sub_iterations + 1)
        self.rounds.append(Round(len(self.rounds) + 1, pieces, self._target, log_likelihood, left))
        if self._progress is not None:
            self._progress(self.rounds[-1])


def _alphabet(required: Mapping[int, int]) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """The characters, rising, and their scripts for csrc/text/unigram_train.h: 0 Common, 1 inherited."""
    characters = np.array(sorted(required.keys() - {_UNKNOWN}), np.uint32)
    of, names = scripts()
    han = names.index("Han")
    numbers = np.arange(len(names), dtype=np.uint8) + 1
    numbers[names.index("Common")] = 0
    numbers[names.index("Inherited")] = 1
    numbers[[names.index("Hiragana"), names.index("Katakana")]] = han + 1
    found = numbers[of[characters]]
    found[characters == _LONG_VOWEL] = han + 1
    return characters, found


def _best(trainer: Trainer, required: Mapping[int, int], n: int, mode: Mode) -> tuple[list[bytes], NDArray[np.float64]]:
    """The required characters and, up to `n`, the other pieces of the highest scores."""
    blob, offsets, scores, _, _ = trainer.pieces()
    strings = [blob[start:stop] for start, stop in pairwise(offsets.tolist())]
    by_string = np.array(sorted(range(len(strings)), key=strings.__getitem__))
    by_score = by_string[np.argsort(-scores[by_string], kind="stable")]
    alone = [chr(code).encode() for code in sorted(required, key=lambda code: (-required[code], code))]
    left_out = set(alone).difference(strings)
    room = n - len(alone)
    kept = set(alone)
    pieces: list[bytes] = []
    found: list[float] = []
    for piece, score in zip(map(strings.__getitem__, by_score.tolist()), scores[by_score].tolist(), strict=True):
        room -= piece not in kept
        if room >= 0 or piece in kept:
            pieces.append(piece)
            found.append(score)
    if not left_out:
        return pieces, np.array(found)
    exact = np.float32 if mode == "sentencepiece" else np.float64
    least = exact(scores.min())
    penalty = exact(0)
    for piece in alone:
        if piece in left_out:
            pieces.append(piece)
            found.append(float(least + penalty))
            penalty += exact(_PENALTY)
    order = sorted(range(len(pieces)), key=lambda i: (-found[i], pieces[i]))
    return [pieces[i] for i in order], np.array(found)[order]


def _spec(learnt: LearntUnigram, vocab_size: int, options: SentencePieceOptions) -> TokenizerSpec:
    meta = options.meta_pieces(vocab_size)
    n_pieces = len(meta) + len(learnt.pieces)
    if options.hard_vocab_limit and n_pieces != vocab_size:
        raise ValueError(
            f"Vocabulary size too high ({vocab_size}). Please set it to a value <= {n_pieces}, or give "
            "hard_vocab_limit=False"
        )
    if meta and max(meta) >= n_pieces:
        raise ValueError(
            f"the piece {meta[max(meta)][0]!r} has the id {max(meta)}, and there are {n_pieces} pieces only"
        )
    kinds = np.full(n_pieces, Kind.NORMAL, np.uint8)
    kinds[list(meta)] = [kind for _, kind in meta.values()]
    scores = np.zeros(n_pieces)
    scores[kinds == Kind.NORMAL] = learnt.scores
    given = {piece.encode(): token_id for token_id, (piece, _) in meta.items()}
    if len(given) < len(meta) or not given.keys().isdisjoint(learnt.pieces):
        twice = [piece for piece, _ in meta.values()] + [piece.decode() for piece in learnt.pieces]
        raise ValueError(f"{next(piece for piece in twice if twice.count(piece) > 1)} is already defined")
    pieces = list(learnt.pieces)
    for token_id, (piece, _) in sorted(meta.items()):
        pieces.insert(token_id, piece.encode())
    offsets = np.append(0, np.cumsum(np.fromiter(map(len, pieces), np.int64, n_pieces)))
    vocab = Vocab(np.arange(n_pieces, dtype=np.uint32), offsets, b"".join(pieces))
    model = Unigram(vocab, scores, kinds, options.unk_id, options.byte_fallback)
    return spec_of_model(model, meta, options)


def _strings(name: str, values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError(f"{name}: want strings, got one: {values!r}")
    return tuple(values)


def _check(
    vocab_size: int, seed_size: int, shrinking_factor: float | None, sub_iterations: int | None, num_threads: int
) -> None:
    if vocab_size < 1:
        raise ValueError(f"vocab_size = {vocab_size}; want at least 1")
    if seed_size < 0:
        raise ValueError(f"seed_size = {seed_size}; want 0 or more")
    if shrinking_factor is not None and not 0.5 <= shrinking_factor <= 0.95:
        raise ValueError(f"shrinking_factor = {shrinking_factor}; want 0.5 to 0.95")
    if sub_iterations is not None and not 1 <= sub_iterations <= 10:
        raise ValueError(f"sub_iterations = {sub_iterations}; want 1 to 10")
    if not 1 <= num_threads <= 1024:
        raise ValueError(f"num_threads = {num_threads}; want 1 to 1024")
