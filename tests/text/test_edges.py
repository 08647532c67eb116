"""Texts that begin right behind a page that must not be touched, or end right before one."""

import ctypes
import mmap
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmfast.text.patterns import PATTERNS
from lmfast.text.spec import BPE, Split, TokenizerSpec, Vocab
from lmfast.text.tokenizer import Tokenizer

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect by way of the C library"),
    pytest.mark.skipif(
        os.environ.get("LMFAST_CHECK") == "1", reason="the reference, which is slow, reads other memory"
    ),
]

PAGE, ROOM = mmap.PAGESIZE, 8 * mmap.PAGESIZE
WORDS = [
    "the",
    " ",
    "é",
    "слово",
    "中文字符",
    "한국어",
    "ไทย",
    "😀",
    "\r\n",
    "42",
    "'s",
    "e\u0301",
    "A" * 20,
    "\x00",
    "▁",
]
TOKENS = [*(bytes([b]) for b in range(256)), b"th", b"the", "中文".encode(), "е".encode(), "сл".encode()]
SPEC = BPE(Vocab.from_items((token, i) for i, token in enumerate(TOKENS)))


@pytest.fixture(scope="module")
def island() -> memoryview:
    """Memory between two pages that nobody may read."""
    libc = ctypes.CDLL(None, use_errno=True)
    whole = mmap.mmap(-1, ROOM + 2 * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(whole))
    for page in (start, start + PAGE + ROOM):
        assert libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), 0) == 0
    return memoryview(whole)[PAGE : PAGE + ROOM]


def lengths(rng: np.random.Generator, n: int) -> list[int]:
    return [int(rng.integers(1, high)) for high in rng.choice([66, 200, 3000, ROOM], n)]


def check(tokenizer: Any, island: memoryview, rng: np.random.Generator, *, split: bool) -> None:
    """`split`: texts may begin and end inside a character."""
    text = "".join(rng.choice(WORDS, ROOM)).encode()
    for n in [*range(1, 70), *lengths(rng, 150)]:
        begin = int(rng.integers(0, len(text) - n))
        part = text[begin : begin + n] if split else text[begin : begin + n].decode(errors="ignore").encode()
        want = tokenizer.encode(bytes(part)).tolist()
        for at in (0, ROOM - len(part)):
            view = island[at : at + len(part)]
            view[:] = part
            assert tokenizer.encode(view).tolist() == want
            assert tokenizer.encode_batch([view, view], threads=1)[1].tolist() == want
            assert tokenizer.count(view) == len(want)
            assert tokenizer.encode_with_offsets(view)[0].tolist() == want


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k_base", "o200k_base", "qwen2"])
def test_safety_nothing_outside_is_read(pattern: str, isa: str, island: memoryview, rng: np.random.Generator) -> None:
    tokenizer = Tokenizer(TokenizerSpec(SPEC, (Split(PATTERNS[pattern]),)), isa=isa)
    check(tokenizer, island, rng, split=True)


@pytest.mark.parametrize("name", ["llama2.model", "t5.spiece.model", "bert-base-uncased.tokenizer.json"])
def test_safety_families_read_nothing_outside(
    name: str, data_dir: Path, isa: str, island: memoryview, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMFAST_ISA", isa)
    check(Tokenizer.from_file(data_dir / "vocab" / name), island, rng, split=False)
