"""Merging against the textbook, over vocabularies that no trainer makes.

Rank files with tokens that no merge reaches, whose parts have higher ranks, in any order; merge lists in any order that
make a token twice, use a token before it is made or name a pair twice. The kernels take four ways (bytes of a short
piece, backtracking, a heap, cuts and cached segments), and which depends on the vocabulary and the text.
"""

import os
import random
from collections.abc import Sequence
from itertools import islice, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfast.reference import text as reference
from lmfast.text.patterns import PATTERNS
from lmfast.text.spec import BPE, Split, TokenizerSpec, Vocab
from lmfast.text.tokenizer import Tokenizer

BRIEF = os.environ.get("LMFAST_TEST_BRIEF") == "1"
FULL = os.environ.get("LMFAST_TEST_FULL") == "1"
BYTES = [bytes([b]) for b in range(256)]


def spec_of(
    tokens: Sequence[bytes],
    merges: Sequence[tuple[bytes, bytes]] | None = None,
    *,
    whole: bool = True,
    pattern: str | None = None,
) -> TokenizerSpec:
    """All single bytes, then the tokens; ids in that order."""
    ids = {token: i for i, token in enumerate([*BYTES, *tokens])}
    pairs = None if merges is None else np.array([(ids[a], ids[b]) for a, b in merges], np.uint32).reshape(-1, 2)
    steps = (Split(PATTERNS[pattern]),) if pattern else ()
    return TokenizerSpec(BPE(Vocab.from_items(ids), pairs, ignore_merges=whole), steps)


def check(tok: Tokenizer, text: bytes) -> None:
    """Twice, since the second time the pieces are in the cache."""
    want = reference.encode(text, tok.spec)
    for _ in range(2):
        assert tok.encode_list(text) == want, text
        assert tok.count(text) == len(want), text
    assert tok.decode_bytes(want) == text


# Literals.


@pytest.mark.parametrize(
    ("tokens", "text", "want"),
    [
        ([b"ab", b"bc", b"abc"], b"abcbc", [258, 257]),
        ([b"bc", b"ab", b"abc"], b"abc", [258]),
        ([b"aa"], b"aaaaa", [256, 256, 97]),
        ([b"aaaa", b"aa"], b"aaaaaaa", [256, 257, 97]),  # two aa merge to aaaa before the third aa is made
        ([b"abcd"], b"abcd", [256]),  # a whole piece, though nothing merges to it
        ([b"abcd"], b"abcde", [97, 98, 99, 100, 101]),
    ],
)
def test_unit_rank_file(tokens: list[bytes], text: bytes, want: list[int]) -> None:
    assert Tokenizer(spec_of(tokens)).encode_list(text) == want


def test_unit_merge_list() -> None:
    tokens = [b"ab", b"bc", b"abc"]
    first = [(b"b", b"c"), (b"a", b"b"), (b"a", b"bc")]
    assert Tokenizer(spec_of(tokens, first)).encode_list(b"abcab") == [258, 256]
    assert Tokenizer(spec_of(tokens, first[::-1])).encode_list(b"abcab") == [256, 99, 256]
    assert Tokenizer(spec_of(tokens, [], whole=True)).encode_list(b"abc") == [258]
    assert Tokenizer(spec_of(tokens, [], whole=False)).encode_list(b"abc") == [97, 98, 99]


@pytest.mark.parametrize("n", [33, 64, 1000])
def test_unit_bytes_that_never_merge(isa: str, n: int) -> None:
    tok = Tokenizer(spec_of([b"zq"]), isa=isa)
    for byte in range(256):
        assert tok.encode_list(bytes([byte]) * n) == [byte] * n


# Texts in which hardly a word comes twice: where most of a window is new, pieces are merged side by side.


@pytest.mark.parametrize("kind", ["ranks", "merges", "letters outside ASCII"])
def test_unit_new_words(isa: str, kind: str) -> None:
    rng = random.Random(kind)
    letters = "аяё中文字" if kind.startswith("letters") else "abcdefgh"
    stems = ["".join(rng.choices(letters, k=rng.randint(2, 4))).encode() for _ in range(400)]
    tokens = list(dict.fromkeys([*stems, *(a + b for a, b in pairwise(stems)), b" a", b" ab"]))
    known, merges = {*BYTES, *tokens}, None
    if kind == "merges":
        merges = [(t[:i], t[i:]) for t in tokens for i in range(1, len(t)) if t[:i] in known and t[i:] in known]
        rng.shuffle(merges)
    tok = Tokenizer(
        spec_of(tokens, merges, whole=kind != "merges", pattern="cl100k_base"), cache_bytes=1 << 16, isa=isa
    )
    for most in (6, 15, 40):  # bytes to be merged: few, all that go side by side, more
        words = ("".join(rng.choices(letters, k=rng.randint(1, most))) for _ in range(2500))
        check(tok, " ".join(words).encode())


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("n", [3, 40, 20_000])
def test_truth_the_same_new_words_again(isa: str, n: int, whole: bool) -> None:
    """Five thousand pieces in a window, more than wait for one merging, most of them new and there several times.

    Between them are pieces that are known, that are cut and that are a token though nothing merges to it.
    """
    rng = random.Random(n)
    new = [f" {a}{b}" for a in "abcdefghijklmnopqrstuvwxyz" for b in "abcdefghijklmnopqrstuvwxyz"]
    others = [" the", " xyz", ".", " " + "bcd" * 5, " " + "bcd" * 12, "中文字中文字中文字"]
    tokens = [b" a", b"bc", b"bcd", b"th", b"the", b" the", b" xyz", "中文".encode()]
    merges = None if whole else [(b"b", b"c"), (b" ", b"a"), (b"t", b"h"), (b"bc", b"d"), (b"th", b"e"), (b" ", b"the")]
    tok = Tokenizer(spec_of(tokens, merges, whole=whole, pattern="cl100k_base"), isa=isa)
    check(tok, "".join(rng.choice(others) if rng.random() < 0.02 else rng.choice(new) for _ in range(n)).encode())


