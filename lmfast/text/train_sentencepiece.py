"""BPE by the rules of sentencepiece 0.2.3: from lines of text to a `.model`.

It differs from other BPE in what it counts (normalized lines, cut into words at the marker of white space U+2581), in
what may be merged (csrc/text/piece_rules.h), in which of equally frequent pairs comes first (the one that makes the
shorter piece, then the lesser string), and in that a merge leaves a score, not a rule: the pieces are numbered as they
were found. Where no pair is left, pairs that occurred once upon a time are pieces too, the shorter ones first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lmfast import _checking
from lmfast.text._train import A_BREAK, ALONE, SCRIPT_ANY, SCRIPT_NONE, SPACE, Sentences, Trainer
from lmfast.text.characters import Characters
from lmfast.text.charsmaps import scripts
from lmfast.text.formats.sentencepiece import read_bytes, to_bytes
from lmfast.text.merging import Interrupted, make_merges
from lmfast.text.sentencepiece_options import SentencePieceOptions
from lmfast.text.spec import (
    AddedToken,
    Kind,
    ScoredBPE,
    SentencePieceDecoder,
    SentencePieceNormalizer,
    TokenizerSpec,
    Unigram,
    Vocab,
)
from lmfast.text.words import Progress, Source, WordCounts, count_by

__all__ = ["LearntPieces", "learn_pieces", "required_characters", "sentence_words", "spec_of_model", "spec_of_pieces"]

_BOUNDARY = 0x1F  # what stands where a piece with a meaning of its own was
_MARKER = 0x2581
_LONG_VOWEL = 0x30FC  # of Katakana, though its script is Common
_DIGITS = (*range(0x30, 0x3A), *range(0xFF10, 0xFF1A))


def sentence_words(
    source: Source | WordCounts,
    options: SentencePieceOptions,
    vocab_size: int,
    *,
    separator: str | bytes | None = None,
    column: str = "text",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> WordCounts:
    """The words of normalized lines. Of `WordCounts` every word is a line, as in sentencepiece's format "tsv"."""
    marks = [piece.encode() for piece, _ in options.meta_pieces(vocab_size).values()]
    sentences = Sentences(
        options.charsmap,
        marks,
        add_dummy_prefix=options.add_dummy_prefix,
        remove_extra_whitespaces=options.remove_extra_whitespaces,
        treat_whitespace_as_suffix=options.treat_whitespace_as_suffix,
        max_bytes=options.max_sentence_length,
        split_by_whitespace=options.split_by_whitespace,
        allow_whitespace_only_pieces=options.allow_whitespace_only_pieces,
    )
    return count_by(
        sentences.count,
        source,
        separator=separator,
        column=column,
        threads=threads,
        max_memory=max_memory,
        progress=progress,
    )


def required_characters(counted: Mapping[int, int], options: SentencePieceOptions) -> dict[int, int]:
    """The characters that are pieces, the most frequent ones that make up `character_coverage`: code point -> count."""
    wanted = {ord(c) for c in options.required_chars} - {0}
    counts = {code: count for code, count in counted.items() if code} | {code: counted.get(code, 0) for code in wanted}
    total, covered = sum(counts.values()), 0
    least = np.float32(options.character_coverage)
    found = {}
    for code in sorted(counts, key=lambda code: (code not in wanted, -counts[code], code)):
        if np.float32(covered / total) >= least:
            break
        covered += counts[code]
        if code != _BOUNDARY:
            found[code] = counts[code]
    return found


@dataclass(frozen=True, eq=False)
class LearntPieces:
    """What training found.

    pieces    what merges made, in their order
    counts    how often each pair occurred when it was merged; 0 for those that occurred once upon a time
    required  the pieces of one character, in their order
    """

    pieces: list[bytes]
    counts: list[int]
    required: list[bytes]


