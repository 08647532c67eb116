"""Inputs made to hurt: gigantic runs, noise, a flood of strings that never come again. Nothing here measures time.

A piece of megabytes would run for hours in a quadratic merge, and overflow the stack in a recursive one.
"""

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmfast.reference.text import train_bpe
from lmfast.text.patterns import PATTERNS
from lmfast.text.spec import BPE, NFC, AddedToken, Split, TokenizerSpec
from lmfast.text.tokenizer import Tokenizer

NAMES = ["gpt2", "cl100k_base", "o200k_base", "llama3", "qwen2"]
FULL = os.environ.get("LMFAST_TEST_FULL") == "1"
BIG = 10_000_000
FAMILY = "👩\u200d👩\u200d👧\u200d👦"

# A run of each is one piece, or many; the reference merges a short one and the long one must repeat it.
RUNS = [
    "a",
    " ",
    "\n",
    "7",
    "!",
    "é",
    "中",
    "\u0301",
    "\u200d",
    FAMILY,
    "ab",
    "aA",
    " a",
    "\r\n",
    "\x00",
    "'s",
    "\U0010ffff",
]


@pytest.fixture(scope="module")
def base() -> BPE:
    """A small vocabulary learnt from what comes below, so that merges happen in it."""
    texts = [run * n for run in RUNS for n in (2, 5, 40)] + ["the cat's 12 hats\n\n  in the rain " * 20]
    model = train_bpe(texts, 600, r"(?s:.+)").model
    assert isinstance(model, BPE)
    return model


@pytest.fixture(scope="module")
def made(base: BPE) -> Callable[[str], Tokenizer]:
    toks = {name: Tokenizer(TokenizerSpec(base, (Split(PATTERNS[name]),))) for name in NAMES}
    return toks.__getitem__


