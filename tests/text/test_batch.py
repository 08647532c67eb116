"""Many texts and files in parts: cuts within a text, documents across reads, failures in the middle."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmfast.reference.text import byte_level as reference
from lmfast.text import _text
from lmfast.text.documents import documents
from lmfast.text.patterns import PATTERNS
from lmfast.text.spec import BPE, NFC, AddedToken, Split, TokenizerSpec, Vocab
from lmfast.text.tokenizer import Tokenizer

pytestmark = pytest.mark.skipif(os.environ.get("LMFAST_CHECK") == "1", reason="what is checked goes text by text")

BRIEF = os.environ.get("LMFAST_TEST_BRIEF") == "1"
PART, READ = 1 << 17, 1 << 17  # LF_BATCH_PART and LF_BATCH_READ of csrc/text/batch.h
WORDS = [b"th", b"the", b" the", b"in", b"er", b" a", b"\n\n", b" \n", b"\nth", b".\n", "é".encode(), b"hello"]
TOKENS = [*(bytes([b]) for b in range(256)), *WORDS]
VOCAB = Vocab.from_items((token, i) for i, token in enumerate(TOKENS))
SPLITTERS = ("gpt2", "cl100k_base", "llama3", "qwen2", "o200k_base")


def made(pattern: str, **options: Any) -> Tokenizer:
    spec = TokenizerSpec(BPE(VOCAB), (Split(PATTERNS[pattern]),), **options)
    return Tokenizer(spec, cache_bytes=1 << 17)


def some_text(rng: np.random.Generator, n: int, parts: tuple[str, ...]) -> str:
    return "".join(rng.choice(parts, n))


# What stands around line ends decides whether a text may be cut there.
HARD = (
    "the",
    "in",
    "A",
    "é",
    "中",
    "7",
    "'s",
    "'",
    "!",
    "/",
    " ",
    "  ",
    "\t",
    "\r",
    "\n",
    "\n",
    "\n\n",
    "\u0301",
    "\u2028",
)
PROSE = ("the ", "hello ", "in a ", "er, ", "42 ", "end.\n", "end.\n\n", "中文\n", "é\n")


@pytest.mark.parametrize("pattern", SPLITTERS)
@pytest.mark.parametrize("kind", ["ascii", "latin", "plane", "astral", "bytes", "ill-formed"])
def test_truth_a_large_text_is_cut(pattern: str, kind: str, rng: np.random.Generator) -> None:
    """The ids of one call for all of the text, which is never cut."""
    tok = made(pattern)
    for parts in (HARD,) if BRIEF else (HARD, PROSE):
        text = some_text(rng, 150_000, parts)
        if kind in ("ascii", "latin"):
            text = "".join(c for c in text if ord(c) < (128 if kind == "ascii" else 256))
        if kind == "astral":
            text += "\U0001f600"
        item: str | bytes = text
        if kind == "bytes":
            item = text.encode()
        if kind == "ill-formed":
            item = text.encode().replace(b"7", b"\xe4\xb8")
        want = tok.encode(item)
        for n in (3,) if BRIEF else (1, 2, 3):
            rows = tok.encode_batch(["a", item, item, b""], threads=n)
            assert [len(row) for row in rows] == [1, len(want), len(want), 0]
            assert np.array_equal(rows[1], want)
            assert np.array_equal(rows[2], want)
            assert tok.count_batch([item], threads=n).tolist() == [len(want)]


@pytest.mark.parametrize("pattern", SPLITTERS)
def test_truth_each_cut_keeps_the_ids(pattern: str, rng: np.random.Generator) -> None:
    """Where a part may end, found by encoding all beginnings and ends: the parts of a text have its ids."""
    tok, plain = made(pattern), "the.\n"
    for _ in range(10 if BRIEF else 300):
        around = some_text(rng, 6, HARD) + "\n" + some_text(rng, 3, HARD)
        # Lines that may be cut are far away; what is around the middle is the only choice near it.
        text = "x" * (PART - 20) + " " + around + "x" * (PART // 2) + plain
        assert np.array_equal(tok.encode_batch([text], threads=1)[0], tok.encode(text))


def test_truth_normalized_text_is_cut(rng: np.random.Generator) -> None:
    tok = made("qwen2", normalizer=(NFC(),))
    text = some_text(rng, 100_000, (*HARD, "e\u0301", "\n\u1161", "\n\uac00", "\n\u0344"))
    assert np.array_equal(tok.encode_batch([text], threads=2)[0], tok.encode(text))


def test_truth_added_tokens_across_cuts(rng: np.random.Generator) -> None:
    added = (AddedToken("\nthe", 300), AddedToken("end.\n", 301, lstrip=True, rstrip=True))
    tok = made("cl100k_base", added_tokens=added)
    text = some_text(rng, 80_000, PROSE)
    assert 300 < len(text) // 4 < PART
    for allowed in ((), "all"):
        rows = tok.encode_batch([text], threads=2, allowed_special=allowed)
        assert np.array_equal(rows[0], tok.encode(text, allowed_special=allowed))


def test_truth_new_pieces_of_many_texts(isa: str, rng: np.random.Generator) -> None:
    """Pieces that no table holds are merged for many texts at once: each gets its own ids, whatever lies between."""
    added = (AddedToken("<end>", 300), AddedToken("<é>", 301, normalized=True))
    spec = TokenizerSpec(BPE(VOCAB), (Split(PATTERNS["cl100k_base"]),), normalizer=(NFC(),), added_tokens=added)
    between = [" ", " ", " ", "\n", "7", "<end>", "<e\u0301>", "e\u0301", "\0", " " + "thin" * 12]
    texts = []
    for i in range(100):
        words = ["".join(rng.choice(list("theinrlo"), int(n))) for n in rng.integers(1, 20, i % 13)]
        texts.append("".join(word + between[k] for word, k in zip(words, rng.integers(0, 10, len(words)), strict=True)))
    texts += texts[:40]  # known by now, or merged at the same time
    want = [reference.encode(text, spec, allowed_special="all") for text in texts]
    for n in (1, 2):
        for door in (lambda t: t, str.encode):
            tok = Tokenizer(spec, cache_bytes=1 << 17, isa=isa)
            items = [door(text) for text in texts]
            counts = tok.count_batch(items[:20], threads=n, allowed_special="all")
            assert counts.tolist() == [len(ids) for ids in want[:20]]
            assert tok.encode_batch(items, threads=n, allowed_special="all").tolist() == want


def test_unit_a_new_piece_long_before_the_end(isa: str) -> None:
    the, thx = 258, [256, 120]
    tok = Tokenizer(TokenizerSpec(BPE(VOCAB), (Split(PATTERNS["cl100k_base"]),)), isa=isa)
    rows = tok.encode_batch(["thx", " the" * 30_000, "thx" + " the" * 70_000 + " thth", ""], threads=1)
    assert rows.tolist() == [thx, [the] * 30_000, [*thx, *[the] * 70_000, 32, 256, 256], []]


def test_unit_no_room_to_write_in_place() -> None:
    """An array that has room for the ids alone, as it is made where the system does not promise the bound."""
    tok = made("cl100k_base")
    texts: list[str | bytes] = ["the the\n" * 40_000, "the" * 50_000, ""]
    want = tok.encode_batch(texts, threads=1)
    for n in (len(want.ids), len(want.ids) - 1):
        batch = _text.Texts(tok, None, None, texts, False)
        ids, counts = np.zeros(n, np.uint32), np.zeros(3, np.int64)
        batch.begin(ids, counts)
        threads = [threading.Thread(target=batch.work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counts.tolist() == [len(row) for row in want]
        if n == len(want.ids):
            assert batch.finish() == n
            assert np.array_equal(ids, want.ids)
        else:
            with pytest.raises(ValueError, match="want room for"):
                batch.finish()


def test_truth_where_the_bound_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids are counted first where the system does not give the room that there might be of them."""
    tok, text = made("cl100k_base"), "the hello.\n" * 60_000
    want = tok.encode_batch([text, "the"], threads=1)
    (tmp_path / "file").write_text(text)
    empty, refused = np.empty, []

    def less(shape: Any, *rest: Any) -> Any:
        if isinstance(shape, int) and shape > len(text):
            refused.append(shape)
            raise MemoryError
        return empty(shape, *rest)

    monkeypatch.setattr(np, "empty", less)
    for n in (1, 2):
        assert tok.encode_batch([text, "the"], threads=n) == want
        assert np.array_equal(tok.encode_files([tmp_path / "file"], threads=n).ids, want[0])
    assert len(refused) == 4


