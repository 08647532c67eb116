"""The engine of sentencepiece models against sentencepiece 0.2.3, against the reference, and against hostile input."""

from __future__ import annotations

import io
import math
import os
import struct
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmfast.reference.text import sentencepiece as truth
from lmfast.text import formats
from lmfast.text._sentencepiece import Engine, Lattice, Normalizer
from lmfast.text.sentencepiece import engine_for, sample_and_score
from lmfast.text.spec import (
    Kind,
    ScoredBPE,
    SentencePieceDecoder,
    SentencePieceNormalizer,
    TokenizerSpec,
    Unigram,
    Vocab,
)

BRIEF = os.environ.get("LMFAST_TEST_BRIEF") == "1"
FULL = os.environ.get("LMFAST_TEST_FULL") == "1"
MODELS = ("llama2.model", "t5.spiece.model")
BYTES = [b"<0x%02X>" % byte for byte in range(256)]
SMALL_CACHE = 1 << 16


def engine_of(spec: TokenizerSpec, cache_bytes: int = SMALL_CACHE) -> Engine:
    engine = engine_for(spec, cache_bytes=cache_bytes, isa="generic")
    assert engine is not None
    return engine


def encode_all(engine: Engine, texts: list[bytes]) -> list[list[int]]:
    ends = np.cumsum([0, *map(len, texts)])
    spans = np.ascontiguousarray(np.stack([ends[:-1], ends[1:]], axis=1).astype(np.int64))
    ids, counts = np.empty(sum(engine.bound(len(t)) for t in texts), np.uint32), np.zeros(len(texts), np.int64)
    n = engine.encode_spans(b"".join(texts), spans, ids, 0, counts)
    assert n == counts.sum() == engine.encode_spans(b"".join(texts), spans, None, 0, np.zeros_like(counts))
    return [row.tolist() for row in np.split(ids[:n], np.cumsum(counts)[:-1])] if texts else []


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, data_dir: Path) -> tuple[TokenizerSpec, Any]:
    """A real model: its spec, and the library that it is to equal."""
    sentencepiece = pytest.importorskip("sentencepiece")
    path = data_dir / "vocab" / request.param
    if not path.is_file():
        pytest.skip(f"no {request.param} in the test data")
    return formats.read(path), sentencepiece.SentencePieceProcessor(model_file=str(path))


# Small models for the reference: words over few letters, so that pieces overlap, tie and cross spaces.

LETTERS = "▁▁abcA1.,éж中"
words_of_letters = st.text(alphabet=LETTERS, min_size=1, max_size=4)


