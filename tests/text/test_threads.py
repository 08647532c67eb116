"""One tokenizer in many threads, across fork, and after calls that fail."""

import gc
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from lmfast import threads
from lmfast.text.patterns import PATTERNS
from lmfast.text.spec import BPE, AddedToken, Split, TokenizerSpec, Vocab
from lmfast.text.tokenizer import Tokenizer

BRIEF = os.environ.get("LMFAST_TEST_BRIEF") == "1"
LESS = 4 if BRIEF else 1  # so many times less text
WORDS = [b"th", b"the", b" the", b"in", b"er", b" a", b"\n\n", "é".encode(), b"hello"]
TOKENS = [*(bytes([b]) for b in range(256)), *WORDS]
SPEC = TokenizerSpec(
    BPE(Vocab.from_items((token, i) for i, token in enumerate(TOKENS))),
    (Split(PATTERNS["cl100k_base"]),),
    added_tokens=(AddedToken("<end>", 300),),
)


@pytest.fixture
def tok() -> Tokenizer:
    return Tokenizer(SPEC, cache_bytes=1 << 17)


def some_texts(rng: np.random.Generator, n: int) -> list[str | bytes]:
    """Texts of all sizes: str, str beyond ASCII, bytes that are no UTF-8."""
    texts: list[str | bytes] = []
    for _ in range(n):
        words = rng.choice(
            ["the", "in", "er", "é", "中", "hello", "a", "\n\n", "42", "<end>"], int(rng.geometric(0.02))
        )
        text = " ".join(words)
        texts.append(text if rng.random() < 0.7 else text.encode() + rng.bytes(3))
    return texts


