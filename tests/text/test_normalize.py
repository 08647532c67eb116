"""Normalization form C: the kernel and the reference against tokenizers, whose version of Unicode it has."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmfast.reference import unicode
from lmfast.text import _text

SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
MARKS = "\u0300\u0301\u0308\u0323\u0327\u0334\u0338\u0345\u05b0\u093c\u094d\u0f71\u0f72\u3099\u1dc0\u20d0\U0001d165"
BASES = "aeioAEIOuUy qı\u212b\u00c5\u1e69\u0958\u2adc\uf900\u0344\u0390\U0001d15e"
INDIC = "\u09c7\u09be\u09d7\u0bc6\u0bbe\u0cc6\u0cc2\u0cd5\u0dd9\u0dcf\u0dca\u1025\u102e\U00011131\U00011127"
HANGUL = "\u1100\u1112\u1161\u1175\u11a7\u11a8\u11c2\uac00\uac01\ud788\ud7a3"
YOUNG = "\u08d3\u1df6\U00011938\U00011935\U00011930\U000105d2\U00016d67\u1c89"  # assigned after Unicode 9.0

biased = st.text(
    st.one_of(st.sampled_from(MARKS + BASES + INDIC + HANGUL + YOUNG), st.characters(exclude_categories=["Cs"]))
)


def kernel(text: str) -> str:
    return _text.nfc(text.encode()).decode()


@pytest.fixture(scope="module")
def peer() -> Callable[[str], str]:
    tokenizers = pytest.importorskip("tokenizers")
    normalize: Callable[[str], str] = tokenizers.normalizers.NFC().normalize_str
    return normalize


@pytest.mark.parametrize("nfc", [kernel, unicode.nfc])
def test_unit_nfc(nfc: Callable[[str], str]) -> None:
    assert nfc("") == ""
    assert nfc("plain ASCII and déjà vu") == "plain ASCII and déjà vu"
    assert nfc("e\u0301") == "é"
    assert nfc("\u212b") == "\u00c5"
    assert nfc("e\u0301\u0323") == "ẹ\u0301"
    assert nfc("q\u0301\u0323") == "q\u0323\u0301"
    assert nfc("e\u0334\u0301") == "é\u0334"  # a mark of a lower class does not stand in the way
    assert nfc("e\u0308\u0301") == "ë\u0301"  # one of the same class does
    assert nfc("\u1112\u1161\u11ab") == "\ud55c"
    assert nfc("\uac00\u11a8") == "\uac01"
    assert nfc("\u0958") == "\u0915\u093c"  # excluded from composition
    assert nfc("\u0301e") == "\u0301e"
    assert nfc("a\U00011938") == "a\U00011938"
    assert nfc("\U00011935\U00011930") == "\U00011935\U00011930"  # composes from Unicode 13 on


def test_unit_bytes_that_are_not_utf8_stay() -> None:
    for data in (
        b"\xff",
        b"e\xcc",
        b"e\xff\xcc\x81",
        b"\xe4\xb8e\xcc\x81",
        b"\xed\xa0\x80\xcc\x81",
        b"a" * 7 + b"\xc3",
    ):
        want = data.decode("utf-8", "surrogateescape")
        assert _text.nfc(data) == unicode.nfc(want).encode("utf-8", "surrogateescape")
    assert _text.nfc(b"e\xff\xcc\x81") == b"e\xff\xcc\x81"
    assert _text.nfc(b"\xe4\xb8e\xcc\x81") == b"\xe4\xb8\xc3\xa9"


@pytest.mark.corpus
@pytest.mark.parametrize("frame", ["{}", "{}\u0301", "e{}", "\uac00{}", "q\u0334{}\u0327", "{}\u0323\u0345"])
def test_peer_every_scalar(frame: str, peer: Callable[[str], str]) -> None:
    before, after = frame.split("{}")
    for c in SCALARS:
        text = before + chr(c) + after
        want = peer(text)
        assert kernel(text) == want, ascii(text)


@pytest.mark.corpus
def test_truth_every_scalar() -> None:
    for c in map(chr, SCALARS):
        for text in (c, c + "\u0301", "q\u0334" + c + "\u0327"):
            assert kernel(text) == unicode.nfc(text), ascii(text)
        assert (_text.nfc_segments(("a" + c).encode())[0] == 1) == unicode.is_boundary(c), ascii(c)


@given(biased)
def test_peer_biased(peer: Callable[[str], str], text: str) -> None:
    want = peer(text)
    assert kernel(text) == want
    assert unicode.nfc(text) == want


@given(biased, st.integers(0, 40))
def test_property_normal_text_before_changes_nothing(text: str, n: int) -> None:
    # The quick check takes eight bytes a step: text that needs work begins at every place in a step.
    assert kernel("é" * (n // 2) + "x" * n + "\n" + text) == "é" * (n // 2) + "x" * n + kernel("\n" + text)
    assert kernel(kernel(text)) == kernel(text)


@given(st.lists(st.one_of(st.binary(max_size=4), biased.map(str.encode))).map(b"".join))
def test_property_segments_normalize_on_their_own(data: bytes) -> None:
    ends = _text.nfc_segments(data)
    starts = [0, *ends[:-1]]
    assert b"".join(_text.nfc(data[a:b]) for a, b in zip(starts, ends, strict=False)) == _text.nfc(data)
    text = data.decode("utf-8", "surrogateescape")
    assert _text.nfc(data) == unicode.nfc(text).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("marks", ["\u0301", "\u0301\u0323", MARKS, MARKS[::-1]])
@pytest.mark.parametrize("base", ["", "e", "\uac00"])
def test_peer_a_long_run_of_marks(base: str, marks: str, peer: Callable[[str], str]) -> None:
    text = base + marks * (1_000_000 // len(marks.encode()))
    assert kernel(text) == peer(text)


def test_peer_long_texts(peer: Callable[[str], str]) -> None:
    rng = random.Random(1)
    for alphabet in (HANGUL, INDIC + MARKS, BASES + MARKS, "e\u0301", "中文", "при\u0306вет"):
        text = "".join(rng.choices(alphabet, k=100_000))
        assert kernel(text) == peer(text)