@st.composite
def specs(draw: st.DrawFn, *, unigram: bool | None = None) -> TokenizerSpec:
    """A model with random pieces, scores that are often equal, all kinds, and all options of the normalizer."""
    is_unigram = draw(st.booleans()) if unigram is None else unigram
    byte_fallback = draw(st.booleans())
    words = draw(st.lists(words_of_letters, min_size=3, max_size=30, unique=True))
    words += [w for w in ("▁", "a", ".") if w not in words] if draw(st.booleans()) else []
    kinds = draw(st.lists(st.sampled_from([1, 1, 1, 1, 1, 4, 5]), min_size=len(words), max_size=len(words)))
    scores = draw(st.lists(st.sampled_from([-1.0, -2.0, -2.5, -3.25, -7.0]), min_size=len(words), max_size=len(words)))
    if draw(st.booleans()):  # in the order of their ids but for some that share the lowest, as in Llama 2
        scores = [-99.0 if score == -7.0 else -float(i) for i, score in enumerate(scores)]
    pieces = [b"<unk>", b"<s>", *(w.encode() for w in words), *(BYTES if byte_fallback else [])]
    n_bytes = 256 if byte_fallback else 0
    step = draw(st.sampled_from([1, 1, 1, 70_000 // len(pieces)]))  # ids of 16 bits, or of more
    vocab = Vocab.from_items([(piece, i * step) for i, piece in enumerate(pieces)])
    normalizer = SentencePieceNormalizer(
        add_dummy_prefix=draw(st.booleans()),
        remove_extra_whitespaces=draw(st.booleans()),
        treat_whitespace_as_suffix=draw(st.sampled_from([False, False, True])),
    )
    parts: dict[str, Any] = {
        "vocab": vocab,
        "scores": np.array([0, 0, *scores, *([0] * n_bytes)]),
        "kinds": np.array([2, 3, *kinds, *([6] * n_bytes)], np.uint8),
        "unk_id": 0,
        "byte_fallback": byte_fallback,
    }
    return TokenizerSpec(
        Unigram(**parts) if is_unigram else ScoredBPE(**parts),
        normalizer=(normalizer,),
        decoder=(
            SentencePieceDecoder(
                add_dummy_prefix=normalizer.add_dummy_prefix,
                remove_extra_whitespaces=normalizer.remove_extra_whitespaces,
            ),
        ),
    )


texts = st.lists(
    st.one_of(
        st.text(alphabet="abcA1., éжش中▁", max_size=12).map(str.encode),
        st.sampled_from(
            [b" ", b"  ", b"\xe2\x96\x81", b"\xff", b"\xe2\x96", b"\0", b"<s>", b"aaaaaaaaaaaaaaaaaaaa", b""]
        ),
    ),
    max_size=6,
).map(b"".join)


@settings(max_examples=4000 if FULL else 500)
@given(spec=specs(), lines=st.lists(texts, min_size=1, max_size=6))
def test_truth_ids_offsets_and_text(spec: TokenizerSpec, lines: list[bytes]) -> None:
    engine, reference = engine_of(spec), truth.model_of(spec)
    want = [truth.encode(reference, line) for line in lines]
    assert encode_all(engine, [*lines, *lines]) == 2 * [[i for i, _, _ in row] for row in want]
    for line, row in zip(lines, want, strict=True):
        ids, spans = engine.encode_with_offsets(line)
        assert [(i, *span) for i, span in zip(ids.tolist(), spans.tolist(), strict=True)] == row
        assert engine.normalize(line)[0] == truth.normalize(reference, line)[0]
        assert engine.decode(ids) == truth.decode(reference, ids.tolist())


@given(data=st.data(), spec=specs())
def test_truth_decode_any_ids(data: st.DataObject, spec: TokenizerSpec) -> None:
    ids = data.draw(st.lists(st.sampled_from(spec.model.vocab.ids.tolist()), max_size=12))
    assert engine_of(spec).decode(np.array(ids, np.uint32)) == truth.decode(truth.model_of(spec), ids)


@settings(max_examples=300)
@given(spec=specs(unigram=True), line=st.text(alphabet="abc1. é", max_size=7).map(str.encode), alpha=st.floats(0, 2))
def test_truth_lattice(spec: TokenizerSpec, line: bytes, alpha: float) -> None:
    assume(Kind.NORMAL in spec.model.kinds)  # otherwise an unknown character costs the largest float, and sums are inf
    lattice, reference = engine_of(spec).lattice(line), truth.model_of(spec)
    assert lattice.text == truth.normalize(reference, line)[0]
    every = truth.segmentations(reference, lattice.text)
    best = lattice.best(512)
    if not lattice.text:
        assert best == []
        return
    assert len(best) == min(512, len(every))
    assert [s for _, s in best] == pytest.approx(sorted((s for _, s in every), reverse=True)[:512], abs=1e-4)
    assert lattice.log_partition(alpha) == pytest.approx(truth.log_partition(reference, lattice.text, alpha), abs=1e-9)
    assert lattice.entropy(alpha) == pytest.approx(truth.entropy(reference, lattice.text, alpha), abs=1e-9)
    spans, ids, _, log_p = lattice.marginals(alpha)
    found = {(*span, i): math.exp(p) for span, i, p in zip(spans.tolist(), ids.tolist(), log_p, strict=True)}
    assert found == pytest.approx(truth.marginals(reference, lattice.text, alpha), abs=1e-9)


def abc() -> Engine:
    """Eight segmentations of "abcd" with different ids."""
    pieces = ["<unk>", "a", "b", "c", "d", "ab", "bc", "cd", "abc", "bcd", "abcd"]
    scores = [0, -2, -2.2, -1.7, -2.1, -3, -3.3, -3.6, -4.1, -4.4, -5.5]
    vocab = Vocab.from_items([(piece.encode(), i) for i, piece in enumerate(pieces)])
    model = Unigram(vocab, np.array(scores), np.array([2, *[1] * 10], np.uint8), 0)
    normalizer = SentencePieceNormalizer(add_dummy_prefix=False)
    return engine_of(TokenizerSpec(model, normalizer=(normalizer,), decoder=(SentencePieceDecoder(),)))


def distribution(lattice: Lattice, alpha: float) -> dict[tuple[int, ...], float]:
    weights = {tuple(ids.tolist()): math.exp(alpha * score) for ids, score in lattice.best(100)}
    return {ids: weight / sum(weights.values()) for ids, weight in weights.items()}


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_unit_samples_follow_the_distribution(alpha: float) -> None:
    lattice, n = abc().lattice(b"abcd"), 20_000
    want = distribution(lattice, alpha)
    assert len(want) == 8
    drawn = lattice.sample(alpha, n, 7)
    assert [ids.tolist() for ids, _ in lattice.sample(alpha, 50, 7)] == [ids.tolist() for ids, _ in drawn[:50]]
    for ids, log_p in drawn[:100]:
        assert log_p == pytest.approx(math.log(want[tuple(ids.tolist())]), abs=1e-6)
    counts = Counter(tuple(ids.tolist()) for ids, _ in drawn)
    chi_squared = sum((counts[ids] - n * p) ** 2 / (n * p) for ids, p in want.items())
    assert chi_squared < 24.3  # 0.1 % of draws lie above, with seven degrees of freedom; the seed is fixed


def test_unit_samples_without_replacement() -> None:
    lattice, alpha, rounds = abc().lattice(b"abcd"), 0.7, 4000
    p = distribution(lattice, alpha)
    pairs: Counter[tuple[tuple[int, ...], ...]] = Counter()
    for seed in range(rounds):
        first, second = (tuple(ids.tolist()) for ids, _, _ in lattice.sample_different(alpha, 2, seed))
        assert first != second
        pairs[first, second] += 1
    want = {(a, b): rounds * p[a] * p[b] / (1 - p[a]) for a in p for b in p if a != b}
    chi_squared = sum((pairs[pair] - w) ** 2 / w for pair, w in want.items())
    assert chi_squared < 93.2  # 0.1 % of draws lie above, with 55 degrees of freedom
    assert len(lattice.sample_different(alpha, 50, 1)) == 8


def test_unit_sample_and_score() -> None:
    engine, n = abc(), 3
    p = distribution(engine.lattice(b"abcd"), 1.0)
    total: Counter[tuple[int, ...]] = Counter()
    for seed in range(3000):
        drawn = sample_and_score(engine, b"abcd", n=n, alpha=1.0, seed=seed, replacement=False)
        assert len(drawn) == n
        for ids, log_inclusion in drawn:
            total[tuple(ids.tolist())] += p[tuple(ids.tolist())] / math.exp(log_inclusion)
    for ids, share in p.items():  # Horvitz and Thompson: weights by inclusion make the estimate unbiased
        assert total[ids] / 3000 == pytest.approx(share, abs=0.03)
    best = engine.lattice(b"abcd").best(1)[0][0]
    first, *others = sample_and_score(engine, b"abcd", n=4, alpha=1.0, seed=3, replacement=False, include_best=True)
    assert (first[1], first[0].tolist()) == (0.0, best.tolist())
    assert len(others) == 3
    assert all(ids.tolist() != best.tolist() for ids, _ in others)
    assert [s for _, s in sample_and_score(engine, b"abcd", n=9, alpha=1.0, seed=1, replacement=False)] == [0.0] * 8
    with pytest.raises(ValueError, match="n = 0"):
        sample_and_score(engine, b"abcd", n=0, alpha=1.0, seed=1)
    with pytest.raises(ValueError, match="include_best"):
        sample_and_score(engine, b"abcd", n=1, alpha=1.0, seed=1, include_best=True)


@given(spec=specs(unigram=False), line=texts, seed=st.integers(0, 2**64 - 1))
def test_truth_dropout_at_its_ends(spec: TokenizerSpec, line: bytes, seed: int) -> None:
    engine, reference = engine_of(spec), truth.model_of(spec)
    text = truth.normalize(reference, line)[0]
    for dropout, skip in ((0.0, False), (1.0, True)):
        path = truth.merge(reference, text, lambda skip=skip: skip)  # type: ignore[misc]
        want = [i for i, _, _ in truth.ids_of(reference, text, path)]
        assert engine.encode_with_dropout(line, dropout, seed).tolist() == want
    again = engine.encode_with_dropout(line, 0.5, seed)
    assert engine.encode_with_dropout(line, 0.5, seed).tolist() == again.tolist()


def test_unit_dropout_is_a_probability() -> None:
    vocab = Vocab.from_items([(b"<unk>", 0), (b"a", 1), (b"b", 2), (b"ab", 3)])
    model = ScoredBPE(vocab, np.array([0, -1, -2, -3]), np.array([2, 1, 1, 1]), 0)
    normalizer = SentencePieceNormalizer(add_dummy_prefix=False)
    engine = engine_of(TokenizerSpec(model, normalizer=(normalizer,), decoder=(SentencePieceDecoder(),)))
    whole = sum(engine.encode_with_dropout(b"ab", 0.25, seed).tolist() == [3] for seed in range(4000))
    assert abs(whole - 3000) < 4 * math.sqrt(4000 * 0.25 * 0.75)
    with pytest.raises(ValueError, match="dropout"):
        engine.encode_with_dropout(b"ab", 1.5, 1)


def test_unit_pieces_that_share_the_lowest_score() -> None:
    """In the order of their ids but for those, as in Llama 2: they join last, of two the left one."""
    pieces = {b"<unk>": 0, b"a": -1, b"b": -2, b"c": -3, b"ab": -99, b"ca": -99, b"bc": -5}
    vocab = Vocab.from_items((piece, i) for i, piece in enumerate(pieces))
    model = ScoredBPE(vocab, np.array(list(pieces.values())), np.array([2] + [1] * 6), 0)
    normalizer = SentencePieceNormalizer(add_dummy_prefix=False)
    engine = engine_of(TokenizerSpec(model, normalizer=(normalizer,), decoder=(SentencePieceDecoder(),)))
    assert encode_all(engine, [b"abc", b"cab", b"ab", b"bcab"]) == [[1, 6], [5, 2], [4], [6, 4]]


# The real models.

hostile = st.lists(
    st.one_of(
        st.text(max_size=8).map(lambda t: t.encode("utf-8", "surrogatepass")),
        st.text(alphabet="▁ \t\n\r\0\x7f\u00a0\u3000\u200bé́̈①ﬁ中ｶﾞ한", max_size=8).map(str.encode),
        st.text(alphabet="abAB '.,<>/s0129-_~{}", max_size=12).map(str.encode),
        st.binary(max_size=6),
        st.sampled_from(
            [b"</s>", b"<unk>", b"<0x41>", b"  ", b"x" * 120, b"\xe2\x96", b"\xf4\x90\x80\x80", b"\xed\xa0\x80"]
        ),
    ),
    max_size=6,
).map(b"".join)


@settings(max_examples=500 if FULL else 75)
@given(lines=st.lists(hostile, min_size=40, max_size=40))
def test_peer_ill_formed_bytes(model: tuple[TokenizerSpec, Any], lines: list[bytes]) -> None:
    spec, peer = model
    engine = ENGINES.setdefault(spec.fingerprint, engine_of(spec))
    want = peer.encode(lines)
    assert encode_all(engine, lines) == want
    assert [engine.decode(np.array(row, np.uint32)).decode() for row in want] == peer.decode(want)


ENGINES: dict[str, Engine] = {}

# Letters of two bytes: in pieces of T5; in none; Arabic, of which Llama 2 knows some; what joins them and what rules
# change; runs long enough to be given without a look; and what may stand before, between and behind them.
LETTERS_OF_TWO_BYTES = [*"вжñé·«Ж中，'\u00a8\u0306\u064b", "ст", "на", "ыы", "жщъыьэюя", "مم", "الم", "αβγ", "中国人民"]
AROUND_THEM = [*"   \0\n=<,1a\u00a0", "  ", "   ", "и\u0306", "e\u0301", "か\u3099", "\ud800"]


def test_peer_letters_of_two_bytes(model: tuple[TokenizerSpec, Any]) -> None:
    spec, peer = model
    engine, random = engine_of(spec), Random(3)
    parts = [part.encode(errors="surrogatepass") for part in LETTERS_OF_TWO_BYTES + AROUND_THEM] + [b"\xd0"]
    lines = [b"".join(random.choices(parts, k=random.randrange(17))) for _ in range(10_000)]
    assert encode_all(engine, lines) == peer.encode(lines)


def test_peer_words_on_each_side_of_a_table(model: tuple[TokenizerSpec, Any]) -> None:
    """Words of as many bytes and ids as a line of the cache has room for, one less and one more; words that become more
    characters than are looked at together; and runs of unknown characters, to where
    sums get another exponent and to where they are taken off.
    """
    spec, peer = model
    lines = [letter * n for letter in "xé7.-жя" for n in (1, 5, 6, 7, 13, 14, 15, 16, 17, 30, 31, 32, 33, 64, 128, 129)]
    lines += [" " + line for line in lines] + [line + "中" for line in lines]
    lines += ["\ufdfa" * n for n in (1, 13, 14, 15, 42, 43)] + ["中ж" * n + "ﬁ" for n in (1, 5, 8, 20, 21)]
    lines += [
        f"{start} {character * n} the tokenization of{character * 40}, unbelievable"
        for start in ("", "a", "interesting " * 30)
        for character in ("中", "ж", "क", "\U0001f600", "\ue000")
        for n in (1, 2, 7, 15, 16, 17, 18, 33, 100, 1000, 4300, 8500)
    ]
    texts_of_lines = [line.encode() for line in lines]
    want = peer.encode(texts_of_lines)
    engine = engine_of(spec, 1 << 20)
    for _ in range(3):
        assert encode_all(engine, texts_of_lines) == want


# Characters that are alone: known as they are but in no other piece, unknown ones of 2, 3 and 4 bytes, and what changes
# whether the one before them is - rules that go over both, what is ill-formed, symbols that the user defined.
ALONE = [*"中文字ж語ॐ\U0001f600\U00020000ßλ", "жж", "文" * 9, "語" * 20, "λ" * 5, "\U0001f600" * 3, "ж語\U0001f600"]
NOT_ALONE = [*"ab,.1 é  ▁\0\n", "か\u3099", "e\u0301", "ﬁ", "①", "한", "the", "和", "文b", "λλ和", "\ud800", " 語"]
ALONE_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "byte_fallback": {"byte_fallback": True},
    "symbols": {"user_defined_symbols": ["和", "λλ", "文b"]},
    "suffix": {"treat_whitespace_as_suffix": True},
    "spaces": {"remove_extra_whitespaces": False, "normalization_rule_name": "identity"},
    "nfkc": {"normalization_rule_name": "nfkc", "add_dummy_prefix": False},
    "surface": {"unk_surface": "?", "normalization_rule_name": "nmt_nfkc_cf"},
}


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("option", ALONE_OPTIONS)
def test_peer_characters_that_are_alone(kind: str, option: str, tmp_path: Path) -> None:
    """Lines of all lengths up to a few blocks of 64 bytes, and a long one, so that runs lie across every edge."""
    sentencepiece = pytest.importorskip("sentencepiece")
    model, random = io.BytesIO(), Random(5)
    words = ["the", "that", "and", "café", "a1", "ab,", "ba", "中", "文", "λ", "é"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(random.choices(words, k=9)) for _ in range(300)]),
        model_writer=model,
        model_type=kind,
        vocab_size=340 if option == "byte_fallback" else 60,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **ALONE_OPTIONS[option],
    )
    peer = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    (tmp_path / "alone.model").write_bytes(model.getvalue())
    spec = formats.read(tmp_path / "alone.model")
    parts = [part.encode(errors="surrogatepass") for part in ALONE * 2 + NOT_ALONE] + [b"\xd0", b"\xe4\xb8"]
    lines = [b"".join(random.choices(parts, k=random.randrange(40))) for _ in range(3000)]
    lines += [
        b" " * n + ("文" * k).encode() + end for n in range(4) for k in (1, 2, 3, 21, 22) for end in (b"", b"a", b" ")
    ]
    lines += [b"x" * n + ("ж語" * 30 + "か\u3099").encode() for n in range(64)] + [b"".join(lines)]
    want = peer.encode(lines)
    engine = engine_of(spec)
    assert encode_all(engine, lines) == want
    assert encode_all(engine, lines) == want
    for line, ids in zip(lines[:300], want, strict=False):
        assert engine.encode_with_offsets(line)[0].tolist() == ids
    assert [engine.decode(np.array(row, np.uint32)).decode() for row in want] == peer.decode(want)