def test_safety_stopped() -> None:
    """After `stop` threads take no more parts, and another beginning starts afresh."""
    tok = made("cl100k_base")
    batch = _text.Texts(tok, None, None, ["the " * PART], False)
    counts = np.zeros(1, np.int64)
    batch.begin(None, counts)
    batch.stop()
    batch.work()
    assert batch.finish() == 0
    batch.begin(None, counts)
    batch.work()
    assert batch.finish() == counts[0] == tok.count("the " * PART)


def test_safety_the_first_failure_is_told(rng: np.random.Generator) -> None:
    """A surrogate in a later text, in a slice of an earlier one: always the first in the order of the texts."""
    tok = made("cl100k_base")
    large = "the 中.\n" * 60_000
    bad = large + "\udc00" + large
    for n in (1, 2, 3):
        for _ in range(5):
            with pytest.raises(UnicodeEncodeError, match="in text 1") as caught:
                tok.encode_batch([large, bad, "the\udc00", large], threads=n, errors="strict")
            assert (caught.value.start, caught.value.object) == (len(large), bad)
    assert tok.encode_batch(["the"], threads=2).tolist() == [[257]]


def test_safety_unknown_bytes() -> None:
    tokens = [bytes([b]) for b in range(256) if b not in (0xFF, 0xFE)]
    spec = TokenizerSpec(BPE(Vocab.from_items((t, i) for i, t in enumerate(tokens))), (Split(PATTERNS["gpt2"]),))
    tok = Tokenizer(spec, cache_bytes=1 << 16)
    text = b"ab.\n" * 100_000
    for n in (1, 2):
        with pytest.raises(ValueError, match="byte 0xff at offset 400003 of text 1 is not UTF-8"):
            tok.encode_batch([text, text + b"abc\xff", b"\xfe"], threads=n)
        with pytest.raises(ValueError, match="byte 0xfe at offset 0 of text 2 is not UTF-8"):
            tok.count_batch([text, text, b"\xfe"], threads=n)


