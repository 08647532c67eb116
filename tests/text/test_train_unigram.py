"""Training a Unigram model: the passes against their reference, the pieces against sentencepiece, hostile sources."""

import io
import math
import os
import threading
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import lmfast
from lmfast import threads as _threads
from lmfast.reference.text import unigram_train as reference
from lmfast.text import sources
from lmfast.text import train_unigram as module
from lmfast.text._train_unigram import LONGEST, Trainer, count_characters
from lmfast.text.line_ends import Line, LineEnds, in_order
from lmfast.text.sentencepiece_options import SentencePieceOptions
from lmfast.text.train_unigram import Round, train_unigram, unigram_words
from lmfast.text.train_unigram_cli import unigram
from lmfast.text.words import WordCounts

OPTIONS = SentencePieceOptions(normalizer="identity")
CORPUS_BYTES = int(os.environ.get("LMFAST_TEST_CORPUS_BYTES", 2_000_000))
Pieces = list[tuple[str, float, int]]

WORDS = st.dictionaries(
    st.text(st.sampled_from("▁aabc1é漢"), min_size=1, max_size=9), st.integers(1, 50), min_size=1, max_size=12
)
# Few characters: ties, runs, all kinds of script, digits, markers, characters that normalize.
LETTERS = "aaabc é한글あアー漢字я0１２" + "\u0301\u0903\t  ﬁ▁\u2009<>s/\x00\x1f"
LINES = st.lists(
    st.text(st.sampled_from("aab ab"), max_size=30) | st.text(st.sampled_from(LETTERS), max_size=20), max_size=12
)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "normalizer": st.sampled_from(["nmt_nfkc", "identity"]),
        "character_coverage": st.sampled_from([0.98, 0.9995, 1.0]),
        "required_chars": st.sampled_from(["", "xyz", "ab漢"]),
        "control_symbols": st.sampled_from([(), ("<c>", "ab"), ("<s>",)]),
        "user_defined_symbols": st.sampled_from([(), ("aa", "<u>"), ("</s>", "漢"), ("aab", "aa")]),
        "byte_fallback": st.booleans(),
        "split_digits": st.booleans(),
        "split_by_unicode_script": st.booleans(),
        "split_by_number": st.booleans(),
        "split_by_whitespace": st.booleans(),
        "treat_whitespace_as_suffix": st.booleans(),
        "add_dummy_prefix": st.booleans(),
        "allow_whitespace_only_pieces": st.booleans(),
        "remove_extra_whitespaces": st.booleans(),
        "max_piece_length": st.sampled_from([1, 2, 3, 16]),
        "max_sentence_length": st.sampled_from([10, 4192]),
        "num_threads": st.sampled_from([1, 2, 5]),
        "seed_size": st.sampled_from([1_000_000, 5, 0]),
        "shrinking_factor": st.sampled_from([0.75, 0.5, 0.95]),
        "sub_iterations": st.sampled_from([2, 1, 3]),
        "unk_id": st.sampled_from([0, 5]),
        "bos_id": st.sampled_from([1, -1]),
        "pad_id": st.sampled_from([-1, 3]),
    },
)


class Steps:
    """A training step by step."""

    def __init__(
        self,
        words: dict[str, int],
        exact: bool = False,
        seed_size: int = 1_000_000,
        n_threads: int = 1,
        least_closed: int = 2,
    ) -> None:
        counts = WordCounts.from_items({word.encode(): n for word, n in words.items()}, None)
        required = dict.fromkeys(map(ord, "".join(words)), 1)
        self.n_threads = n_threads
        self.trainer = Trainer(
            counts.blob, counts.offsets, counts.counts, *module._alphabet(required), exact=exact, n_sums=1,
            seed_size=seed_size, max_length=16, split_by_script=True, split_by_number=True, split_digits=False,
            split_by_whitespace=True, whitespace_as_suffix=False, whitespace_only=False, least_closed=least_closed,
        )  # fmt: skip
        self.run("sort")
        self.trainer.select()
        self.run("link")
        self.trainer.lay()
        self.run("fill")
        self.trainer.begin()

    def run(self, stage: str) -> None:
        parts = [partial(self.trainer.run, stage, part) for part in range(self.trainer.parts(stage))]
        _threads.run(parts, self.n_threads)

    def column(self, which: int) -> dict[str, float]:
        """Of all pieces that have a probability: 0 scores, 1 numbers, 2 losses."""
        blob, at, *columns = self.trainer.pieces()
        names = [blob[a:b].decode() for a, b in zip(at[:-1].tolist(), at[1:].tolist(), strict=True)]
        found = zip(names, columns[0].tolist(), columns[which].tolist(), strict=True)
        return {name: number for name, score, number in found if score > -math.inf}