@given(line=st.text(alphabet="abcdefgh theinr.,1", min_size=1, max_size=60), k=st.integers(2, 64))
def test_peer_nbest(data_dir: Path, line: str, k: int) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    path = data_dir / "vocab" / "t5.spiece.model"
    if not path.is_file():
        pytest.skip("no t5.spiece.model in the test data")
    if "t5" not in ENGINES:
        ENGINES["t5"] = engine_of(formats.read(path))
        PEERS["t5"] = sentencepiece.SentencePieceProcessor(model_file=str(path))
    got = [ids.tolist() for ids, _ in ENGINES["t5"].lattice(line.encode()).best(k)]
    want = PEERS["t5"].nbest_encode_as_ids(line, k)
    assert got == [row for row in want if row]


PEERS: dict[str, Any] = {}


@pytest.mark.corpus
@pytest.mark.parametrize("corpus", ["english", "multilingual", "code"])
def test_peer_whole_documents(model: tuple[TokenizerSpec, Any], data_dir: Path, corpus: str) -> None:
    """Long texts, whose sums grow past what is taken off, on a cache that is too small for them and one that is not."""
    spec, peer = model
    path = data_dir / "corpus" / f"{corpus}.txt"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the test data")
    with open(path, "rb") as opened:
        data = opened.read(3_000_000)
    documents = [*data.split(b"<|endoftext|>"), data[:1_500_000].replace(b"\n", b" ")]
    want = peer.encode(documents)
    for cache_bytes in (1 << 14, 1 << 24):
        engine = engine_of(spec, cache_bytes)
        assert encode_all(engine, documents) == want
        assert encode_all(engine, documents) == want