def learn_pieces(
    words: WordCounts,
    vocab_size: int,
    options: SentencePieceOptions,
    progress: Callable[[Progress], object] | None = None,
) -> LearntPieces:
    """The pieces of the words of normalized lines, as many as there is room for beside those that are not learnt."""
    if not len(words):
        raise ValueError(
            "source: no line to learn from; sentencepiece leaves out empty lines and those that are longer "
            f"than max_sentence_length = {options.max_sentence_length} bytes"
        )
    characters = Characters(words)
    required = required_characters(characters.counts, options)
    n_meta = len(options.meta_pieces(vocab_size))
    n_merges = vocab_size - n_meta - len(required)
    if n_merges < 0:
        raise ValueError(
            f"vocab_size {vocab_size} is too small: {n_meta} pieces are given and {len(required)} characters are "
            "required"
        )
    alphabet = sorted(required)
    pieces = [chr(code).encode() for code in alphabet]

    def trainer(keeps: bool) -> Trainer:
        ids = np.full(0x110000, A_BREAK, np.uint32)
        ids[alphabet] = np.arange(len(alphabet))
        flags, of_scripts = _rules(np.array(alphabet, np.uint32), options)
        limits = (
            options.max_sentencepiece_length,
            not options.split_by_whitespace,
            options.treat_whitespace_as_suffix,
            options.allow_whitespace_only_pieces,
        )
        return Trainer(
            ids[characters.codes].view(np.uint8),
            characters.offsets,
            words.counts,
            None,
            strings=[(piece, i) for i, piece in enumerate(pieces)],
            n_symbols=len(pieces),
            first_id=len(pieces),
            n_ids=len(pieces) + n_merges,
            ties="pieces",
            min_count=1,
            max_length=0,
            pieces=limits,
            flags=flags,
            scripts=of_scripts,
            keeps=keeps,
            seeds=np.empty((0, 2), np.uint32),
        )

    single = [chr(code).encode() for code in sorted(required, key=lambda code: (-required[code], code))]
    running = trainer(keeps=False)

    def learnt() -> LearntPieces:
        return LearntPieces(_tokens(running, len(pieces)), running.merges()[1].tolist(), single)

    try:
        make_merges(running, n_merges, progress)
    except KeyboardInterrupt:
        found = learnt()
        n_pieces = n_meta + len(found.pieces) + len(single)
        raise Interrupted(spec_of_pieces(found, n_pieces, replace(options, hard_vocab_limit=False))) from None
    found = learnt()
    if _checking.on:
        _verify(words, required, n_merges, options, running)
    if len(found.pieces) == n_merges:
        return found
    keeping = trainer(keeps=True)
    make_merges(keeping, n_merges, None)
    once = _once(keeping, found.pieces)[: n_merges - len(found.pieces)]
    return LearntPieces(found.pieces + once, found.counts + [0] * len(once), single)


def _verify(
    words: WordCounts, required: dict[int, int], n_merges: int, options: SentencePieceOptions, trainer: Trainer
) -> None:
    """Raises KernelMismatchError unless the trainer did as the reference does."""
    from lmfast.reference.text import is_piece

    rows = [
        (list(part), count)
        for word, count in words
        for part in "".join(c if ord(c) in required else "\0" for c in word.decode()).split("\0")
    ]
    tokens = [token.decode() for token in _tokens(trainer, 0)]
    merges, counts = trainer.merges()
    pairs = zip(merges[:, :2].tolist(), counts.tolist(), strict=True)
    got = [(tokens[left], tokens[right], count) for (left, right), count in pairs]
    ids = {chr(code): i for i, code in enumerate(sorted(required))}
    allowed = partial(is_piece, options=options)
    _checking.verify_merges(rows, ids, len(ids) + n_merges, got, ties="pieces", allowed=allowed)


def _tokens(trainer: Trainer, first_id: int) -> list[bytes]:
    ids, offsets, blob = trainer.vocab()
    at = offsets[int(np.searchsorted(ids, first_id)) :].tolist()
    return [blob[start:stop] for start, stop in pairwise(at)]


def _once(trainer: Trainer, made: list[bytes]) -> list[bytes]:
    """The pieces of pairs that are not merged, the shorter ones in characters first."""
    tokens = _tokens(trainer, 0)
    pairs = trainer.born()
    left, right = (pairs >> np.uint64(32)).tolist(), (pairs & np.uint64(0xFFFFFFFF)).tolist()
    found = {tokens[a] + tokens[b] for a, b in zip(left, right, strict=True)} - set(made)
    return sorted(found, key=lambda piece: (len(piece.decode()), piece))


def _rules(alphabet: NDArray[np.uint32], options: SentencePieceOptions) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """uint8 flags and scripts of characters, for csrc/text/piece_rules.h."""
    of, names = scripts()
    found = of[alphabet]
    han = names.index("Han")
    for name in ("Hiragana", "Katakana"):
        found[found == names.index(name)] = han
    found[alphabet == _LONG_VOWEL] = han
    found[found == names.index("Inherited")] = SCRIPT_NONE
    digits = np.isin(alphabet, _DIGITS)
    if not options.split_by_number:
        found[digits] = SCRIPT_ANY
    if not options.split_by_unicode_script:
        found[:] = SCRIPT_ANY
    flags = np.zeros(len(alphabet), np.uint8)
    if options.split_digits:
        flags[digits] = ALONE
    spaces = alphabet == _MARKER
    found[spaces] = SCRIPT_NONE
    flags[spaces] = SPACE
    return flags, found