def spread(bits: int, rng: random.Random) -> TokenizerSpec:
    """Bytes whose ids are anywhere below the largest one of so many bits; larger ones need tokens beside them."""
    others = [bytes(quad) for quad in islice(product(range(65, 91), repeat=4), 460_000 if bits > 18 else 0)]
    most = min(2**bits, 2 * (256 + len(others)) + 2**17)  # more are refused
    ids = [most - 1, *rng.sample(range(most - 1), 255 + len(others))]
    rng.shuffle(ids)
    return TokenizerSpec(
        BPE(Vocab.from_items(dict(zip([*BYTES, *others], ids, strict=True))), None, ignore_merges=True),
        (Split(PATTERNS["cl100k_base"]),),
    )


@pytest.mark.parametrize("bits", [8, 9, 15, 16, 17, 18, pytest.param(21, marks=pytest.mark.slow)])
def test_truth_any_number_of_ids_of_any_width(isa: str, bits: int) -> None:
    """Ids are packed by the bits of the largest, as many as fit; more of them lie elsewhere, 16 bits each or 32."""
    rng = random.Random(bits)
    tok = Tokenizer(spread(bits, rng), cache_bytes=1 << 18, isa=isa)
    lengths = [*range(1, 70)] * 2
    rng.shuffle(lengths)
    check(tok, b" ".join(bytes(rng.choices(range(97, 123), k=n)) for n in lengths))


# Small vocabularies, drawn so that a failure shrinks to the smallest one.

SMALL = st.binary(min_size=2, max_size=6).map(lambda blob: bytes(97 + b % 3 for b in blob))
TEXT = st.binary(max_size=70).map(lambda blob: bytes(97 + b % 3 for b in blob))


@given(st.lists(SMALL, max_size=12, unique=True), st.lists(TEXT, min_size=1, max_size=5))
@settings(max_examples=500)
def test_property_rank_files(tokens: list[bytes], texts: list[bytes]) -> None:
    tok = Tokenizer(spec_of(tokens), cache_bytes=1 << 16)
    for text in texts:
        check(tok, text)


@given(st.lists(SMALL, max_size=12, unique=True), st.lists(TEXT, min_size=1, max_size=5), st.booleans(), st.data())
@settings(max_examples=500)
def test_property_merge_lists(tokens: list[bytes], texts: list[bytes], whole: bool, data: st.DataObject) -> None:
    known = {*BYTES, *tokens}
    cuts = [(t[:i], t[i:]) for t in tokens for i in range(1, len(t)) if t[:i] in known and t[i:] in known]
    merges = data.draw(st.lists(st.sampled_from(cuts), max_size=24)) if cuts else []
    tok = Tokenizer(spec_of(tokens, merges, whole=whole), cache_bytes=1 << 16)
    for text in texts:
        check(tok, text)


# Thousands of vocabularies of all kinds and sizes.

ALPHABETS = [
    *(b"a", b"ab", b"abc", b"a b", bytes(3), bytes(range(4)), b"xyz \n", b"\xff\x80a", b"\xc3\xa9\xa9", b"a\xe4\xb8"),
    *(text.encode() for text in ("é中ü", "中文", "中", "😀a\u200d", "中文字 a")),
    bytes(range(256)),
]


def some_tokens(rng: random.Random, alphabet: bytes) -> list[bytes]:
    """Tokens made of tokens, and any others."""
    singles = [bytes([b]) for b in set(alphabet)]
    tokens = dict.fromkeys(singles)
    n = len(tokens) + rng.choice([1, 3, 8, 20, 60, 200])
    for _ in range(3 * n):
        kind = rng.random()
        if kind < 0.6:
            token = rng.choice(list(tokens)) + rng.choice(list(tokens))
        elif kind < 0.8:
            token = bytes(rng.choices(alphabet, k=rng.randint(2, rng.choice([3, 6, 40]))))
        elif kind < 0.9:
            token = rng.choice(singles) * rng.randint(2, 20)
        else:
            start = rng.randrange(len(alphabet))
            token = alphabet[start : start + rng.randint(2, 6)]
        if 2 <= len(token) <= 100 and len(tokens) < n:
            tokens[token] = None
    return list(tokens)[len(singles) :]