# Hostile models and input.


def charsmap(units: list[int], strings: bytes = b"x\0") -> bytes:
    units = units + [0x80000000 - 1 & 0xFF] * (256 - len(units))
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + strings


def unit(offset: int, label: int, leaf: bool = False) -> int:
    return offset << 10 | leaf << 8 | label


BAD_CHARSMAPS = {
    "short": b"\1\2\3",
    "no strings": struct.pack("<I", 1024) + bytes(1024),
    "odd size": struct.pack("<I", 1000) + bytes(1002),
    "no NUL at the end": charsmap([unit(1, 0)], b"xy"),
    "root without children": charsmap([0]),
    "offset outside": charsmap([unit(1 << 12, 0)]),
    "string outside": charsmap([unit(1, 0), 0x80000000 | 77]),
}


@pytest.mark.parametrize("name", BAD_CHARSMAPS)
def test_safety_damaged_charsmap(name: str) -> None:
    with pytest.raises(ValueError, match="charsmap: byte"):
        Normalizer(BAD_CHARSMAPS[name], True, True, True, False)


@given(data=st.data())
def test_safety_random_charsmap(data: st.DataObject) -> None:
    """Units whose offsets stay inside are taken as they come: circles, shared children, leaves anywhere."""
    small = st.builds(unit, st.integers(0, 255), st.integers(0, 255), st.booleans())
    leaf = st.integers(0, 3).map(lambda at: 0x80000000 | at)
    units = data.draw(st.lists(st.one_of(small, small, leaf), min_size=256, max_size=256))
    units[0] = unit(data.draw(st.integers(1, 255)), 0)
    try:
        normalizer = Normalizer(charsmap(units, b"ab\0\0"), True, True, True, False)
    except ValueError:
        return
    normalizer.normalize(data.draw(st.binary(max_size=200)))