def close(got: dict[str, float], want: dict[str, float], tolerance: float) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert got[name] == pytest.approx(value, rel=tolerance, abs=tolerance), name


@given(WORDS, st.sampled_from([1_000_000, 3]), st.sampled_from([2, 5, 40]))
def test_truth_seeds(words: dict[str, int], size: int, least_closed: int) -> None:
    want = reference.seeds(words, set("".join(words)), OPTIONS, size, least_closed)
    got = Steps(words, seed_size=size, least_closed=least_closed).column(0)
    assert list(got) == list(want)
    close(got, want, 1e-12)


@given(WORDS, st.booleans())
def test_truth_passes(words: dict[str, int], exact: bool) -> None:
    """Expected counts, digamma step, occurrences, losses, pruning: each of the model that the step before left."""
    tolerance = 2e-4 if exact else 1e-9
    steps = Steps(words, exact)
    letters = set("".join(words))
    for _ in range(3):
        model = steps.column(0)
        if not letters <= model.keys():  # exact training drops characters
            return
        steps.run("expect")
        log_likelihood = steps.trainer.add()
        expected, want = reference.expected_counts(words, model)
        assert log_likelihood == pytest.approx(want, rel=tolerance)
        close(steps.column(1), expected, tolerance)
        near = [count for count in expected.values() if abs(count - 0.5) < tolerance]
        steps.trainer.maximize()
        steps.run("compact")
        if not exact and not near:
            close(steps.column(0), reference.maximize(expected), tolerance)
    model = steps.column(0)
    if not letters <= model.keys():
        return
    steps.run("viterbi")
    steps.trainer.add()
    if not exact:
        assert steps.column(1) == reference.occurrences(words, model)
    counts = steps.column(1)
    steps.run("loss")
    worth = reference.losses(model, counts)
    got = steps.column(2)
    for piece, loss in worth.items():
        assert got[piece] == pytest.approx(loss, rel=tolerance, abs=tolerance)
    target = max(1, len(model) * 3 // 4)
    steps.trainer.prune(target)
    steps.run("compact")
    if not exact and len({round(loss, 9) for loss in worth.values()}) == len(worth):
        assert list(steps.column(0)) == list(reference.prune(model, counts, target))


@given(WORDS)
@settings(max_examples=30)
def test_truth_fast_training(words: dict[str, int]) -> None:
    characters = set("".join(words))
    want = reference.train(words, characters, len(characters) + 5, OPTIONS)
    training = module._Training(steps := Steps(words).trainer, 1, len(characters) + 5, 0.75, None)
    training.shrink(2)
    training.maximize(2)
    training.drop_shadowed()
    blob, at, scores, _, _ = steps.pieces()
    got = {blob[a:b].decode(): s for a, b, s in zip(at[:-1].tolist(), at[1:].tolist(), scores.tolist(), strict=True)}
    if len(got) == len(want) and got.keys() == want.keys():  # ties between losses may be rounded apart
        close(got, want, 1e-7)
    assert sum(map(math.exp, got.values())) == pytest.approx(sum(map(math.exp, want.values())), rel=0.05)


@given(st.text(st.sampled_from("abc"), min_size=1, max_size=7), WORDS)
def test_property_forward_is_the_sum_of_all_segmentations(word: str, words: dict[str, int]) -> None:
    model = reference.seeds(words, set("".join(words)), OPTIONS, 20)
    sums = [math.fsum(reference.score(piece, model) for piece in way) for way in reference.segmentations(word, model)]
    assert reference.forward(word, model)[-1] == pytest.approx(reference.log_sum(sums), rel=1e-12)
    assert reference.best(word, model)[1] == pytest.approx(max(sums), rel=1e-12)


@given(st.text(st.sampled_from("ab"), min_size=1, max_size=8), st.booleans())
def test_property_likelihood_is_that_of_all_segmentations(word: str, exact: bool) -> None:
    """Of one word, by the compiled passes: the sum over all segmentations, and the best of them."""
    words = {word: 3, "abab": 2, "ba": 5}
    steps = Steps(words, exact)
    model = steps.column(0)
    want = best = 0.0
    for each, count in words.items():
        sums = [math.fsum(model[piece] for piece in way) for way in reference.segmentations(each, model)]
        want += count * reference.log_sum(sums)
        best += count * max(sums)
    steps.run("expect")
    assert steps.trainer.add() == pytest.approx(want, rel=1e-5 if exact else 1e-12)
    steps.run("viterbi")
    assert steps.trainer.add() == pytest.approx(best, rel=1e-5 if exact else 1e-12)


def test_unit_digamma() -> None:
    """Of 1 it is minus Euler's constant, and it grows by 1/x."""
    assert reference.digamma(1.0) == pytest.approx(-0.5772156649, abs=1e-8)
    assert reference.digamma(3.5) == pytest.approx(reference.digamma(2.5) + 1 / 2.5, abs=1e-9)


@pytest.mark.parametrize("length", [63, 64, 65, 300, 5000])
def test_truth_long_words(length: int, rng: np.random.Generator) -> None:
    """Sums that would leave the range of float64, on both sides of the length from which they are looked after."""
    letters = "".join(rng.choice(list("abcdefgh"), length))
    words = {letters: 2, letters[: length // 2]: 1, letters[: length * 3 // 4] + "abc": 3, "abc": 1000000}
    steps = Steps(words)
    steps.run("expect")
    got = steps.trainer.add()
    model = steps.column(0)
    want = sum(count * _scaled_forward(word, model) for word, count in words.items())
    assert got == pytest.approx(want, rel=1e-10)
    numbers = steps.column(1)
    covered = sum(len(piece) * number for piece, number in numbers.items())
    assert covered == pytest.approx(sum(len(word) * count for word, count in words.items()), rel=1e-9)


def test_truth_words_in_parts(rng: np.random.Generator) -> None:
    """So many words that there are several sums: the passes are those of exact training, whose edges are not shared."""
    letters = rng.choice(list("abcdefgh"), (30_000, 11))
    lengths = rng.integers(1, 12, len(letters))
    words = {"".join(row[:n]): int(n) for row, n in zip(letters.tolist(), lengths, strict=True)}
    fast, exact = Steps(words, seed_size=600, n_threads=3), Steps(words, exact=True, seed_size=600)
    assert fast.trainer.parts("expect") > 1
    for stage in ("expect", "viterbi"):
        for steps in (fast, exact):
            steps.run(stage)
        assert fast.trainer.add() == pytest.approx(exact.trainer.add(), rel=1e-6)
        if stage == "expect":  # the best segmentation may be another in float32
            close(fast.column(1), exact.column(1), 1e-4)
        covered = sum(len(piece) * number for piece, number in fast.column(1).items())
        assert covered == pytest.approx(sum(len(word) * count for word, count in words.items()), rel=1e-12)


def _scaled_forward(word: str, model: dict[str, float]) -> float:
    longest = max(map(len, model))
    sums = [0.0]
    for stop in range(1, len(word) + 1):
        starts = range(max(0, stop - longest), stop)
        sums.append(reference.log_sum([sums[i] + model[word[i:stop]] for i in starts if word[i:stop] in model]))
    return sums[-1]


def theirs(lines: list[str] | Path, vocab_size: int, **options: Any) -> Pieces | None:
    """All pieces by sentencepiece; None where it refuses."""
    sentencepiece = pytest.importorskip("sentencepiece")
    proto = pytest.importorskip("sentencepiece.sentencepiece_model_pb2").ModelProto()
    names = {"normalizer": "normalization_rule_name", "max_piece_length": "max_sentencepiece_length"}
    names |= {"seed_size": "seed_sentencepiece_size", "sub_iterations": "num_sub_iterations"}
    options = {names.get(k, k): list(v) if isinstance(v, tuple) else v for k, v in options.items()}
    source = {"input": str(lines)} if isinstance(lines, Path) else {"sentence_iterator": iter(lines)}
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            **source, model_writer=model, model_type="unigram", vocab_size=vocab_size, minloglevel=3, **options
        )
    except RuntimeError:
        return None
    proto.ParseFromString(model.getvalue())
    return [(piece.piece, piece.score, piece.type) for piece in proto.pieces]


def ours(lines: list[str] | Path | WordCounts, vocab_size: int, **options: Any) -> Pieces | None:
    try:
        made = train_unigram(lines, vocab_size, mode="sentencepiece", **options).spec.model
    except ValueError:
        return None
    scores = made.scores.astype(np.float32).tolist()
    pieces = [piece.decode() for piece, _ in made.vocab]
    return list(zip(pieces, scores, made.kinds.tolist(), strict=True))


@given(LINES, st.integers(3, 60), CHOICES)
@settings(max_examples=150)
def test_peer_sentencepiece_any_options(lines: list[str], more: int, options: dict[str, Any]) -> None:
    lines = [line.rstrip("\r\n") for line in lines]
    vocab_size = more + (256 if options.get("byte_fallback") else 0)
    options = {"hard_vocab_limit": False, "num_threads": 3, **options}
    assert ours(lines, vocab_size, **options) == theirs(lines, vocab_size, **options)


@given(st.lists(st.text(st.sampled_from("ab "), min_size=5, max_size=60), min_size=1, max_size=8), st.integers(5, 40))
@settings(max_examples=60)
def test_peer_sentencepiece_ties(lines: list[str], vocab_size: int) -> None:
    """Runs of few letters: most segmentations are as good as others, and the search for the second best meets them."""
    options: dict[str, Any] = {"normalizer": "identity", "hard_vocab_limit": False, "num_threads": 2}
    assert ours(lines, vocab_size, **options) == theirs(lines, vocab_size, **options)


def test_peer_sentencepiece_prose() -> None:
    lines = (Path(module.__file__).read_text() * 2).splitlines()
    options: dict[str, Any] = {"num_threads": 2, "byte_fallback": True}
    assert ours(lines, 900, **options) == theirs(lines, 900, **options)


@pytest.mark.parametrize(
    "more",
    [
        {"split_by_whitespace": False, "max_piece_length": 8},
        {"split_by_whitespace": False, "treat_whitespace_as_suffix": True},
        {"add_dummy_prefix": False},
        {"treat_whitespace_as_suffix": True},
        {"treat_whitespace_as_suffix": True, "allow_whitespace_only_pieces": True, "remove_extra_whitespaces": False},
    ],
)
def test_peer_sentencepiece_what_follows(more: dict[str, Any]) -> None:
    """Options with which the seeds depend on what the next word or line begins with."""
    lines = [line for text in (module, reference) for line in Path(text.__file__ or "").read_text().splitlines()]
    lines = [line or " " * (number % 3) for number, line in enumerate(lines)]
    options: dict[str, Any] = {"num_threads": 2, "byte_fallback": True} | more
    assert ours(lines, 700, **options) == theirs(lines, 700, **options)


@given(
    st.lists(st.tuples(st.text(st.sampled_from("aab ab"), min_size=1, max_size=12), st.integers(1, 3)), max_size=8),
    st.fixed_dictionaries(
        {}, optional={name: st.booleans() for name in ("treat_whitespace_as_suffix", "add_dummy_prefix")}
    ),
    st.booleans(),
)
@settings(max_examples=60)
def test_peer_sentencepiece_counts(lines: list[tuple[str, int]], more: dict[str, bool], by_words: bool) -> None:
    """Words with counts, as in sentencepiece's format "tsv": each stands so many times in a row."""
    different = dict(lines)
    counts = WordCounts.from_items([(line.encode(), n) for line, n in different.items()], None)
    options: dict[str, Any] = {"hard_vocab_limit": False, "num_threads": 2, "split_by_whitespace": by_words, **more}
    tsv = [f"{line}\t{n}" for line, n in different.items()]
    assert ours(counts, 30, **options) == theirs(tsv, 30, input_format="tsv", **options)


@pytest.mark.parametrize("share", [2, 50])
def test_peer_sentencepiece_many_empty_lines(share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last sentence, by sentencepiece's order, is then far from the last line, in another part of the text."""
    monkeypatch.setattr(sources, "_CHUNK", 512)
    lines = Path(module.__file__).read_text().splitlines() * 2
    lines = [line if number % share else " " for number, line in enumerate(lines)]
    options: dict[str, Any] = {"num_threads": 2, "byte_fallback": True}
    assert ours(lines, 600, threads=3, **options) == theirs(lines, 600, **options)


@given(
    st.lists(st.lists(st.sampled_from([b"", b"ab", b"abc"]), max_size=5), max_size=9), st.randoms(use_true_random=False)
)
def test_property_the_last_sentence_of_parts_in_any_order(parts: list[list[bytes]], random: Random) -> None:
    kept, forgetting = LineEnds(keeps_all=True), LineEnds(keeps_all=False)
    numbers = list(range(len(parts)))
    random.shuffle(numbers)
    for number in numbers:
        ends = b"".join((line[:1] + line + b"\n" if line else b"\n") for line in parts[number])
        for each in (kept, forgetting):
            each.add(number, 1, ends, np.ones(len(parts[number]), np.int64))
    lines = [Line(line[:1], line, 1) for part in parts for line in part]
    assert kept.sentences() == in_order(lines)
    assert forgetting.sentences()[-1:] == in_order(lines)[-1:]


@pytest.mark.corpus
@pytest.mark.parametrize("normalizer", ["identity", "nmt_nfkc"])
@pytest.mark.parametrize("corpus", ["english", "multilingual", "code"])
def test_peer_sentencepiece_corpora(corpus: str, normalizer: str, data_dir: Path, tmp_path: Path) -> None:
    text = (data_dir / "corpus" / f"{corpus}.txt").read_bytes()[:CORPUS_BYTES]
    path = tmp_path / "text.txt"
    path.write_bytes(text[: text.rfind(b"\n") + 1])
    options: dict[str, Any] = {"normalizer": normalizer, "byte_fallback": True, "num_threads": 2}
    assert ours(path, 6000, **options) == theirs(path, 6000, **options)


@pytest.mark.parametrize("mode", ["fast", "sentencepiece"])
def test_property_the_same_for_any_threads(mode: module.Mode) -> None:
    source = [Path(module.__file__)]
    options: dict[str, Any] = {"mode": mode, "hard_vocab_limit": False, "num_threads": 3}
    one, five = (train_unigram(source, 2000, threads=n, **options) for n in (1, 5))
    assert one.spec == five.spec
    limited = train_unigram(source, 2000, threads=2, max_memory=1 << 24, **options)
    assert limited.spec == one.spec


def test_unit_counts_are_lines() -> None:
    lines = ["the cat sat", "the cat", "the hat sat"] * 3
    counts = WordCounts.from_items([(line.encode(), 3) for line in lines[:3]], None)
    options: dict[str, Any] = {"normalizer": "identity", "hard_vocab_limit": False}
    assert train_unigram(counts, 40, **options).spec == train_unigram(lines, 40, **options).spec


def test_peer_the_model_loads_in_sentencepiece(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    made = train_unigram([Path(module.__file__)], 1000, byte_fallback=True, user_defined_symbols=["lf_"])
    made.save(tmp_path / "made.model")
    peer = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "made.model"))
    for text in ["def train_unigram(source)", "lf_words", "Größe 漢字", "  a  b "]:
        assert made.encode(text).tolist() == peer.encode(text)
        assert made.decode(made.encode(text)) == peer.decode(peer.encode(text))
    assert lmfast.Tokenizer.from_file(tmp_path / "made.model").encode("words").tolist() == peer.encode("words")


def test_peer_command(tmp_path: Path) -> None:
    """The options of the command mean what sentencepiece's mean."""
    text, model, figure = tmp_path / "text.txt", tmp_path / "made.model", tmp_path / "rounds.png"
    text.write_text(Path(module.__file__).read_text() * 2 + "Größe\n")
    switches = ["--treat-whitespace-as-suffix", "--no-split-by-number", "--required-chars", "ö漢", "--pad-id", "3"]
    options = ["--mode", "sentencepiece", "--num-threads", "2", "--vocab-size", "600", "-o", str(model)]
    done = CliRunner().invoke(unigram, [str(text), *options, *switches, "--plot", str(figure)])
    assert done.exit_code == 0, done.output
    assert figure.read_bytes()[:4] == b"\x89PNG"
    made = lmfast.Tokenizer.from_file(model).spec.model
    pieces = zip(made.vocab, made.scores.astype(np.float32).tolist(), made.kinds.tolist(), strict=True)
    wanted: dict[str, Any] = {"treat_whitespace_as_suffix": True, "split_by_number": False, "num_threads": 2}
    wanted |= {"required_chars": "ö漢", "pad_id": 3}
    assert [(piece.decode(), *rest) for (piece, _), *rest in pieces] == theirs(text, 600, **wanted)


def test_unit_progress_and_interruption() -> None:
    seen: list[Any] = []
    train_unigram([Path(module.__file__)], 700, progress=seen.append)
    rounds = [item for item in seen if isinstance(item, Round)]
    assert [item.number for item in rounds] == list(range(1, len(rounds) + 1))
    assert rounds[-1].seconds_left == 0
    assert rounds[-1].pieces <= rounds[-1].target == 770
    assert all(item.log_likelihood < 0 for item in rounds)

    def stop(item: Any) -> None:
        if isinstance(item, Round):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_unigram([Path(module.__file__)], 700, progress=stop)
    assert train_unigram([Path(module.__file__)], 700).vocab_size == 700  # nothing is left behind


def test_safety_sizes_in_sentencepieces_words() -> None:
    with pytest.raises(ValueError, match=r"Vocabulary size too high \(500\). Please set it to a value <= [0-9]+"):
        train_unigram(["ab ab abc"], 500)
    assert train_unigram(["ab ab abc"], 500, hard_vocab_limit=False).vocab_size < 20
    with pytest.raises(ValueError, match=r"Vocabulary size is smaller than required_chars. 6 vs 7."):
        train_unigram(["abc"], 6)
    with pytest.raises(ValueError, match="no line to learn from"):
        train_unigram([], 100)
    with pytest.raises(ValueError, match="max_sentence_length = 10 bytes"):
        train_unigram(["a" * 11], 100, max_sentence_length=10)


@pytest.mark.parametrize("mode", ["fast", "sentencepiece"])
@pytest.mark.parametrize(
    "lines",
    [
        ["a"],
        ["\x00"],
        [" "],
        ["\x00a\x00" * 9],
        [b"\xff\xfe\xc3"],
        ["a" * 100_000],
        ["\u2585"],
        ["aa\n\n\naa"],
        ["漢" * 999],
    ],
)
def test_safety_odd_sources(lines: list[Any], mode: module.Mode) -> None:
    try:
        made = train_unigram(
            lines, 300, mode=mode, hard_vocab_limit=False, byte_fallback=True, max_sentence_length=1 << 20
        )
    except ValueError:  # no line, no character, too little text
        return
    assert made.decode(made.encode("a")).strip("\u2581") == "a"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "slow"), ("seed_size", -1), ("seed_size", 1 << 30), ("shrinking_factor", 0.4), ("sub_iterations", 0),
        ("num_threads", 0), ("max_piece_length", 0), ("max_piece_length", 513), ("character_coverage", 0.5),
        ("normalizer", "nfd"), ("unk_id", 9000), ("max_memory", 1),
    ],
)  # fmt: skip
def test_safety_arguments_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name.replace("max_piece", "max_sentencepiece")):
        train_unigram(["abc abc abe"], 20, **{name: value})
    with pytest.raises(TypeError, match="user_defined_symbols"):
        train_unigram(["abc"], 20, user_defined_symbols="abc")