def test_truth_threads_agree(tok: Tokenizer, rng: np.random.Generator) -> None:
    texts = some_texts(rng, 8000 // LESS)
    one = tok.encode_batch(texts, threads=1, allowed_special="all")
    counts = np.diff(one.offsets)
    assert [one[i].tolist() for i in range(0, len(texts), 97)] == [
        tok.encode_list(text, allowed_special="all") for text in texts[::97]
    ]
    for n in (2, 5, None):
        assert tok.encode_batch(texts, threads=n, allowed_special="all") == one
        assert np.array_equal(tok.count_batch(texts, threads=n, allowed_special="all"), counts)


def test_safety_eight_threads_at_once(tok: Tokenizer, rng: np.random.Generator) -> None:
    texts = some_texts(rng, 2000 // LESS)
    want = [Tokenizer(SPEC, cache_bytes=1 << 16).encode_list(text) for text in texts]
    start = threading.Barrier(8)

    def work(shift: int) -> None:
        start.wait()
        for i in range(len(texts)):
            k = (i + len(texts) // 8 * shift) % len(texts)
            assert tok.encode_list(texts[k]) == want[k]
            assert tok.count(texts[k]) == len(want[k])
            if i % 500 == 0:
                assert tok.encode_batch(texts[:50], threads=1 + shift % 3).tolist() == want[:50]
                assert tok.decode_bytes(want[k]) == (texts[k].encode() if isinstance(texts[k], str) else texts[k])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def hard_words(rng: np.random.Generator, n: int) -> list[bytes]:
    """Words of all lengths, most of which come once: for each kind of entry that the tables have."""
    letters = np.frombuffer(b"theinr ab\0", np.uint8)
    lengths = np.where(rng.random(n) < 0.03, rng.integers(32, 600, n), rng.integers(1, 32, n))
    return [b" " + rng.choice(letters[:-2] if i % 9 else letters, int(k)).tobytes() for i, k in enumerate(lengths)]


def test_truth_threads_share_full_tables(isa: str, rng: np.random.Generator) -> None:
    """Tables far too small for the pieces, so that threads replace under each other what they look up; and calls of one
    thread in between, which change the same tables in another way. The ids are those of tables that nobody shares.
    """
    tok, alone = Tokenizer(SPEC, cache_bytes=1 << 16, isa=isa), Tokenizer(SPEC, cache_bytes=1 << 24, isa=isa)
    words = hard_words(rng, 3000)
    texts = [b"".join(words[i] for i in rng.integers(0, len(words), 1500 // LESS)) for _ in range(40)]
    want = [alone.encode(text) for text in texts]
    for n in (8, 2, 4, 1, 3):
        rows = tok.encode_batch(texts, threads=n)
        assert all(np.array_equal(a, b) for a, b in zip(rows, want, strict=True))
        assert tok.count_batch(texts, threads=n).tolist() == [len(row) for row in want]
        assert np.array_equal(tok.encode(texts[n]), want[n])


def test_safety_batches_at_once(rng: np.random.Generator) -> None:
    """Each of several calls at the same time has tables of its own for its threads."""
    tok = Tokenizer(SPEC, cache_bytes=1 << 16)
    words = hard_words(rng, 500)
    texts = [b"".join(words[i] for i in rng.integers(0, len(words), 1500 // LESS)) for _ in range(30)]
    want = tok.encode_batch(texts, threads=1)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda n: tok.encode_batch(texts, threads=n) == want, [2, 3, 1, 4] * 4))


def test_safety_interrupted(rng: np.random.Generator) -> None:
    """Ctrl-C while threads work: they stop, and the tables they shared serve the next call."""
    tok = Tokenizer(SPEC, cache_bytes=1 << 16)
    texts = [b"".join(hard_words(rng, 1000))] * 100
    want = Tokenizer(SPEC).encode(texts[0])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for delay in (0.001, 0.01, 0.03):
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012
                timer.start()
                for _ in range(1000):
                    tok.encode_batch(texts, threads=2)
            assert all(np.array_equal(row, want) for row in tok.encode_batch(texts[:20], threads=2))
    finally:
        signal.signal(signal.SIGINT, before)


def test_safety_a_batch_within_a_batch(tok: Tokenizer) -> None:
    """Threads of our own pool may ask it for more: a batch encoded from within a part of another."""
    texts = ["the " * (100_000 // LESS)] * 8
    want = tok.encode_batch(texts, threads=1)
    assert all(threads.run([lambda: tok.encode_batch(texts, threads=3) == want] * 3, 2))


@pytest.mark.parametrize("bad", [5, None, ["a"]])
def test_safety_a_wrong_text_among_right_ones(tok: Tokenizer, bad: Any) -> None:
    texts = ["hello the " * (1000 // LESS)] * 300
    want = tok.encode_batch(texts, threads=2)
    for n in (1, 2):
        with pytest.raises(TypeError, match=r"texts\[300\]"):
            tok.encode_batch([*texts, bad], threads=n)
        with pytest.raises(UnicodeEncodeError, match="in text 300"):
            tok.encode_batch([*texts, "a\udc00"], threads=n, errors="strict")
        assert tok.encode_batch(texts, threads=n) == want


def test_safety_an_iterator_that_raises(tok: Tokenizer) -> None:
    def texts() -> Any:
        yield "the"
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        tok.encode_batch(texts())
    assert tok.encode_list("hello") == [264]


def test_unit_run() -> None:
    assert threads.run([], 3) == []
    assert threads.run([lambda i=i: i * i for i in range(20)], 3) == [i * i for i in range(20)]
    done = []
    parts = [lambda: done.append(1), lambda: 1 / 0, lambda: done.append(2)]
    for n in (1, 2):
        with pytest.raises(ZeroDivisionError):
            threads.run(parts, n)
    assert threads.count(3) == 3
    assert threads.count(None) >= 1
    with pytest.raises(ValueError, match="threads = -1"):
        threads.count(-1)


def test_safety_collected_while_in_use(rng: np.random.Generator) -> None:
    """What a call returned outlives the tokenizer."""
    texts = some_texts(rng, 200)
    want = Tokenizer(SPEC).encode_batch(texts).tolist()
    stream = Tokenizer(SPEC).decoder()
    for _ in range(5):
        rows = Tokenizer(SPEC, cache_bytes=1 << 16).encode_batch(texts, threads=2)
        found = Tokenizer(SPEC, cache_bytes=1 << 16).encode_with_offsets(texts[0])
        gc.collect()
        assert rows.tolist() == want
        assert found.ids.tolist() == want[0]
    assert stream.push(264) == "hello"


# Fork, in a process of its own: this one has threads of other libraries.

FORKS = """
import multiprocessing, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads, which is the point here
from lmfast.text.patterns import PATTERNS
from lmfast.text.spec import BPE, Split, TokenizerSpec, Vocab
from lmfast.text.tokenizer import Tokenizer

vocab = Vocab.from_items([*((bytes([b]), b) for b in range(256)), (b"the", 256)])
tok = Tokenizer(TokenizerSpec(BPE(vocab), (Split(PATTERNS["gpt2"]),)))
texts = ["the the " * 50_000] * 40
want = tok.encode_batch(texts, threads=3)

def right(_=0):
    return tok.encode_batch(texts, threads=3) == want and tok.encode_list("the") == [256]

stop = threading.Event()
def busy():
    while not stop.is_set():
        tok.encode(texts[0])
        tok.encode_batch(texts[:8], threads=2)
others = [threading.Thread(target=busy) for _ in range(2)]
for thread in others:
    thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        os._exit(0 if right() else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in others:
    thread.join()
assert right()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert all(pool.map(right, range(4)))
print("ok")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_safety_fork(tmp_path: Any) -> None:
    env = {**os.environ, "LMFAST_CHECK": "0"}  # the reference would take minutes
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=120, cwd=tmp_path, env=env, check=False
    )
    assert done.stdout == "ok\n", done.stderr
