"""How a Unigram model is learnt, in plain Python with float64: what csrc/text/unigram_train.h computes fast.

A model is a dictionary, piece -> score (the natural logarithm of its probability). Words are a dictionary, word ->
count, of normalized text in which U+2581 marks white space.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from lmfast.reference.text.merges import is_piece
from lmfast.text.sentencepiece_options import SentencePieceOptions

__all__ = [
    "best",
    "digamma",
    "expected_counts",
    "forward",
    "losses",
    "maximize",
    "occurrences",
    "prune",
    "seeds",
    "segmentations",
    "shadowed",
    "train",
]

Words = Mapping[str, int]
Model = dict[str, float]

UNKNOWN_PENALTY = 10.0
LEAST_EXPECTED = 0.5


def segmentations(word: str, model: Mapping[str, float]) -> Iterator[list[str]]:
    """All ways to write a word as pieces; a character that is no piece stands alone."""
    if not word:
        yield []
    for n in range(1, len(word) + 1):
        if word[:n] in model or n == 1:
            for rest in segmentations(word[n:], model):
                yield [word[:n], *rest]


def score(piece: str, model: Mapping[str, float]) -> float:
    """Of a piece, or of an unknown character."""
    return model[piece] if piece in model else min(model.values()) - UNKNOWN_PENALTY


def forward(word: str, model: Mapping[str, float]) -> list[float]:
    """The logarithm of the total probability of all segmentations of word[:i], for each i."""
    terms: list[list[float]] = [[0.0], *([] for _ in word)]
    sums = [0.0] * (len(word) + 1)
    for start, stop, piece in _edges(word, model):
        sums[start] = log_sum(terms[start])
        terms[stop].append(sums[start] + score(piece, model))
    return [*sums[:-1], log_sum(terms[-1])]


def log_sum(terms: list[float]) -> float:
    """log(sum(exp(term)))"""
    most = max(terms)
    return most + math.log(math.fsum(math.exp(term - most) for term in terms))


def expected_counts(words: Words, model: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """How often each piece is expected to occur, over all segmentations by their probabilities; the log-likelihood."""
    expected: dict[str, list[float]] = defaultdict(list)
    log_likelihood = 0.0
    for word, count in words.items():
        alpha = forward(word, model)
        beta = forward(word[::-1], {piece[::-1]: value for piece, value in model.items()})[::-1]
        log_likelihood += count * alpha[-1]
        for start, stop, piece in _edges(word, model):
            if piece in model:
                share = math.exp(alpha[start] + score(piece, model) + beta[stop] - alpha[-1])
                expected[piece].append(count * share)
    return {piece: math.fsum(expected[piece]) for piece in model}, log_likelihood


def digamma(x: float) -> float:
    """The derivative of log(gamma(x)), x > 0, to about 1e-9."""
    result = 0.0
    while x < 7:
        result -= 1 / x
        x += 1
    x -= 0.5
    return result + math.log(x) + 1 / (24 * x**2) - 7 / (960 * x**4) + 31 / (8064 * x**6) - 127 / (30720 * x**8)


def maximize(expected: Mapping[str, float]) -> Model:
    """The next model. The digamma function makes for a sparse one: it lowers what is rare.

    Pieces expected less than half a time go, but characters stay.
    """
    kept = {
        piece: max(count, LEAST_EXPECTED)
        for piece, count in expected.items()
        if count >= LEAST_EXPECTED or len(piece) == 1
    }
    norm = digamma(math.fsum(kept.values()))
    return {piece: digamma(count) - norm for piece, count in kept.items()}


def best(word: str, model: Mapping[str, float], without: str | None = None) -> tuple[list[str], float]:
    """The segmentation with the largest sum of scores; of equals the one whose last piece is longest, and so on."""
    found: list[tuple[float, list[str]]] = [(0.0, []), *((-math.inf, []) for _ in word)]
    for start, stop, piece in _edges(word, model):
        total = found[start][0] + score(piece, model)
        if piece != without and total > found[stop][0]:
            found[stop] = total, [*found[start][1], piece]
    return found[-1][1], found[-1][0]


def occurrences(words: Words, model: Mapping[str, float]) -> dict[str, float]:
    """How often each piece occurs in the best segmentations."""
    found = dict.fromkeys(model, 0.0)
    for word, count in words.items():
        for piece in best(word, model)[0]:
            if piece in found:
                found[piece] += count
    return found


def losses(model: Mapping[str, float], counts: Mapping[str, float]) -> dict[str, float]:
    """How much log-likelihood each piece is worth, for each token: what is lost when others spell all its occurrences.

    Pieces that do not occur, or that others spell better, are worth nothing and missing; so are characters.
    """
    total = math.fsum(counts.values())
    found = {}
    for piece, count in counts.items():
        if len(piece) == 1 or not count:
            continue
        others, other_score = best(piece, model, without=piece)
        if other_score > model[piece]:
            continue
        norm = math.log(total + count * (len(others) - 1))
        instead = sum(math.log(counts.get(other, 0.0) + count) - norm for other in others)
        found[piece] = count / total * (math.log(count) - math.log(total) - instead)
    return found


def prune(model: Mapping[str, float], counts: Mapping[str, float], target: int) -> Model:
    """The characters, and the pieces of the greatest losses, `target` in all."""
    worth = losses(model, counts)
    kept = [piece for piece in model if len(piece) == 1]
    kept += sorted(worth, key=lambda piece: -worth[piece])[: max(0, target - len(kept))]
    return {piece: model[piece] for piece in kept}


def shadowed(model: Mapping[str, float]) -> set[str]:
    """The pieces that others spell better, so that no best segmentation has them."""
    return {piece for piece in model if len(piece) > 1 and best(piece, model, without=piece)[1] > model[piece]}


def seeds(
    words: Words, characters: Iterable[str], options: SentencePieceOptions, size: int, least_closed: int = 2
) -> Model:
    """The first model: the characters, and the `size` best substrings that occur twice and go on in different ways.

    The score of a substring is its count times its length; what ends a word goes on in different ways. What could be
    longer nowhere, for a word, a script or the length of a piece ends there, has to occur `least_closed` times.
    """
    alphabet = set(characters)
    counts: dict[str, int] = defaultdict(int)
    followed: dict[str, set[str]] = defaultdict(set)
    closed: dict[str, bool] = defaultdict(lambda: True)
    for word, count in words.items():
        for start in range(len(word)):
            for stop in range(start + 1, min(len(word), start + options.max_sentencepiece_length) + 1):
                piece = word[start:stop]
                if set(piece) <= alphabet and (len(piece) == 1 or is_piece(piece, options)):
                    counts[piece] += count
                    followed[piece] |= {"", "end"} if stop == len(word) else {_known(word[stop], alphabet)}
                    closed[piece] &= not _goes_on(word[start : stop + 1], len(piece), alphabet, options)
    substrings = [
        piece
        for piece in counts
        if len(piece) > 1 and counts[piece] >= (least_closed if closed[piece] else 2) and len(followed[piece]) > 1
    ]
    # Single precision decides here which are equal.
    worth = {piece: np.float32(counts[piece]) * np.float32(len(piece)) for piece in substrings}
    substrings.sort(key=lambda piece: (-worth[piece], -len(piece.encode()), piece))
    single = sorted((c for c in alphabet if counts[c]), key=lambda c: (-counts[c], c))
    first = {c: float(np.float32(counts[c])) for c in single} | {p: float(worth[p]) for p in substrings[:size]}
    norm = math.log(math.fsum(first.values()))
    return {piece: math.log(value) - norm for piece, value in first.items()}


def train(
    words: Words,
    characters: Iterable[str],
    target: int,
    options: SentencePieceOptions,
    *,
    seed_size: int = 1_000_000,
    shrinking_factor: float = 0.75,
    sub_iterations: int = 2,
) -> Model:
    """The model of at most `target` pieces: maximization and pruning in turns, and maximization at the end."""
    model = seeds(words, characters, options, seed_size)
    before = -1
    while before != len(model):
        before = len(model)
        for _ in range(sub_iterations):
            model = maximize(expected_counts(words, model)[0])
        model = prune(model, occurrences(words, model), max(target, int(shrinking_factor * len(model))))
        if len(model) <= target:
            break
    for _ in range(sub_iterations):
        model = maximize(expected_counts(words, model)[0])
    gone = shadowed(model)
    return {piece: value for piece, value in model.items() if piece not in gone}


def _edges(word: str, model: Mapping[str, float]) -> Iterator[tuple[int, int, str]]:
    """(start, stop, piece) of all pieces in a word and its unknown characters, by their starts."""
    for start in range(len(word)):
        for stop in range(start + 1, len(word) + 1):
            if word[start:stop] in model or stop == start + 1:
                yield start, stop, word[start:stop]


def _goes_on(longer: str, n: int, alphabet: set[str], options: SentencePieceOptions) -> bool:
    """Whether the first n characters could be longer in a piece, wherever white space may stand."""
    return len(longer) > n and set(longer) <= alphabet and is_piece(longer.replace("\u2581", "\u0301"), options)


def _known(character: str, alphabet: set[str]) -> str:
    return character if character in alphabet else "unknown"
