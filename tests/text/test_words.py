"""Counting words: held to the reference's splitting, and to itself whatever the parts it is done in."""

import contextlib
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmfast.reference import text as reference
from lmfast.text import _text, sources, words
from lmfast.text._train import Words, cut, gather, spans
from lmfast.text.patterns import PATTERNS, SPLITTERS
from lmfast.text.spec import BPE, Split, TokenizerSpec, Vocab
from lmfast.text.words import Progress, WordCounts, count_words

NAMES = ["gpt2", "cl100k", "o200k", "llama3", "qwen2"]
ALPHABET = "aaab BZ019 .,'-\n\r\t  éſ中́٣ …🙂\ud800s"
TEXTS = st.lists(st.text(st.sampled_from(ALPHABET), max_size=60) | st.text(max_size=20), max_size=6)
ENCODED = st.text(st.sampled_from(ALPHABET[:-2]), max_size=60).map(str.encode)
BYTES = st.lists(st.binary(max_size=40) | ENCODED, max_size=6)


def pieces(text: str | bytes, pattern: str) -> list[bytes]:
    """The pieces of a text by the reference."""
    vocab = Vocab.from_items((bytes([b]), b) for b in range(256))
    spec = TokenizerSpec(BPE(vocab), (Split(PATTERNS.get(pattern, pattern)),))
    return [piece if isinstance(piece, bytes) else piece.encode() for piece in reference.split(text, spec)]


def counted(texts: list[bytes] | list[str], pattern: str) -> list[tuple[bytes, int]]:
    """The pieces of texts and their counts by the reference, in the order in which they come."""
    return list(Counter(piece for text in texts for piece in pieces(text, pattern)).items())


def test_unit_count_words(tmp_path: Path) -> None:
    got = count_words(["the cat", b"the dog", "the cat"])
    assert list(got) == [(b"the", 3), (b" cat", 2), (b" dog", 1)]
    assert (len(got), got.total, got.pattern) == (3, 6, PATTERNS["cl100k"])
    assert list(count_words(["a b", "a b", ""], None)) == [(b"a b", 2)]
    (tmp_path / "a.txt").write_bytes(b"the cat|the dog|")
    assert list(count_words(str(tmp_path / "a.txt"), separator="|")) == [(b"the", 2), (b" cat", 1), (b" dog", 1)]
    assert list(count_words([b"so", tmp_path / "a.txt"])) == [
        *[(b"so", 1), (b"the", 1), (b" cat", 1), (b"|the", 1), (b" dog", 1), (b"|", 1)]
    ]
    for empty in ([], [""], iter([])):
        assert list(count_words(empty)) == []


def test_unit_word_counts() -> None:
    a = WordCounts.from_items({b"x": 2, b"a long word, a long word": 1})
    b = WordCounts.from_items([(b"y", 1), (b"x", 3)])
    assert list(a + b) == [(b"x", 5), (b"a long word, a long word", 1), (b"y", 1)]
    assert a + b != b + a
    assert a + b == WordCounts.from_items([*a, *b])
    assert pickle.loads(pickle.dumps(a)) == a
    assert repr(b) == "WordCounts(2 different of 4 words)"
    assert list(WordCounts.from_items([]) + b) == list(b)
    with pytest.raises(ValueError, match="do not add up"):
        a + WordCounts.from_items({}, "gpt2")
    with pytest.raises(TypeError):
        a + 1  # type: ignore[operator]
    with pytest.raises(ValueError, match="read-only"):
        a.counts[0] = 1


