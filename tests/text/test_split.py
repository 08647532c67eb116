"""The hand-written splitters against the regular expressions they stand for, and the vector ones against the plain."""

import os
import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scalars import SCALARS

from lmfast.reference import text as reference
from lmfast.text import _text
from lmfast.text.patterns import PATTERNS, SPLITTERS, splitter_of
from lmfast.text.spec import BPE, Split, TokenizerSpec, Vocab
from lmfast.text.tokenizer import Tokenizer

BRIEF = os.environ.get("LMFAST_TEST_BRIEF") == "1"
NAMES = {name: splitter_of(PATTERNS[name]) for name in ("gpt2", "cl100k_base", "llama3", "qwen2", "o200k_base")}

# What the patterns tell apart, the last ones not UTF-8. A drawn byte stands for one of these.
ATOMS = [
    *(c.encode() for c in "aaASsdmtl  \n\r\t\v'''!/-_019"),
    *(c.encode() for c in ("'s", "'LL", "'Re", "ll", "'\u017f", "\u017f", "\u212a", "\r\n", "  \n", "//\n", " '")),
    *(c.encode() for c in "\x00\x1c\x85\u00a0\u1680\u2028\u3000\u200d\u0301\u093e\U000e0100\u20e3"),
    *(c.encode() for c in "éßЖа中ǅʰªꙮ𐐀𐐨𝐀א\u0660²Ⅷⅷ𝟘①\u0345€😀\ufffd\u0378"),
    *(b"\xff", b"\x80", b"\xc3", b"\xa0", b"\xe4\xb8", b"\xe3\x80", b"\xf0\x9f\x98", b"\xc0\x80", b"\xed\xa0\x80"),
]
RUNS = [2, 3, 5, 8, 16, 31, 32, 33, 61, 62, 63, 64, 65, 66, 127, 129]


def text_of(blob: bytes) -> bytes:
    """The atoms that bytes stand for; a byte of the last sixteen repeats the atom after it."""
    parts, times = [], 1
    for byte in blob:
        if byte >= 240:
            times = RUNS[byte - 240]
        else:
            parts.append(ATOMS[byte % len(ATOMS)] * times)
            times = 1
    return b"".join(parts)


TEXTS = st.binary(max_size=60).map(text_of)


def pieces(name: str, text: bytes) -> list[bytes]:
    return [text[start:stop] for start, stop in pairwise([0, *_text.split(NAMES[name], text)])]


# The plain splitters.


@pytest.mark.parametrize(
    ("name", "text", "want"),
    [
        ("gpt2", "Hello, I'll go\n\n home  now 123!!", "Hello|,| I|'ll| go|\n\n| home| | now| 123|!!"),
        ("gpt2", "I'LL  ", "I|'|LL|  "),
        ("gpt2", " \n a", " \n| a"),
        ("cl100k_base", "I'LL 12345 (ab)\r\n x\n  ", "I|'LL| |123|45| (|ab|)\r\n| x|\n  "),
        ("cl100k_base", "a \n b\n", "a| \n| b|\n"),
        ("cl100k_base", "it'\u017f", "it|'\u017f"),
        ("llama3", "a\n  ", "a|\n|  "),
        ("llama3", "x;\n\n  y", "x|;\n\n| | y"),
        ("qwen2", "a123 !?\n", "a|1|2|3| !?\n"),
        ("o200k_base", "HelloWorld's ABCdef http://x\n", "Hello|World's| ABCdef| http|://|x|\n"),
        ("o200k_base", "it's'll ÀB", "it's|'ll| ÀB"),
    ],
)
def test_unit_pieces(name: str, text: str, want: str) -> None:
    assert pieces(name, text.encode()) == [piece.encode() for piece in want.split("|")]


def test_unit_every_named_pattern_has_a_splitter() -> None:
    assert all(splitter_of(pattern) in _text.SPLITTERS for pattern in [*PATTERNS.values(), *SPLITTERS])
    assert splitter_of(PATTERNS["gpt2"] + "|x") is None
    assert _text.split("none", b"a b\n") == [4]
    assert all(_text.split(name, b"") == [] for name in _text.SPLITTERS)
    with pytest.raises(KeyError):
        _text.split("gpt3", b"a")


@pytest.mark.parametrize("pattern", SPLITTERS)
@given(TEXTS)
@settings(max_examples=500)
def test_truth_pieces(pattern: str, text: bytes) -> None:
    ends = _text.split(SPLITTERS[pattern], text)
    got = [text[start:stop] for start, stop in pairwise([0, *ends])]
    assert got == reference.split(text, TokenizerSpec(BPE(Vocab.from_items({})), (Split(pattern),)))