# Files.


def rows_of(data: bytes, mark: bytes | None) -> list[bytes]:
    """The documents of a file by the words of `encode_files`: none after a separator at the end, one at least."""
    if mark is None:
        return [data]
    found = data.split(mark)
    return found[:-1] if len(found) > 1 and not found[-1] else found


@pytest.mark.parametrize("mark", [None, b"<|end|>", b"\n\n", b"\n", b"aa", b".\nth"])
def test_truth_documents_of_files(mark: bytes | None, tmp_path: Path, rng: np.random.Generator) -> None:
    tok = made("cl100k_base")
    sizes = [0, 1, 7, 5000, READ - 1, READ, READ + 1, 3 * READ + 5, 0, 30]
    contents = [b"<|end|>", b"aaa", b"\n\n\n", b"aa", b"x" * (2 * READ) + b"<|end|>y"]
    for size in sizes:
        text = some_text(rng, size // 2 + 1, (*PROSE, "a", "aa", "\n\n\n", "<|end|>")).encode()[:size]
        contents.append(text)
    paths = []
    for i, data in enumerate(contents):
        paths.append(tmp_path / f"{i}.txt")
        paths[-1].write_bytes(data)
    documents = [row for data in contents for row in rows_of(data, mark)]
    want = [tok.encode(document) for document in documents]
    for n in (3,) if BRIEF else (1, 2, 3):
        rows = tok.encode_files(paths, separator=mark, threads=n)
        assert len(rows) == len(want)
        assert all(np.array_equal(a, b) for a, b in zip(rows, want, strict=True))
    assert len(tok.encode_files([], separator=mark)) == 0


@pytest.mark.parametrize("mark", [None, b"a", b"aa", b"aba", b"\n\n"])
def test_truth_documents_in_parts_of_files(mark: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tokenizers of other families read: a part ends with a document, however short parts are."""
    contents = [b"", b"a", b"aaa", b"abab", b"aaaaab", b"b" * 9 + b"aab", b"\n\n\n", b"ababaab" * 5, b"xaab" * 9 + b"a"]
    paths = [tmp_path / str(i) for i in range(len(contents))]
    for path, data in zip(paths, contents, strict=True):
        path.write_bytes(data)
    for part in (1, 2, 3, 7, 1000):
        monkeypatch.setattr("lmfast.text.documents._PART", part)
        found = [data[start:stop] for data, ends in documents(paths, mark) for start, stop in ends]
        assert found == [row for data in contents for row in rows_of(data, mark)]


def test_truth_what_is_no_file_of_known_size(tmp_path: Path) -> None:
    tok, pipe = made("gpt2"), tmp_path / "pipe"
    os.mkfifo(pipe)
    data = b"the hello\n" * 50_000
    writer = threading.Thread(target=lambda: pipe.write_bytes(data))
    writer.start()
    rows = tok.encode_files([pipe], threads=2)
    writer.join()
    assert np.array_equal(rows[0], tok.encode(data))
    version = Path("/proc/version")
    if version.exists():  # has a size of 0
        assert np.array_equal(tok.encode_files([version])[0], tok.encode(version.read_bytes()))


def test_safety_files_that_cannot_be_read(tmp_path: Path) -> None:
    tok, good = made("gpt2"), tmp_path / "good"
    good.write_bytes(b"the.\n" * 100_000)
    gone = tmp_path / "gone"
    gone.write_bytes(b"the")

    class Vanishing:
        """A path that exists when it is measured, and not when it is opened."""

        times = 0

        def __fspath__(self) -> str:
            self.times += 1
            return str(good if self.times == 1 else tmp_path / "nowhere")

    for n in (1, 2):
        with pytest.raises(FileNotFoundError):
            tok.encode_files([good, tmp_path / "nowhere"], threads=n)
        with pytest.raises(IsADirectoryError):
            tok.encode_files([good, tmp_path], threads=n)
        with pytest.raises(FileNotFoundError):
            tok.encode_files([good, Vanishing(), good], threads=n)
    with pytest.raises(TypeError, match="want several paths"):
        tok.encode_files(str(good))
    with pytest.raises(ValueError, match="separator is empty"):
        tok.encode_files([good], separator="")