@pytest.mark.parametrize("name", NAMES)
@given(texts=TEXTS)
def test_truth_counts(name: str, texts: list[str]) -> None:
    texts = [text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") for text in texts]
    assert list(count_words(texts, name, threads=1)) == counted(texts, name)


@given(texts=BYTES)
def test_truth_counts_of_bytes(texts: list[bytes], isa: str) -> None:
    want = counted(texts, "cl100k")
    assert list(count_words(texts, threads=1, isa=isa)) == want
    slow = rf"(?:{PATTERNS['cl100k']})"
    assert slow not in SPLITTERS
    assert list(count_words(texts, slow)) == want


@pytest.mark.parametrize("name", NAMES)
@given(texts=BYTES)
def test_property_parts_of_a_text_have_its_pieces(name: str, texts: list[bytes]) -> None:
    text = b"".join(texts)
    whole = {0, *_text.split(name, text)}
    for n in range(len(text) + 1):
        at = cut(name, text[:n])
        assert 0 <= at < max(1, n)
        if at:
            assert {*_text.split(name, text[:at]), *(at + end for end in _text.split(name, text[at:]))} == whole - {0}


@pytest.mark.parametrize("name", [*NAMES, None, r"\w+|\W"])
@given(texts=BYTES, chunk=st.integers(1, 40), mark=st.sampled_from([None, b"a", b"aa", b"aab", b" ", b"\n"]))
def test_property_any_parts(
    name: str | None, texts: list[bytes], chunk: int, mark: bytes | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = b" a. ".join(texts)
    path = tmp_path_factory.mktemp("words") / "text"
    path.write_bytes(text)
    want = count_words(text.split(mark) if mark else [text], name, threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_CHUNK", chunk)
        assert count_words(path, name, separator=mark, threads=1) == want
        assert count_words([path], name, separator=mark, threads=3) == want
        assert count_words(texts, name, threads=2) == sum(
            (count_words([text], name) for text in texts), WordCounts.from_items([], name)
        )


@given(st.binary(max_size=60), st.sampled_from([b"a", b"ab", b"aa", b"\0\0"]))
def test_property_spans(text: bytes, separator: bytes) -> None:
    text = text.replace(b"\1", separator)
    assert [text[start:stop] for start, stop in spans(text, separator)] == text.split(separator)


def test_unit_many_spans() -> None:
    for n in (4094, 4095, 4096, 4097, 8190, 8191, 8192, 8193, 20000):
        assert [stop - start for start, stop in spans(b"a|" * n, b"|").tolist()] == [1] * n + [0]
        assert len(spans(b"a|" * n + b"a", b"|")) == n + 1


@pytest.mark.parametrize("name", ["english", "multilingual", "code"])
def test_isa_corpus(name: str, data_dir: Path) -> None:
    with (data_dir / "corpus" / f"{name}.txt").open("rb") as file:
        text = file.read(1 << 20)
    for pattern in NAMES:
        want = count_words([text], pattern, threads=1, isa="generic")
        assert sum(len(word) * n for word, n in want) == len(text)
        assert all(count_words([text], pattern, threads=1, isa=isa) == want for isa in _text.isas())


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["english", "multilingual", "code"])
def test_truth_corpus(name: str, data_dir: Path) -> None:
    path = data_dir / "corpus" / f"{name}.txt"
    want: Counter[bytes] = Counter()
    for document in path.read_bytes().split(b"<|endoftext|>"):
        ends = _text.split("cl100k", document)
        want.update(document[start:stop] for start, stop in zip([0, *ends], ends, strict=False))
    for threads in (1, 2, 5):
        assert list(count_words(path, separator="<|endoftext|>", threads=threads)) == list(want.items())


def test_unit_word_lengths() -> None:
    """Words on each side of 15 bytes, that differ only at their ends, and more of them than a table has at first."""
    texts = [b"x" * n + end for n in range(300) for end in (b"", b"y", b"\0", b"\0\0")]
    assert list(count_words(texts * 2, None)) == [(text, 2) for text in dict.fromkeys(texts) if text]
    many = [b"%d" % i for i in range(50_000)]
    assert list(count_words(many, None, threads=2)) == [(text, 1) for text in many]


@pytest.mark.parametrize("name", ["npz", "parquet"])
@given(texts=BYTES, pattern=st.sampled_from(["cl100k", None, r"\s"]))
def test_property_save_and_load(
    name: str, texts: list[bytes], pattern: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path_factory.mktemp("words") / f"words.{name}"
    want = count_words(texts, pattern, threads=1)
    want.save(path)
    assert WordCounts.load(path) == want


def test_safety_load(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "words.npz"
    count_words(["some words, some more words"]).save(path)
    whole = path.read_bytes()
    damaged = [whole[:n] for n in (0, 3, 10, len(whole) // 2, len(whole) - 1)]
    for _ in range(200):
        data = bytearray(whole)
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(data))
    for data in damaged:
        path.write_bytes(data)
        with contextlib.suppress(ValueError):
            assert len(WordCounts.load(path)) < 100
    for arrays in ({"words": np.zeros(1)}, {"words": np.array([None])}):
        with path.open("wb") as file:
            np.savez(file, **arrays)
        with pytest.raises(ValueError, match="not a file of word counts"):
            WordCounts.load(path)
    with pytest.raises(FileNotFoundError):
        WordCounts.load(tmp_path / "none")


@given(texts=BYTES, n=st.integers(1, 3), pattern=st.sampled_from(["cl100k", r"\w+|\W"]))
def test_property_spilled_counts(texts: list[bytes], n: int, pattern: str) -> None:
    want = count_words(texts, pattern, threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_CHUNK", 8)
        patch.setattr(words, "_LEAST_MEMORY", 1)
        assert count_words(texts, pattern, threads=n, max_memory=n) == want


@pytest.mark.corpus
def test_property_spilled_corpus(data_dir: Path) -> None:
    path = data_dir / "corpus" / "multilingual.txt"
    want = count_words(path)
    assert count_words(path, max_memory=1 << 24) == want


def test_unit_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"word " * 1000)
    monkeypatch.setattr(sources, "_CHUNK", 1000)
    seen: list[Progress] = []
    count_words(tmp_path / "a", progress=seen.append, threads=1)
    assert [p.stage for p in seen] == ["count"] * len(seen)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert (seen[-1].done, seen[-1].total) == (5000, 5000)

    def stop(progress: Progress) -> None:
        if progress.done > 2000:
            raise KeyboardInterrupt

    for threads in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            count_words(tmp_path / "a", progress=stop, threads=threads)


def test_safety_words() -> None:
    huge = np.iinfo(np.int64).max
    with pytest.raises(OverflowError):
        WordCounts.from_items([(b"a", huge), (b"a", 1)])
    assert WordCounts.from_items([(b"a", huge), (b"b", huge)]).total == 2 * huge
    with pytest.raises(OverflowError):
        WordCounts.from_items([(b"a", huge)]) + WordCounts.from_items([(b"a", 1)])
    for items in ([(b"", 1)], [(b"a", 0)], [(b"a", 1), (b"b", -1)]):
        with pytest.raises(ValueError, match="at least 1"):
            WordCounts.from_items(items)
    at, one = np.array([0, 2, 1]), np.ones(2, np.int64)
    with pytest.raises(ValueError, match="word 1 is empty"):
        WordCounts(b"a", at, one, None)
    with pytest.raises(ValueError, match="counted 0 times"):
        WordCounts(b"a", np.array([0, 1]), np.array([0]), None)
    table = Words("cl100k")
    for offsets in ([0, 3], [-1, 1], [0], [0, 1, 2]):
        with pytest.raises(ValueError, match="offsets"):
            table.add(b"ab", np.array(offsets), np.array([1]), np.zeros(1, np.uint64))
    with pytest.raises(ValueError, match="firsts"):
        table.add(b"ab", np.array([0, 2]), np.array([1]), np.zeros(2, np.uint64))
    for offsets, order in (
        ([0, 1, 2], [0, 2]),
        ([0, 1, 2], [0, 0]),
        ([0, 3, 2], [0, 1]),
        ([0, 1, 3], [0, 1]),
        ([0], [0]),
    ):
        with pytest.raises(ValueError, match=r"order|offsets"):
            gather(b"ab", np.array(offsets), np.array(order))
    for span in ([[0, 3]], [[-1, 1]], [[2, 1]]):
        with pytest.raises(ValueError, match=r"spans\[0\]"):
            table.count(b"ab", np.array(span), 0)
    with pytest.raises(ValueError, match="spans"):
        table.count(b"ab", np.array([[1]]), 0)
    with pytest.raises(ValueError, match="max_memory"):
        count_words([], max_memory=1000)
    with pytest.raises(ValueError, match="separator is empty"):
        count_words([], separator="")
    with pytest.raises(TypeError, match=r"source\[1\]: .* got int"):
        count_words(["a", 1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="source"):
        count_words(b"text")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        count_words("/no/such/file", threads=2)