def check_round_trip(tok: Tokenizer, text: bytes) -> np.ndarray:
    ids = tok.encode(text)
    assert tok.count(text) == len(ids)
    assert tok.decode_bytes(ids) == text
    return ids


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=ascii)
def test_safety_gigantic_runs(made: Callable[[str], Tokenizer], run: str) -> None:
    data = run.encode()
    most = BIG if FULL or run in ("a", " ", "\u0301", FAMILY) else BIG // 5
    check_round_trip(made("cl100k_base"), data * (most // len(data)))
    for name in NAMES:
        check_round_trip(made(name), data * (BIG // 20 // len(data)))


@pytest.mark.slow
def test_safety_gigantic_noise(made: Callable[[str], Tokenizer], rng: np.random.Generator) -> None:
    noise = rng.bytes(BIG)
    letters = rng.choice(list(b"abcd"), BIG).astype(np.uint8).tobytes()  # one piece
    for name in NAMES:
        check_round_trip(made(name), noise)
        check_round_trip(made(name), letters)


@pytest.mark.parametrize("run", RUNS, ids=ascii)
def test_truth_long_runs_merge_as_the_reference_has_it(base: BPE, run: str) -> None:
    from lmfast.reference import text as reference

    spec = TokenizerSpec(base)
    for n in (1, 31, 32, 33, 34, 500, 5000):
        data = (run * n).encode()[:6000]
        assert Tokenizer(spec, cache_bytes=1 << 16).encode_list(data) == reference.encode(data, spec)


def test_truth_long_runs_without_order(base: BPE) -> None:
    """A vocabulary whose long pieces go through the heap: its merges are listed backwards."""
    from lmfast.reference import text as reference

    merges = base.merges
    assert merges is not None
    spec = TokenizerSpec(BPE(base.vocab, np.ascontiguousarray(merges[::-1]), ignore_merges=False))
    tok = Tokenizer(spec)
    assert tok._properties()[1] > 0
    for run in RUNS:
        data = (run * 3000).encode()[:3000]
        assert tok.encode_list(data) == reference.encode(data, spec)
    check_round_trip(tok, b"a" * 1_000_000)
    check_round_trip(tok, bytes(random.Random(1).choices(b"ab", k=1_000_000)))


def test_safety_tiny_cache(made: Callable[[str], Tokenizer], base: BPE, rng: np.random.Generator) -> None:
    """Pieces drive each other out; what comes back must still be right."""
    words = [rng.bytes(int(n)).hex().encode() for n in rng.integers(1, 14, 5000)]
    text = b" ".join(words[int(i)] for i in rng.zipf(1.3, 100_000) % len(words))
    tiny = Tokenizer(made("gpt2").spec, cache_bytes=1 << 16)
    for _ in range(2):
        assert np.array_equal(tiny.encode(text), made("gpt2").encode(text))


def test_safety_added_tokens_in_a_row(base: BPE) -> None:
    """Tokens that begin like others everywhere in the text, and white space that two could take."""
    added = [
        AddedToken("a" * 50, 1000, special=False),
        AddedToken("b", 1001, special=False, lstrip=True, rstrip=True),
        AddedToken("é", 1002, special=False, single_word=True, normalized=True),
    ]
    tok = Tokenizer(TokenizerSpec(base, (Split(PATTERNS["gpt2"]),), (NFC(),), tuple(added)))
    assert (tok.encode(b"a" * 50_000) == 1000).all()
    assert tok.encode_list(b"b" * 1000) == [1001] * 1000
    assert tok.encode_list(b" " * 100_000 + b"b" + b" " * 100_000) == [1001]
    assert tok.encode_list(b" b" * 30_000) == [1001] * 30_000
    for text in (b"a" * 49 + b"c", "e\u0301".encode() * 10_000, b"\xc3" * 10_000, ("a" + "\u0301" * 30_000).encode()):
        assert tok.count(text) == len(tok.encode(text))


def resident() -> int:
    """Bytes of memory that this process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/statm")
def test_safety_a_million_distinct_strings_leave_memory_flat(made: Callable[[str], Tokenizer], rng: Any) -> None:
    tok = Tokenizer(made("cl100k_base").spec, cache_bytes=1 << 20)
    sizes = []
    for _ in range(100):
        blob = rng.bytes(10_000 * 12).hex()
        texts = [blob[i : i + 24] for i in range(0, len(blob), 24)]
        tok.encode_batch(texts, threads=1)
        for text in texts[:1000]:
            tok.encode(text)
        sizes.append(resident())
    assert max(sizes[50:]) - sizes[20] < 8 << 20


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/statm")
def test_safety_tokenizers_give_their_memory_back(base: BPE) -> None:
    spec = TokenizerSpec(base, (Split(PATTERNS["gpt2"]),), added_tokens=(AddedToken("<x>", 1000),))
    sizes = []
    for _ in range(40):
        tok = Tokenizer(spec, cache_bytes=4 << 20)
        tok.decode(tok.encode_list("hello world <x> é" * 100, allowed_special="all"))
        del tok
        sizes.append(resident())
    assert max(sizes[20:]) - sizes[10] < 8 << 20


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
@pytest.mark.parametrize("separator", [None, "<>"])
def test_safety_a_file_is_read_a_part_at_a_time(
    made: Callable[[str], Tokenizer], tmp_path: Path, separator: Any
) -> None:
    """However long its document is. What is kept of the file beside its ids are parts of 128 KB."""
    tok, line, path = made("gpt2"), b"a line of " + b"z" * 53 + b"\n", tmp_path / "long"
    path.write_bytes(line * (1 << 18))  # 16 MB
    tok.encode_batch([line] * 1000, threads=1)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
    except OSError as error:
        pytest.skip(f"the peak cannot be reset: {error}")
    before = resident()
    rows = tok.encode_files([path], separator=separator, threads=1)
    status = Path("/proc/self/status").read_text()
    peak = int(status[status.index("VmHWM:") :].split()[1]) << 10
    assert rows.ids.tolist() == tok.encode_list(line) * (1 << 18)
    assert peak - before - rows.ids.nbytes < 4 << 20
