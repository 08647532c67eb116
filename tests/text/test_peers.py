"""Ids equal those of tiktoken and tokenizers: on whole corpora, on hostile strings, on every character there is."""

import base64
import os
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scalars import SCALARS

from lmfast.text.patterns import PATTERNS
from lmfast.text.ragged import Ragged
from lmfast.text.tokenizer import Tokenizer

FULL = os.environ.get("LMFAST_TEST_FULL") == "1"
END = "<|endoftext|>"
RANK_FILES = {"cl100k_base": "cl100k_base", "o200k_base": "o200k_base", "llama3": "llama3", "qwen2": "qwen"}
JSON_FILES = ["gpt2", "gpt-neox-20b"]

# Each byte of a drawn `bytes` stands for one of these, so that hostile strings are cheap to draw and shrink to "a"s.
ATOMS = [
    *"aabstdmSTDMLlvVeErR  \n\n\r\t'''!/.,-_<|>019",
    *(
        "'s",
        "'ll",
        "'VE",
        "'Re",
        "'\u017f",
        "\u017f",
        "\u212a",
        "  ",
        "\r\n",
        " \n",
        "://",
        "//",
        END,
        "<|fim_prefix|>",
    ),
    *"\x00\x0b\x0c\x1c\x1f\x7f\x85\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u180e\u200b\u200d\ufeff\u00ad",
    *"éßñÀÿŸǅǆʰªᾳİıΣςаАйЙԱաႠაᲐꙮꓐ𐐀𐐨𝐀𝐚אבגעַرد\u064aकि\u0915ไทย\u0e33",
    *"中文字日本語のカナ한국어\u1100\u1161\u11a8㐀𠀀、。「」",
    *"²½Ⅷⅷ①٠٣۵०๓༳𝟘𞥐㊿",
    *"\u0300\u0301\u0308\u0327\u0345\u05b0\u093c\u0903\u20dd\u20e3\ufe0f\U000e0100\U0001f3fd",
    *"😀👩👨👧❤🇩🇪🏴€£+=©™→∑\ufffd\ue000\U0010ffff\u0378",
]
RUNS = [2, 3, 4, 7, 15, 16, 17, 31, 32, 62, 63, 64, 65, 66, 127, 130]


def text_of(blob: bytes) -> str:
    """The atoms that bytes stand for; a byte of the last sixteen repeats the atom after it."""
    parts, times = [], 1
    for byte in blob:
        if byte >= 240:
            times = RUNS[byte - 240]
        else:
            parts.append(ATOMS[byte % len(ATOMS)] * times)
            times = 1
    return "".join(parts)


STRINGS = st.binary(max_size=40).map(text_of) | st.text(max_size=20)


class Pair(NamedTuple):
    """A tokenizer of ours and the same one of theirs, as a function from texts to ids."""

    ours: Tokenizer
    theirs: Callable[[list[str]], list[list[int]]]
    allowed: str | tuple[()]  # tokenizers finds special tokens in any text, encode_ordinary of tiktoken nowhere