def some_merges(rng: random.Random, tokens: list[bytes]) -> list[tuple[bytes, bytes]]:
    known, merges = {*BYTES, *tokens}, []
    for token in tokens:
        cuts = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in known and token[i:] in known]
        if cuts and rng.random() < 0.9:
            merges += rng.choices(cuts, k=rng.choice([1, 1, 1, 2, 5]))
    if rng.random() < 0.4:
        rng.shuffle(merges)
    return merges


def some_spec(rng: random.Random, alphabet: bytes) -> tuple[list[bytes], TokenizerSpec]:
    tokens = some_tokens(rng, alphabet)
    order = rng.choice(["made", "made", "shuffled", "short first", "long first"])
    if order == "shuffled":
        rng.shuffle(tokens)
    elif order != "made":
        tokens.sort(key=len, reverse=order == "long first")
    merges = some_merges(rng, tokens) if rng.random() < 0.5 else None
    pattern = rng.choice([None, None, "gpt2", "cl100k_base", "o200k_base"])
    return tokens, spec_of(tokens, merges, whole=rng.random() < 0.5 or merges is None, pattern=pattern)


def some_text(rng: random.Random, alphabet: bytes, tokens: list[bytes]) -> bytes:
    n = rng.choice([rng.randint(1, 40), rng.randint(30, 80), rng.randint(1, 400), rng.randint(400, 2000)])
    kind = rng.random()
    if kind < 0.3:
        return bytes(rng.choices(alphabet, k=n))
    if kind < 0.4:
        return bytes([rng.choice(alphabet)]) * n
    if kind < 0.5:
        return bytes(rng.choice(alphabet) if rng.random() < 0.9 else rng.randrange(256) for _ in range(n))
    words = [*tokens, alphabet, alphabet[::-1], alphabet[:1] * 5, b" "]
    return b"".join(rng.choices(words, k=n))[:n]


def test_truth_a_thousand_vocabularies(rng: np.random.Generator) -> None:
    from lmfast.text import _text

    plain = random.Random(int(rng.integers(2**63)))
    ways = set()
    for i in range(200 if BRIEF else 4000 if FULL else 1000):
        alphabet = plain.choice(ALPHABETS)
        tokens, spec = some_spec(plain, alphabet)
        tok = Tokenizer(spec, cache_bytes=1 << 16, isa=_text.isas()[i % len(_text.isas())])
        all_form, n_late = tok._properties()
        ways.add((all_form, n_late > 0))
        for _ in range(5):
            check(tok, some_text(plain, alphabet, tokens))
    assert ways == {(True, True), (True, False), (False, True), (False, False)}


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k_base", "o200k_base"])
def test_truth_cuts_of_long_pieces(isa: str, pattern: str) -> None:
    """Long pieces are cut between characters that no token has side by side: of one to four bytes, and what is only a
    part of some, over edges of blocks of 64 bytes and of a window of 16 KB. Few tokens, so most places are cuts;
    some tokens hold parts of characters, which join what else would be cut.
    """
    rng = random.Random(7)
    letters = [char.encode() for char in "中文字漢人のにéßñłő\u0434\u0436\u0449ab\u0e01\ud7a3\u07ff"]
    symbols = [char.encode() for char in "😀。’-\u00a7"]
    parts = [b"\x80", b"\xad", b"\xe4", b"\xe4\xb8", b"\xc3", b"\xed\xa0\x80", b"\xe0\x80\x80", b"\xf0\x9f\x98"]
    for n in (200, 300, 18_000):
        mixed = [rng.choices(rng.choice([letters, letters, symbols]), k=rng.randint(1, 90)) for _ in range(n // 80)]
        words = [word + rng.choices(parts, k=rng.choice([0, 0, 0, 1])) for word in mixed]
        text = b"".join(b"".join(word) + rng.choice([b" ", b"\n", b"", b". "]) for word in words)[:n]
        slices = [text[at : at + rng.choice([2, 3, 5, 6, 7])] for at in rng.sample(range(len(text) - 8), 12)]
        tokens = {part[:k] for part in slices for k in range(2, len(part) + 1)}  # so that all of them form
        for word in rng.choices(words, k=30):
            at = rng.randrange(len(word))
            tokens |= {char[:k] for char in word[at : at + 2] for k in range(2, len(char) + 1)}
            tokens |= {b"".join(word[at : at + 2])} - set(BYTES)
        tok = Tokenizer(spec_of(sorted(tokens), pattern=pattern), cache_bytes=1 << 18, isa=isa)
        check(tok, text)
        for k in range(1, 70 if n < 1000 else 3):
            check(tok, b"x" * k + text[: 300 if k < 68 else n])