@given(st.text(max_size=60))
def test_truth_any_characters(text: str) -> None:
    for name in NAMES:
        spec = TokenizerSpec(BPE(Vocab.from_items({})), (Split(PATTERNS[name]),))
        assert pieces(name, text.encode()) == reference.split(text, spec)


# The vector splitters have no door of their own: ids tell where they cut. In a vocabulary of all pairs of bytes, ranked
# at random, every two neighbours may merge, so a cut in the wrong place shows in the ids about every second time.


@pytest.fixture(scope="module")
def pair_vocab() -> Vocab:
    pairs = [bytes([a, b]) for a in range(256) for b in range(256)]
    random.Random(5).shuffle(pairs)
    return Vocab.from_items((token, i) for i, token in enumerate([*(bytes([b]) for b in range(256)), *pairs]))


_made: dict[tuple[str, str], Tokenizer] = {}


@pytest.fixture
def tok(request: pytest.FixtureRequest, isa: str, pair_vocab: Vocab) -> Tokenizer:
    name = request.param
    if (name, isa) not in _made:
        spec = TokenizerSpec(BPE(pair_vocab), (Split(PATTERNS[name]),), name=name)
        _made[name, isa] = Tokenizer(spec, isa=isa, cache_bytes=1 << 16)
    return _made[name, isa]


every_pattern = pytest.mark.parametrize("tok", NAMES, indirect=True)


def check(tok: Tokenizer, text: bytes) -> None:
    ends = np.array(_text.split(NAMES[tok.spec.name or ""], text), np.int64)
    want = tok._encode_pieces(text, ends).tolist()
    assert tok.encode_list(text) == want, text
    assert tok.count(text) == len(want), text


def nasty(rng: random.Random, n: int) -> bytes:
    """Text of a few kinds of characters, so that the rules for their neighbours meet often."""
    atoms = rng.sample(ATOMS, rng.choice([2, 2, 3, 4, 8, len(ATOMS)]))
    parts: list[bytes] = []
    size = 0
    while size < n:
        parts.append(rng.choice(atoms) * (rng.choice(RUNS) if rng.random() < 0.05 else 1))
        size += len(parts[-1])
    return b"".join(parts)


@every_pattern
def test_isa_nasty_texts(tok: Tokenizer, isa: str, rng: Any) -> None:
    plain = random.Random(int(rng.integers(2**63)))
    sizes = [20] * 200 + [80] * 200 + [200] * 200 + [1000] * 100 + [8000] * 10
    for n in sizes[:: 4 if BRIEF else 1]:
        check(tok, nasty(plain, n))


@every_pattern
def test_isa_everything_at_every_edge(tok: Tokenizer, isa: str) -> None:
    """Blocks are 64 bytes: each kind of text, and each kind of wrong byte, with its parts on both sides of an edge."""
    middles = [b"'ll", b" \n x", b"1234567", b"\n\n", b"'s'LL", b"!!\r\n/\n", b"  ", *ATOMS, *(a[:-1] for a in ATOMS)]
    for middle in middles:
        for before in (b"b", b" ", b"!", b"\n"):
            for offset in range(58, 66, 3 if BRIEF else 1):
                check(tok, before * offset + middle)
                check(tok, before * offset + middle + b"c.\n d")


@every_pattern
def test_isa_every_character(tok: Tokenizer, isa: str) -> None:
    """Each between letters, signs and white space, in texts of many blocks, and some at each place about an edge."""
    scalars = SCALARS[:: 256 if BRIEF else 1]
    for first in range(0, len(scalars), 0x400):
        some = [chr(c) for c in scalars[first : first + 0x400]]
        check(tok, "".join(f"a{c} {c}{c}!{c}b {c}\n" for c in some).encode())
    common = [*range(0x80, 0x600), *range(0x2000, 0x2100), *range(0x3000, 0x3100), *range(0xFF00, 0xFFF0)]
    for c in map(chr, common[:: 64 if BRIEF else 1]):
        check(tok, "".join("x" * n + c for n in range(60, 70)).encode() + b"y" * 66)


@every_pattern
def test_isa_runs_of_every_length(tok: Tokenizer, isa: str) -> None:
    lengths = [*range(1, 4), *range(14, 18), *range(30, 34), *range(60, 70), *range(125, 131), 190, 1000, 20000]
    for atom in (b"a", b"7", b" ", b"\n", b"\r\n", b"!", b"'", "é".encode(), "中".encode(), "\u3000".encode(), b"\xff"):
        for n in lengths[:: 4 if BRIEF else 1]:
            check(tok, atom * n)
            check(tok, b"x" + atom * n + b"y 1")
