"""Training: held to the reference, to the rules written out plainly, and to the trainers that it claims to equal."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfast.reference import text as reference
from lmfast.text import merging, train_bytes, train_cli
from lmfast.text._train import Trainer
from lmfast.text.merging import Learnt, Ties
from lmfast.text.patterns import PATTERNS
from lmfast.text.spec import TokenizerSpec
from lmfast.text.tokenizer import Tokenizer
from lmfast.text.train import TrainingInterrupted, train_bpe, train_wordpiece
from lmfast.text.train_bytes import learn
from lmfast.text.words import Progress, WordCounts, count_words

CORPORA = ["english", "multilingual", "code"]
# All that is claimed is the first 10 MB; that takes minutes.
CORPUS_BYTES = int(os.environ.get("LMFAST_TEST_CORPUS_BYTES", 2_000_000))
CORPUS_IDS = int(os.environ.get("LMFAST_TEST_CORPUS_IDS", 8000))
SETTLED = settings(max_examples=300)
# Few letters, so that there are ties, runs of one letter, and exhausted pairs.
WORDS = st.text(st.sampled_from("aaab"), min_size=1, max_size=12) | st.text(st.sampled_from("abcdéक "), max_size=8)
TEXTS = st.lists(WORDS, max_size=30).map(" ".join)

Made = list[tuple[bytes, bytes]]


def merges_of(tokenizer: Tokenizer | Learnt) -> Made:
    """The merges as pairs of byte strings."""
    learnt = tokenizer.spec.model if isinstance(tokenizer, Tokenizer) else tokenizer
    tokens = {i: t for t, i in learnt.vocab}
    assert learnt.merges is not None
    return [(tokens[a], tokens[b]) for a, b in learnt.merges[:, :2].tolist()]


@lru_cache(1)
def bytes_alone() -> tuple[TokenizerSpec, dict[bytes, int]]:
    """The tokenizer of single bytes, split as GPT-2 has it, and their ids in tokenizers."""
    spec = reference.train_bpe([], 256, "gpt2")
    return spec, dict(spec.model.vocab)


def naive(
    texts: list[str], n_merges: int, ties: Ties, seeds: Made | None = None, least: int = 1
) -> tuple[Made, list[int]]:
    """Merges and their counts, all pairs counted anew for each of them."""
    byte_ids = bytes_alone()[1]
    rows: list[list[bytes]] = []
    for word, count in count_words(texts, "gpt2", threads=1):
        rows += [[bytes([b]) for b in word]] * count if ties != "first" else []
    if ties == "first":  # no counts: the rule is about where a pair stands
        spec = bytes_alone()[0]
        rows = [[bytes([b]) for b in piece] for text in texts for piece in reference.split(text, spec)]
    ids = byte_ids | {} if ties == "hf" else {bytes([b]): b for b in range(256)}
    made: Made = []
    counts = []
    while len(made) < n_merges:
        found = Counter(pair for row in rows for pair in pairwise(row))
        most = max(found.values(), default=0)
        if len(made) >= len(seeds or []) and most < max(1, least):
            break
        best = [pair for pair, n in found.items() if n == most]  # in the order of where they stand first
        if len(made) < len(seeds or []):
            best = [(seeds or [])[len(made)]]
        elif ties == "lexmax":
            best = [max(best)]
        elif ties != "first":
            best = [min(best, key=lambda pair: (ids[pair[0]], ids[pair[1]]))]
        made.append(best[0])
        counts.append(most)
        ids[b"".join(best[0])] = 256 + len(made)
        for row in rows:
            i = 0
            while i + 1 < len(row):
                if (row[i], row[i + 1]) == best[0]:
                    row[i : i + 2] = [row[i] + row[i + 1]]
                i += 1
    return made, counts


def tokenizers_model(texts: Any, vocab_size: int, **options: Any) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The vocabulary and the merges by tokenizers, in its alphabet of bytes."""
    tokenizers = pytest.importorskip("tokenizers")
    peer = tokenizers.Tokenizer(tokenizers.models.BPE())
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    options = {"initial_alphabet": tokenizers.pre_tokenizers.ByteLevel.alphabet(), **options}
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, **options)
    peer.train_from_iterator(texts, trainer)
    model = json.loads(peer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def as_tokenizers_shows(learnt: Learnt) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The same of ours."""

    def show(token: bytes) -> str:
        return "".join(train_bytes.CHARACTERS[byte] for byte in token)

    vocab = {show(token): token_id for token, token_id in learnt.vocab} | learnt.special_tokens
    return vocab, [(show(a), show(b)) for a, b in merges_of(learnt)]


def test_unit_train_bpe() -> None:
    tokenizer = train_bpe(["ab ab abc"], 260, pattern="gpt2", special_tokens=["<|end|>", "<|end|>"])
    # "ab" three times; then " ab", twice, and "abc" and " abc", once each: fewer than " ab" in front.
    assert merges_of(tokenizer) == [(b"a", b"b"), (b" ", b"ab"), (b" ab", b"c")]
    assert tokenizer.special_tokens == {"<|end|>": 0}
    assert tokenizer.bytes_to_id(b"!") == 1
    assert tokenizer.decode(tokenizer.encode("ab abc xyz")) == "ab abc xyz"
    assert tokenizer.spec.pre_tokenizer[0].pattern == PATTERNS["gpt2"]
    last = train_bpe(["ab ab abc"], 260, pattern="gpt2", ties="bytes", special_tokens=["<|end|>"])
    assert (last.bytes_to_id(b"a"), last.special_tokens) == (97, {"<|end|>": 259})
    exhausted = train_bpe(["ab"], 1000, ties="first", special_tokens=["x", "y"])
    assert (merges_of(exhausted), exhausted.special_tokens) == ([(b"a", b"b")], {"x": 257, "y": 258})
    assert exhausted.vocab_size == 259


def test_unit_nothing_to_learn() -> None:
    for source in ([], [""], ["a", "b c"], WordCounts.from_items([])):
        assert len(train_bpe(source, 1000, pattern="qwen2" if source == ["a", "b c"] else None).spec.model.vocab) <= 258
    assert train_bpe([], 256).vocab_size == 256
    assert train_bpe(["ab" * 100], 256).vocab_size == 256


def test_unit_bytes_that_are_not_utf8() -> None:
    tokenizer = train_bpe([b"\xff\xfe\xff\xfe", b"\xff\xfe\x00"], 300)
    assert merges_of(tokenizer) == [(b"\xff", b"\xfe"), (b"\xff\xfe", b"\0"), (b"\xff\xfe", b"\xff\xfe")]
    assert tokenizer.decode_bytes(tokenizer.encode(b"\xff\xfe\xff")) == b"\xff\xfe\xff"


@pytest.mark.parametrize("ties", ["hf", "bytes", "first", "lexmax"])
@SETTLED
@given(texts=st.lists(TEXTS, max_size=3))
def test_truth_rules_written_out(ties: Ties, texts: list[str]) -> None:
    got = learn(count_words(texts, "gpt2", threads=1), 300, ties=ties)
    assert (merges_of(got), got.counts.tolist()) == naive(texts, 44, ties)


@SETTLED
@given(texts=st.lists(TEXTS, max_size=4), more=st.integers(0, 200))
def test_truth_reference(texts: list[str], more: int) -> None:
    want = reference.train_bpe(texts, 256 + more, "gpt2")
    assert train_bpe(texts, 256 + more, pattern="gpt2", threads=1).spec == want


@SETTLED
@given(
    texts=st.lists(TEXTS, max_size=4),
    more=st.integers(0, 100),
    min_frequency=st.integers(0, 4),
    max_token_length=st.none() | st.integers(1, 6),
    special_tokens=st.lists(st.sampled_from(["<s>", "a", "aa", "aab", "Ġa", "Ġ", "é", "Ã©", "क", "<s>"]), max_size=5),
)
def test_peer_tokenizers_options(
    texts: list[str], more: int, min_frequency: int, max_token_length: int | None, special_tokens: list[str]
) -> None:
    options: dict[str, Any] = {"min_frequency": min_frequency, "special_tokens": special_tokens}
    if max_token_length:
        options["max_token_length"] = max_token_length
    want = tokenizers_model(texts, 266 + more, **options)
    got = learn(count_words(texts, "gpt2", threads=1), 266 + more, **options)
    assert as_tokenizers_shows(got) == want


@given(texts=st.lists(TEXTS, max_size=4), initial=st.sets(st.sampled_from("abcx")), limit=st.none() | st.integers(1, 6))
def test_peer_tokenizers_alphabet(texts: list[str], initial: set[str], limit: int | None) -> None:
    words = count_words(texts, "gpt2", threads=1)
    counts: Counter[int] = Counter()
    for word, count in words:
        for byte in word:
            if chr(byte) not in initial:
                counts[byte] += count
    falling = sorted(counts.values(), reverse=True)
    kept = (limit or 256) - len(initial)
    if kept < 0 or (0 < kept < len(falling) and falling[kept - 1] == falling[kept]):
        return  # tokenizers drops any one of equally frequent characters
    options: dict[str, Any] = {"limit_alphabet": limit} if limit else {}
    want = tokenizers_model(texts, 60, initial_alphabet=sorted(initial), **options)
    got = learn(words, 60, initial_alphabet=map(ord, initial), **options)
    assert as_tokenizers_shows(got) == want


@pytest.mark.corpus
@pytest.mark.parametrize("name", CORPORA)
def test_peer_tokenizers_corpus(name: str, data_dir: Path) -> None:
    with (data_dir / "corpus" / f"{name}.txt").open("rb") as file:
        text = file.read(CORPUS_BYTES).decode("utf-8", "ignore")
    want = tokenizers_model(text.split("<|endoftext|>"), CORPUS_IDS)
    got = learn(count_words(text.split("<|endoftext|>"), "gpt2"), CORPUS_IDS)
    assert as_tokenizers_shows(got) == want
    assert len(got.merges) == CORPUS_IDS - 256


def rustbpe_ranks(texts: list[str], vocab_size: int, pattern: str) -> dict[bytes, int]:
    rustbpe = pytest.importorskip("rustbpe")
    peer = rustbpe.Tokenizer()
    peer.train_from_iterator(iter(texts), vocab_size, pattern=pattern)
    return {bytes(token): rank for token, rank in peer.get_mergeable_ranks()}


@SETTLED
@given(texts=st.lists(TEXTS, max_size=4), more=st.integers(0, 100))
def test_peer_rustbpe(texts: list[str], more: int) -> None:
    got = learn(count_words(texts, "llama3", threads=1), 256 + more, ties="bytes")
    assert dict(got.vocab) == rustbpe_ranks(texts, 256 + more, PATTERNS["llama3"])


@pytest.mark.corpus
@pytest.mark.parametrize("name", CORPORA)
def test_peer_rustbpe_corpus(name: str, data_dir: Path) -> None:
    with (data_dir / "corpus" / f"{name}.txt").open("rb") as file:
        texts = file.read(CORPUS_BYTES).decode("utf-8", "ignore").split("<|endoftext|>")
    got = train_bpe(texts, CORPUS_IDS, ties="bytes", pattern="gpt2")
    assert dict(got.spec.model.vocab) == rustbpe_ranks(texts, CORPUS_IDS, PATTERNS["gpt2"])


def minbpe(texts: list[str], n_merges: int) -> Made:
    """The rule of minbpe's RegexTokenizer: of the most frequent pairs the one that a dictionary has first."""
    spec = bytes_alone()[0]
    chunks = [[bytes([byte]) for byte in piece] for text in texts for piece in reference.split(text, spec)]
    made: Made = []
    while len(made) < n_merges:
        stats: dict[tuple[bytes, bytes], int] = {}
        for chunk in chunks:
            for pair in pairwise(chunk):
                stats[pair] = stats.get(pair, 0) + 1
        if not stats:
            break
        best = max(stats, key=lambda pair: stats[pair])
        made.append(best)
        for chunk in chunks:
            at = 0
            while at + 1 < len(chunk):
                if (chunk[at], chunk[at + 1]) == best:
                    chunk[at : at + 2] = [chunk[at] + chunk[at + 1]]
                at += 1
    return made


@SETTLED
@given(texts=st.lists(TEXTS, max_size=3))
def test_peer_minbpe(texts: list[str]) -> None:
    assert merges_of(learn(count_words(texts, "gpt2", threads=1), 300, ties="first")) == minbpe(texts, 44)


def by_words(words: WordCounts, n_merges: int, ties: Ties) -> Made:
    """The rules "first" and "lexmax" for long texts: counts are kept, and all equally frequent pairs looked at."""
    rows = [[bytes([byte]) for byte in word] for word, _ in words]
    weights = words.counts.tolist()
    counts: Counter[tuple[bytes, bytes]] = Counter()
    places: defaultdict[tuple[bytes, bytes], set[int]] = defaultdict(set)
    for i, row in enumerate(rows):
        for pair in pairwise(row):
            counts[pair] += weights[i]
            places[pair].add(i)

    def first(pair: tuple[bytes, bytes]) -> tuple[int, int]:
        i = min(i for i in places[pair] if pair in pairwise(rows[i]))
        return i, list(pairwise(rows[i])).index(pair)

    made: Made = []
    while len(made) < n_merges:
        most = max(counts.values())
        equals = [pair for pair, count in counts.items() if count == most]
        best = max(equals) if ties == "lexmax" else min(equals, key=first)
        made.append(best)
        for i in places.pop(best):
            row = rows[i]
            for pair in pairwise(row):
                counts[pair] -= weights[i]
            at = 0
            while at + 1 < len(row):
                if (row[at], row[at + 1]) == best:
                    row[at : at + 2] = [row[at] + row[at + 1]]
                at += 1
            for pair in pairwise(row):
                counts[pair] += weights[i]
                places[pair].add(i)
    return made


@pytest.mark.corpus
@pytest.mark.parametrize("ties", ["first", "lexmax"])
@pytest.mark.parametrize("name", CORPORA)
def test_truth_corpus_by_words(name: str, ties: Ties, data_dir: Path) -> None:
    with (data_dir / "corpus" / f"{name}.txt").open("rb") as file:
        texts = file.read(CORPUS_BYTES // 4).split(b"<|endoftext|>")
    words = count_words(texts, "gpt2")
    assert merges_of(learn(words, 256 + 400, ties=ties)) == by_words(words, 400, ties)


@SETTLED
@given(texts=st.lists(TEXTS, min_size=1, max_size=2))
def test_peer_tiktoken_educational(texts: list[str]) -> None:
    educational = pytest.importorskip("tiktoken._educational")
    got = learn(count_words(texts[:1], "gpt2"), 290, ties="first")
    n = 256 + len(got.merges)  # it fails where no pair is left
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *a, **k: None)
        want = educational.bpe_train(texts[0], n, PATTERNS["gpt2"], visualise=None)
    assert dict(got.vocab) == want


@pytest.mark.corpus
@pytest.mark.parametrize("name", CORPORA)
def test_property_counts_threads_floors_and_widths(
    name: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text or its counts, any number of threads, slots of two or of four bytes: the same tokenizer."""
    path = tmp_path / "text"
    path.write_bytes((data_dir / "corpus" / f"{name}.txt").read_bytes()[:3_000_000])
    want = train_bpe(path, 4000, separator="<|endoftext|>", threads=1)
    words = count_words(path, separator="<|endoftext|>", threads=3)
    assert train_bpe(words, 4000) == want
    parts = path.read_bytes().split(b"<|endoftext|>")
    halves = [count_words(parts[:7]), count_words(parts[7:])]
    assert train_bpe(halves[1] + halves[0], 4000) == want
    for ties in ("hf", "bytes", "first", "lexmax"):
        few, many = learn(words, 4000, ties=ties), learn(words, 70_000, ties=ties)  # the floor begins elsewhere too
        assert np.array_equal(many.merges[:3744], few.merges)
        assert np.array_equal(many.counts[:3744], few.counts)
        assert bool(np.all(np.diff(many.counts) <= 0))


def test_unit_long_words() -> None:
    for n in (1, 2, 3, 1000, 1 << 20, (1 << 20) + 7):
        got = learn(count_words([b"a" * n], None), 1000)
        want = [2**i for i in range(1, n.bit_length() - 1)]  # as long as there is more than one such pair
        assert [len(a + b) for a, b in merges_of(got)][: len(want)] == want
    zeros = learn(count_words([bytes(1 << 18) + b"\1"], None), 1000, ties="lexmax")
    assert len(merges_of(zeros)[17][0]) == 1 << 17


def test_unit_large_counts() -> None:
    """Counts past 32 bits, where other trainers wrap around."""
    words = WordCounts.from_items([(b"ab", 2**40), (b"bc", 2**33 + 1), (b"cd", 2**33)])
    assert merges_of(learn(words, 259)) == [(b"a", b"b"), (b"b", b"c"), (b"c", b"d")]
    with pytest.raises(OverflowError):
        learn(WordCounts.from_items([(b"ab", 2**62)]), 259)
    with pytest.raises(OverflowError):
        learn(WordCounts.from_items([(b"ab", 2**61), (b"cd", 2**61)]), 259)


def test_unit_progress() -> None:
    seen: list[Progress] = []
    words = WordCounts.from_items([(b"%d" % i, i + 1) for i in range(3000)])
    train_bpe(words, 1256, progress=seen.append)
    assert [(p.stage, p.done, p.total) for p in seen] == [("merge", n, 1000) for n in (256, 512, 768)]
    whole = train_bpe(words, 1256)
    assert [p.token for p in seen] == [whole.id_to_bytes(256 + p.done - 1) for p in seen]


def test_unit_interrupted() -> None:
    words = WordCounts.from_items([(b"%d" % i, i + 1) for i in range(3000)])

    def stop(progress: Progress) -> None:
        if progress.done == 512:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        train_bpe(words, 1256, progress=stop, special_tokens=["x"], ties="first")
    assert isinstance(caught.value, TrainingInterrupted)
    assert caught.value.tokenizer == train_bpe(words, 256 + 512 + 1, special_tokens=["x"], ties="first")


@SETTLED
@given(
    texts=st.lists(TEXTS, max_size=4),
    sizes=st.lists(st.integers(266, 400), min_size=1, max_size=4),
    ties=st.sampled_from(["hf", "bytes", "first", "lexmax"]),
    special_tokens=st.lists(st.sampled_from(["<s>", "aa", "aab", "ab", "Ġa", "é"]), max_size=4),
)
def test_property_snapshots(texts: list[str], sizes: list[int], ties: Ties, special_tokens: list[str]) -> None:
    words = count_words(texts, "gpt2", threads=1)
    options: dict[str, Any] = {"ties": ties, "special_tokens": special_tokens}
    got = train_bpe(words, max(sizes), snapshots=sizes, **options)
    assert got == {size: train_bpe(words, size, **options) for size in sizes}


@SETTLED
@given(
    texts=st.lists(TEXTS, max_size=4),
    others=st.lists(TEXTS, max_size=4),
    seeds=st.integers(0, 30),
    ties=st.sampled_from(["hf", "bytes", "first", "lexmax"]),
    min_frequency=st.integers(0, 3),
)
def test_truth_seed_merges(texts: list[str], others: list[str], seeds: int, ties: Ties, min_frequency: int) -> None:
    first = learn(count_words(others, "gpt2", threads=1), 256 + seeds, ties=ties)
    pairs = merges_of(first)
    got = learn(count_words(texts, "gpt2", threads=1), 320, ties=ties, seed_merges=pairs, min_frequency=min_frequency)
    want, counts = naive(texts, 64, ties, pairs, min_frequency)
    assert (merges_of(got), got.counts.tolist()[len(pairs) :]) == (want, counts[len(pairs) :])


def test_unit_seed_merges() -> None:
    small = train_bpe(["low lower lowest " * 5], 262, special_tokens=["<s>"])
    more = train_bpe(["newest newer low"], 300, special_tokens=["<s>"], seed_merges=small)
    assert merges_of(more)[:5] == merges_of(small)
    assert all(more.bytes_to_id(token) == token_id for token, token_id in small.spec.model.vocab)
    ranks = small.spec.model.vocab
    assert (
        train_bpe([], 261, ties="bytes", seed_merges=[(b"a", b"b"), (b"ab", b"ab")]).encode_list("abababab")
        == [257] * 2
    )
    assert len(ranks) == 261
    for pairs in ([(b"ab", b"c")], [(b"a", b"b"), (b"a", b"b")], [(b"a", b"b"), (b"c", b"d")]):
        with pytest.raises(ValueError, match="seed_merges"):
            train_bpe([], 257, seed_merges=pairs)


@pytest.mark.slow
def test_safety_one_long_line(tmp_path: Path) -> None:
    """A line of 46 MB, in little memory: all counts are those of its period, so many times, and so are the merges."""
    period = b" the cat sat on the mat"
    (tmp_path / "a.txt").write_bytes(period * 2_000_000)
    got = train_bpe(tmp_path / "a.txt", 280, pattern="gpt2", max_memory=16 << 20)
    assert got == train_bpe([period * 3], 280, pattern="gpt2")
    counts = count_words(tmp_path / "a.txt", "gpt2")
    assert dict(counts) == {b" the": 4_000_000} | {b" " + w: 2_000_000 for w in (b"cat", b"sat", b"on", b"mat")}


def test_safety_train() -> None:
    words = WordCounts.from_items([(b"ab", 1)])
    for vocab_size, special in ((255, ()), (256, ("x",)), (0, ()), (-5, ()), (2**21, ()), (2**40, ())):
        for ties in ("hf", "first"):
            with pytest.raises(ValueError, match="vocab_size"):
                train_bpe(words, vocab_size, special_tokens=[*special, "<s>"], ties=ties)
    for options in (
        {"ties": "no"},
        {"min_frequency": -1},
        {"limit_alphabet": 0},
        {"max_token_length": 0},
        {"initial_alphabet": [256]},
        {"special_tokens": [""]},
        {"snapshots": [301]},
        {"seed_merges": [(b"xy", b"z")]},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            train_bpe(words, 300, **options)
    with pytest.raises(ValueError, match="byte 0x00 is no token"):
        train_bpe(words, 300, initial_alphabet=b"a")
    for size in (0, 255):
        with pytest.raises(ValueError, match="too small"):
            train_bpe(words, 300, snapshots=[size])
    with pytest.raises(FileNotFoundError):
        train_bpe("/no/such/file", 300)
    common: dict[str, Any] = {"first_id": 256, "n_ids": 300, "ties": "ids", "min_count": 1, "max_length": 0}
    common |= {"seeds": np.empty((0, 2), np.uint32), "n_symbols": 256, "strings": [(bytes([i]), i) for i in range(256)]}
    symbols, at, one = np.arange(256, dtype=np.uint32), np.array([0, 2]), np.array([1])
    for bad in ({"first_id": 255}, {"n_ids": 255}, {"n_ids": 2**32 - 1}):
        with pytest.raises(ValueError, match="first_id"):
            Trainer(b"ab", at, one, symbols, **{**common, **bad})
    with pytest.raises(ValueError, match="first_id"):
        Trainer(b"ab", at, one, symbols, **{**common, "strings": [*common["strings"], (b"ab", 256)]})
    with pytest.raises(ValueError, match="first_id"):
        Trainer(b"ab", at, one, symbols, **{**common, "n_symbols": 98})
    for offsets in ([0, 3], [-1, 2], [0]):
        with pytest.raises(ValueError, match="offsets"):
            Trainer(b"ab", np.array(offsets), one, symbols, **common)
    for seeds in ([[256, 0]], [[0, 1], [257, 0]], [[0, 300]], [[0, 1]] * 45):
        with pytest.raises(ValueError, match="seeds"):
            Trainer(b"ab", at, one, symbols, **{**common, "seeds": np.array(seeds, np.uint32)})
    with pytest.raises(ValueError, match="word 0"):
        Trainer(b"ab", at, -one, symbols, **common)
    with pytest.raises(ValueError, match="symbols"):
        Trainer(b"ab", at, one, symbols[:255], **common)


def test_unit_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()
    (tmp_path / "a.txt").write_text("the cat in the hat|" * 100)
    (tmp_path / "b.txt").write_text("sat on the mat|" * 100)
    files = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    out = tmp_path / "tokenizer.json"
    options = ["--vocab-size", "275", "--separator", "|", "-o", str(out), "--special-token", "<s>"]
    done = runner.invoke(train_cli.train, ["bpe", *files, *options, "--snapshot", "260", "--max-memory", "64M"])
    assert (done.exit_code, done.exception) == (0, None)
    paths = [Path(file) for file in files]
    want = train_bpe(paths, 275, separator="|", special_tokens=["<s>"], snapshots=[260])
    assert Tokenizer.from_file(out) == want[275]
    assert Tokenizer.from_file(tmp_path / "tokenizer.260.json") == want[260]
    more = ["--vocab-size", "30", "-q"]
    pieces = ["--ties", "sentencepiece", "--normalizer", "identity", "--user-defined-symbol", "<u>", "-o"]
    done = runner.invoke(train_cli.train, ["bpe", *files, *more, *pieces, str(tmp_path / "spm.model")])
    assert (done.exit_code, done.exception) == (0, None)
    chosen: dict[str, Any] = {"ties": "sentencepiece", "normalizer": "identity", "user_defined_symbols": ["<u>"]}
    assert Tokenizer.from_file(tmp_path / "spm.model") == train_bpe(paths, 30, **chosen)
    done = runner.invoke(train_cli.train, ["wordpiece", *files, *more, "-o", str(out)])
    assert (done.exit_code, done.exception) == (0, None)
    assert Tokenizer.from_file(out) == train_wordpiece(paths, 30)
    characters = ["--characters", "--pattern", "whitespace", "--end-of-word-suffix", "|", "-o", str(out)]
    done = runner.invoke(train_cli.train, ["bpe", *files, *more, *characters])
    assert Tokenizer.from_file(out) == train_bpe(
        paths, 30, byte_level=False, pattern="whitespace", end_of_word_suffix="|"
    )
    assert runner.invoke(train_cli.train, ["bpe", *files, *options, "--byte-fallback"]).exit_code == 2
    for bad in (["--max-memory", "1X"], ["--separator", ""], ["-o", str(tmp_path / "no" / "where.json")]):
        assert runner.invoke(train_cli.train, ["bpe", *files, *options, *bad]).exit_code == 2

    @contextmanager
    def stopping() -> Iterator[Any]:
        def stop(progress: Progress) -> None:
            if progress.stage == "merge" and progress.done == 10:
                raise KeyboardInterrupt

        yield stop

    monkeypatch.setattr(merging, "_STEP", 5)
    monkeypatch.setattr(train_cli, "_bars", stopping)
    out.unlink()
    done = runner.invoke(train_cli.train, ["bpe", *files, *options], standalone_mode=False)
    assert done.exit_code != 0
    assert not out.exists()
    assert Tokenizer.from_file(tmp_path / "tokenizer.partial.json").vocab_size == 267