def spec_of_pieces(learnt: LearntPieces, vocab_size: int, options: SentencePieceOptions) -> TokenizerSpec:
    """The tokenizer of at most `vocab_size` pieces."""
    meta = options.meta_pieces(vocab_size)
    n_learnt = vocab_size - len(meta)
    n_merges = n_learnt - len(learnt.required)
    if n_merges < 0:
        raise ValueError(
            f"vocab_size {vocab_size} is too small: {len(meta)} pieces are given and {len(learnt.required)} characters "
            "are required"
        )
    pieces = iter([*learnt.pieces[:n_merges], *learnt.required])
    n_pieces = min(vocab_size, len(meta) + len(learnt.pieces[:n_merges]) + len(learnt.required))
    if options.hard_vocab_limit and n_pieces < vocab_size:
        raise ValueError(
            f"vocab_size {vocab_size} is too large: there are {n_pieces} pieces in all. Lower it, or give "
            "hard_vocab_limit=False"
        )
    if meta and max(meta) >= n_pieces:
        raise ValueError(
            f"the piece {meta[max(meta)][0]!r} has the id {max(meta)}, and there are {n_pieces} pieces only"
        )
    kinds = np.full(n_pieces, Kind.NORMAL, np.uint8)
    for token_id, (_, kind) in meta.items():
        kinds[token_id] = kind
    learnt_ones = kinds == Kind.NORMAL
    scores = np.where(learnt_ones, 1 - np.cumsum(learnt_ones), 0)
    known: dict[bytes, int] = {}
    for token_id in range(n_pieces):
        token = meta[token_id][0].encode() if token_id in meta else next(pieces)
        if known.setdefault(token, token_id) != token_id:
            raise ValueError(f"{token.decode()!r} is a symbol and a learnt piece")
    vocab = Vocab.from_items(known)
    model = ScoredBPE(vocab, scores.astype(np.float32), kinds, options.unk_id, options.byte_fallback)
    return spec_of_model(model, meta, options)


def spec_of_model(
    model: ScoredBPE | Unigram, meta: Mapping[int, tuple[str, Kind]], options: SentencePieceOptions
) -> TokenizerSpec:
    """The tokenizer around a model."""
    name = options.normalizer if isinstance(options.normalizer, str) else "user_defined"
    spec = TokenizerSpec(
        model,
        normalizer=(
            SentencePieceNormalizer(
                options.charsmap,
                options.add_dummy_prefix,
                options.remove_extra_whitespaces,
                treat_whitespace_as_suffix=options.treat_whitespace_as_suffix,
            ),
        ),
        added_tokens=tuple(
            AddedToken(piece, token_id) for token_id, (piece, kind) in sorted(meta.items()) if kind == Kind.CONTROL
        ),
        options=(
            ("sentencepiece.normalizer_spec", json.dumps({"name": name})),
            ("sentencepiece.trainer_spec", json.dumps(options.trainer_spec())),
        ),
        decoder=(
            SentencePieceDecoder(
                options.unk_surface,
                options.add_dummy_prefix,
                options.remove_extra_whitespaces,
                options.treat_whitespace_as_suffix,
            ),
        ),
    )
    return _as_read(spec)


def _as_read(spec: TokenizerSpec) -> TokenizerSpec:
    """The tokenizer as it is when read from its file; of the pieces, one goes through the file for all."""
    model = spec.model
    assert isinstance(model, (ScoredBPE, Unigram))
    vocab, kinds = Vocab.from_items({b"<unk>": 0}), np.array([Kind.UNKNOWN], np.uint8)
    rounded = model.scores.astype(np.float32)
    alone: ScoredBPE | Unigram
    whole: ScoredBPE | Unigram
    if isinstance(model, Unigram):
        alone, whole = Unigram(vocab, np.zeros(1), kinds, 0), replace(model, scores=rounded.astype(np.float64))
    else:
        alone, whole = ScoredBPE(vocab, np.zeros(1, np.float32), kinds, 0), replace(model, scores=rounded)
    frame = read_bytes(to_bytes(replace(spec, model=alone, added_tokens=())), where="what was learnt")
    return replace(frame, model=whole, added_tokens=spec.added_tokens)