def test_safety_circle_is_refused() -> None:
    """Unit 97 leads to itself by the byte 'a': a rule without end."""
    units = [0xFF] * 256
    units[0] = unit(1, 0)  # base 1
    units[1 ^ 97] = unit((1 ^ 97) ^ 1, 97)  # the child by 'a' of base 1, whose base is 1 again
    with pytest.raises(ValueError, match="charsmap: byte"):
        Normalizer(charsmap(units), True, True, True, False)


@pytest.mark.parametrize("unigram", [True, False])
@pytest.mark.parametrize("character", [b"a", b" ", "中".encode(), b"\xff", b"\0", b".", "\u3000".encode()])
def test_safety_long_line_of_one_character(character: bytes, unigram: bool) -> None:
    """200,000 of them, which a quadratic encoder would not be done with."""
    vocab = Vocab.from_items(
        [(p.encode(), i) for i, p in enumerate(["<unk>", "▁", "a", "aa", "aaaa", "▁▁", "中中", "."])]
    )
    parts = {"vocab": vocab, "scores": np.arange(8) * -1.0, "kinds": np.array([2] + [1] * 7, np.uint8), "unk_id": 0}
    model = Unigram(**parts) if unigram else ScoredBPE(**parts)
    for trim in (True, False):
        normalizer = SentencePieceNormalizer(remove_extra_whitespaces=trim)
        engine = engine_of(TokenizerSpec(model, normalizer=(normalizer,), decoder=(SentencePieceDecoder(),)))
        n = 1 << 12 if BRIEF else 200_000
        got = encode_all(engine, [character * n])[0]
        assert got == engine.encode_with_offsets(character * n)[0].tolist()
        assert len(got) <= n + 1