def of_data(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        pytest.skip(f"no {folder / name}")
    return folder / name


@pytest.fixture(scope="module", params=[*RANK_FILES, *JSON_FILES])
def pair(request: pytest.FixtureRequest, data_dir: Path) -> Pair:
    name = request.param
    if name in JSON_FILES:
        tokenizers = pytest.importorskip("tokenizers")
        path = of_data(data_dir / "vocab", f"{name}.tokenizer.json")
        theirs = tokenizers.Tokenizer.from_file(str(path))
        return Pair(Tokenizer.from_file(path), lambda ts: [e.ids for e in encode_fast(theirs, ts)], "all")
    path = of_data(data_dir / "vocab", f"{RANK_FILES[name]}.tiktoken")
    n_tokens = len(ranks_in(path))
    special = {END: n_tokens + 1, "<|fim_prefix|>": n_tokens + 2}
    theirs = encoding_of(path, name, special)
    ours = Tokenizer.from_file(path, pattern=name, special_tokens=special)
    return Pair(ours, lambda texts: encode_ordinary(theirs, texts), ())


def ranks_in(path: Path) -> dict[bytes, int]:
    lines = (line.split() for line in path.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def encoding_of(path: Path, pattern: str, special: dict[str, int]) -> Any:
    tiktoken = pytest.importorskip("tiktoken")
    return tiktoken.Encoding("", pat_str=PATTERNS[pattern], mergeable_ranks=ranks_in(path), special_tokens=special)


def encode_fast(theirs: Any, texts: list[str]) -> list[Any]:
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    return theirs.encode_batch_fast(texts, add_special_tokens=False)


def encode_ordinary(theirs: Any, texts: list[str]) -> list[list[int]]:
    if len(texts) > 1000:  # threads cost more than short texts
        return [theirs.encode_ordinary(text) for text in texts]
    return theirs.encode_ordinary_batch(texts, num_threads=2)


def assert_same(got: Ragged, want: list[list[int]], texts: list[str]) -> None:
    offsets = np.cumsum([0, *map(len, want)])
    if np.array_equal(got.offsets, offsets) and got.ids.tolist() == list(chain.from_iterable(want)):
        return
    bad = next(i for i, row in enumerate(want) if got[i].tolist() != row)
    at = next((k for k, (a, b) in enumerate(zip(got[bad], want[bad], strict=False)) if a != b), None)
    raise AssertionError(f"text {bad}, id {at}: {texts[bad][:2000]!r}\n{got[bad].tolist()[:500]}\n{want[bad][:500]}")


@given(st.lists(STRINGS, min_size=40, max_size=44))
@settings(max_examples=500)
def test_peer_hostile_strings(pair: Pair, texts: list[str]) -> None:
    want = pair.theirs(texts)
    assert_same(pair.ours.encode_batch(texts, allowed_special=pair.allowed), want, texts)
    assert [pair.ours.encode_list(text, allowed_special=pair.allowed) for text in texts] == want
    assert [pair.ours.count(text, allowed_special=pair.allowed) for text in texts] == [len(row) for row in want]


@pytest.fixture(scope="module")
def with_special(data_dir: Path) -> tuple[Tokenizer, Any]:
    """Special tokens of which none begins another: there tiktoken's choice changes from run to run."""
    path = of_data(data_dir / "vocab", "cl100k_base.tiktoken")
    special = {END: 100257, "<|fim_prefix|>": 100258, "'s": 100260}
    ours = Tokenizer.from_file(path, pattern="cl100k_base", special_tokens=special)
    return ours, encoding_of(path, "cl100k_base", special)


@given(STRINGS, st.sampled_from(["all", {END, "'s"}, {"<|fim_prefix|>"}]))
@settings(max_examples=2000)
def test_peer_special_tokens_of_tiktoken(with_special: tuple[Tokenizer, Any], text: str, allowed: Any) -> None:
    ours, theirs = with_special
    want = theirs.encode(text, allowed_special=allowed, disallowed_special=())
    assert ours.encode_list(text, allowed_special=allowed) == want


def chunks(documents: list[str], most: int) -> Iterator[tuple[int, int]]:
    """Ranges of documents of about `most` characters in all."""
    start = total = 0
    for i, document in enumerate(documents):
        total += len(document)
        if total >= most or i + 1 == len(documents):
            yield start, i + 1
            start, total = i + 1, 0


@pytest.mark.corpus
@pytest.mark.parametrize("corpus", ["english", "multilingual", "code"])
def test_peer_whole_corpus(pair: Pair, data_dir: Path, corpus: str, request: pytest.FixtureRequest) -> None:
    """All of it against tiktoken, a third against tokenizers, which is slow: LMFAST_TEST_FULL=1 takes all there too."""
    step = 3 if "gpt" in request.node.name and not FULL else 1
    path = of_data(data_dir / "corpus", f"{corpus}.txt")
    documents = path.read_bytes().decode().split(END)
    if not documents[-1]:
        documents.pop()
    got = pair.ours.encode_files([path], separator=END, threads=2, allowed_special=pair.allowed)
    assert len(got) == len(documents)
    for start, stop in list(chunks(documents, 4_000_000))[::step]:
        texts = documents[start:stop]
        assert_same(got[start:stop], pair.theirs(texts), texts)


@pytest.mark.corpus
def test_peer_every_character(pair: Pair, request: pytest.FixtureRequest) -> None:
    """Six contexts: two as texts of their own, the others as lines, for the library is slow at short texts."""
    if "gpt2" in request.node.name and not FULL:
        pytest.skip("gpt-neox-20b cuts as gpt2 does and normalizes besides: LMFAST_TEST_FULL=1 runs both")
    for first in range(0, len(SCALARS), 0x4000):
        scalars = [chr(c) for c in SCALARS[first : first + 0x4000]]
        texts = [text for c in scalars for text in (c, f" {c}A\n")]
        lines = [line for c in scalars for line in ("a" + c, c + " b", "1" + c, c + c)]
        texts += ["\n".join(lines[i : i + 128]) for i in range(0, len(lines), 128)]
        assert_same(pair.ours.encode_batch(texts, allowed_special=pair.allowed), pair.theirs(texts), texts)