def test_safety_the_door_checks() -> None:
    words = WordCounts.from_items({b"ab": 1}, None)
    none = np.empty(0, np.uint32), np.empty(0, np.uint8)
    rules: dict[str, Any] = dict.fromkeys(
        ["exact", "split_by_script", "split_by_number", "split_digits", "split_by_whitespace", "whitespace_as_suffix"],
        False,
    )
    rules |= {"whitespace_only": False, "n_sums": 1, "seed_size": 9, "max_length": LONGEST}
    for counts, error in (([0], ValueError), ([2**62], OverflowError)):
        with pytest.raises(error):
            Trainer(words.blob, words.offsets, np.array(counts), *none, **rules)
    with pytest.raises(ValueError, match="rising"):
        Trainer(words.blob, words.offsets, words.counts, np.array([7, 7], np.uint32), np.zeros(2, np.uint8), **rules)
    with pytest.raises(ValueError, match="shape"):
        Trainer(words.blob, words.offsets[:1], words.counts, *none, **rules)
    trainer = Trainer(words.blob, words.offsets, words.counts, *none, **rules)
    for step in (trainer.lay, trainer.begin, trainer.add, trainer.maximize, trainer.reach, partial(trainer.prune, 3)):
        with pytest.raises(ValueError, match="before"):
            step()
    for stage in ("link", "fill", "expect", "loss", "compact", "shadow", "viterbi"):
        with pytest.raises(IndexError):
            trainer.run(stage, 0)
    assert count_characters(b"ab\n", np.array([0, 3]), np.array([2])).nonzero()[0].tolist() == [97, 98]


def test_safety_threads_at_once() -> None:
    """Several trainings at the same time, each with threads of its own."""
    made: list[Any] = []

    def work() -> None:
        made.append(train_unigram([Path(module.__file__)], 600, threads=2).spec)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(made) == 3
    assert made[0] == made[1] == made[2]


def test_unit_the_last_word_is_found(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one two\n \nthree four\n   \nfive six\nseven eight\n")
    words, last = unigram_words(path, OPTIONS, 100, mode="sentencepiece")
    assert last == "▁four".encode() or last == "▁six".encode()
    assert "▁eight\n".encode() in dict(words)