def test_safety_wrong_arguments() -> None:
    engine = abc()
    ids, counts = np.empty(100, np.uint32), np.zeros(1, np.int64)
    with pytest.raises(IndexError, match="outside"):
        engine.encode_spans(b"ab", np.array([[0, 3]]), ids, 0, counts)
    with pytest.raises(ValueError, match="room"):
        engine.encode_spans(b"ab", np.array([[0, 2]]), ids[:1], 0, counts)
    with pytest.raises(ValueError, match="counts"):
        engine.encode_spans(b"ab", np.array([[0, 2]]), ids, 0, np.zeros(2, np.int64))
    with pytest.raises(IndexError, match="no piece"):
        engine.decode(np.array([11], np.uint32))
    with pytest.raises(TypeError):
        Lattice()
    assert engine.decode(np.array([], np.uint32)) == b""


def parts(pieces: list[bytes], kinds: list[int], **changes: Any) -> tuple[Any, ...]:
    offsets = np.cumsum([0, *map(len, pieces)]).astype(np.int64)
    given: dict[str, Any] = {"unknown": 0, "byte_fallback": False, "family": "bpe"} | changes
    scores: NDArray[np.float64] = np.full(len(pieces), -1.0)
    return (
        b"".join(pieces),
        offsets,
        scores,
        np.array(kinds, np.uint8),
        given["unknown"],
        given["byte_fallback"],
        given["family"],
        b"",
        (True, True, True, False),
        (b"?", True, True),
        SMALL_CACHE,
    )


@pytest.mark.parametrize("family", ["bpe", "unigram"])
def test_safety_wrong_models(family: str) -> None:
    with pytest.raises(ValueError, match="twice"):
        Engine(*parts([b"<unk>", b"a", b"a"], [2, 1, 1], family=family))
    with pytest.raises(ValueError, match="no id"):
        Engine(*parts([b"a"], [1], unknown=None, family=family))
    with pytest.raises(ValueError, match="kind asks"):
        Engine(*parts([b"<unk>", b"zz"], [2, 6], family=family))
    with pytest.raises(ValueError, match="outside"):
        Engine(*parts([b"<unk>"], [2], unknown=5, family=family))
    engine = Engine(*parts([b"<unk>", b"a" * 3000, b"\xff\xfe", b"\0"], [2, 1, 4, 1], family=family))
    for text in (b"a" * 9000, b"\xff\xfe" * 5, b"\0", b"\xe2"):
        encode_all(engine, [text])
