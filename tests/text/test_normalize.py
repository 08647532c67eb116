"""Normalizers: the kernels and the reference against tokenizers, whose versions of Unicode they have."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scalars import SCALARS

from lmfast.reference import unicode
from lmfast.reference.text import wordpiece
from lmfast.text import _normalize, _text

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


# All normalizers.

BERT_OFF = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
TRUTH: dict[str, Callable[[str], str]] = {
    "nfc": unicode.nfc,
    "nfd": unicode.nfd,
    "nfkc": unicode.nfkc,
    "nfkd": unicode.nfkd,
    "lowercase": unicode.lowercase,
    "strip_accents": wordpiece.strip_accents,
    "nmt": wordpiece.nmt,
    "clean": lambda text: wordpiece.bert_normalize(text, **{**BERT_OFF, "clean_text": True}),
    "space_ideographs": lambda text: wordpiece.bert_normalize(text, **{**BERT_OFF, "handle_chinese_chars": True}),
    "strip_nonspacing": lambda text: "".join(c for c in text if not unicode.is_nonspacing_8(c)),
}
PEERS = {"nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC", "nfkd": "NFKD", "lowercase": "Lowercase", "nmt": "Nmt"}
PEERS |= {"strip_accents": "StripAccents"}
OTHERS = "ΣΑΣ ﬁ½…\ufdfaǅİı\u1e9e中豈\u3400ｶ\u200b\u200d\ufeff\x00\x1f\x7f\x85\ufffd\ue000\u166d\u1734\u0f73\u1b44\u302e"
mixed = st.text(
    st.one_of(
        st.sampled_from(MARKS + BASES + INDIC + HANGUL + YOUNG + OTHERS), st.characters(exclude_categories=["Cs"])
    ),
    max_size=12,
)


def normalized(how: str, text: str) -> str:
    return _normalize.normalize(how, text.encode()).decode()


def peer_of(how: str) -> Any:
    """The normalizer of tokenizers; strip_nonspacing has none of its own."""
    normalizers = pytest.importorskip("tokenizers").normalizers
    if how in PEERS:
        return getattr(normalizers, PEERS[how])()
    option = {"clean": "clean_text", "space_ideographs": "handle_chinese_chars"}
    return normalizers.BertNormalizer(**{**BERT_OFF, option[how]: True})


def framed(frame: str, n: int = 4096) -> list[str]:
    """Every scalar value in a frame, in texts of many lines: a line end is a boundary of every form."""
    return ["\n".join(frame.format(chr(c)) for c in SCALARS[i : i + n]) for i in range(0, len(SCALARS), n)]


def test_unit_forms() -> None:
    assert normalized("nfd", "é\uac01\u1e69") == "e\u0301\u1100\u1161\u11a8s\u0323\u0307"
    assert normalized("nfkc", "ﬁ½\uff76\uff9e") == "fi1\u20442\u30ac"
    assert normalized("nfkd", "ﬁé") == "fie\u0301"
    assert normalized("lowercase", "ΑΣ İ ẞ") == "ας i\u0307 ß".replace("ς", "σ")
    assert normalized("strip_accents", "e\u0301\u0903x") == "ex"
    assert normalized("strip_nonspacing", "e\u0301\u0903x") == "e\u0903x"
    assert normalized("clean", "a\x00\u200b\tb\u3000c\ufffd") == "a b c"
    assert normalized("space_ideographs", "a中b") == "a 中 b"
    assert normalized("nmt", "a\x01\u200bb\x8f") == "a b"
    with pytest.raises(ValueError, match="no normalizer 'nfx'; there are nfc, nfd"):
        _normalize.normalize("nfx", b"")


def test_unit_alignment() -> None:
    def places(how: str, text: str) -> list[int]:
        return _normalize.normalize_aligned(how, text.encode())[1].tolist()

    assert places("nfd", "xé") == [0, 1, 2, 2]
    assert places("nfc", "xe\u0301y") == [0, 1, 1, 4]
    assert places("nfd", "q\u0301\u0323") == [0, 1, 1, 3, 3]  # marks change places, the places do not
    assert places("nfkc", "ﬁx") == [0, 2, 3]
    assert places("clean", "\x00a\x00b") == [1, 3]
    assert places("space_ideographs", "a中") == [0, 1, 1, 1, 1, 1]
    assert places("lowercase", "İx") == [0, 0, 0, 2]
    assert places("nfd", "") == []


@pytest.mark.parametrize("data", [b"", b" ", b" \t\xc2\xa0", b" a ", b"a", "\u3000x y\u2028".encode(), b"\xff \xff "])
def test_truth_strip(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    spaces = "".join(c for c in map(chr, range(0x3001)) if unicode.is_space(c))
    for left, right in ((True, True), (True, False), (False, True), (False, False)):
        want = text.lstrip(spaces) if left else text
        want = want.rstrip(spaces) if right else want
        start, stop = _normalize.strip(data, left, right)
        assert data[start:stop] == want.encode("utf-8", "surrogateescape") or (start == stop and not want)


@pytest.mark.corpus
@pytest.mark.parametrize("how", [how for how in TRUTH if how not in ("nfc", "strip_nonspacing")])
def test_peer_every_scalar_every_normalizer(how: str) -> None:
    peer = peer_of(how)
    frames = ["{}", "e{}\u0301", "\uac00{}", "q\u0334{}\u0327", "{}\u0323\u0345"] if how.startswith("nf") else ["a{}b"]
    for frame in frames:
        for text in framed(frame):
            assert normalized(how, text) == peer.normalize_str(text), frame


@pytest.mark.corpus
@pytest.mark.parametrize("how", TRUTH)
def test_truth_every_scalar_every_normalizer(how: str) -> None:
    for text in framed("q{}\u0327"):
        assert normalized(how, text) == TRUTH[how](text)


@pytest.mark.corpus
def test_truth_traits_of_every_code_point() -> None:
    sets = [
        unicode.is_punctuation_8,
        unicode.is_other_8,
        unicode.is_nonspacing_8,
        unicode.is_mark_9,
        unicode.is_numeric_17,
    ]
    for c in range(0x110000):
        want = sum(is_in(chr(c)) << i for i, is_in in enumerate(sets)) | (unicode.lowercase(chr(c)) != chr(c)) << 5
        assert _normalize.traits(c) == want, hex(c)
    with pytest.raises(ValueError, match="1114112"):
        _normalize.traits(0x110000)


@pytest.mark.corpus
def test_peer_classes_of_every_scalar() -> None:
    split = pytest.importorskip("tokenizers").pre_tokenizers

    def isolated(pre_tokenizer: Any) -> set[int]:
        pieces = (word for word, _ in pre_tokenizer.pre_tokenize_str("a".join(map(chr, SCALARS))) if len(word) == 1)
        return set(map(ord, pieces)) - {ord("a")}

    for pre_tokenizer, bit in (
        (split.Punctuation(), 1),
        (split.BertPreTokenizer(), 1),
        (split.Digits(individual_digits=True), 16),
    ):
        assert isolated(pre_tokenizer) == {c for c in SCALARS if _normalize.traits(c) & bit}


@pytest.mark.parametrize("how", TRUTH)
@given(data=st.lists(mixed, min_size=1, max_size=8))
def test_truth_mixed(how: str, data: list[str]) -> None:
    for text in data:
        assert normalized(how, text) == TRUTH[how](text)


@pytest.mark.parametrize("how", [how for how in TRUTH if how != "strip_nonspacing"])
@given(data=st.lists(mixed, min_size=1, max_size=8))
def test_peer_mixed(how: str, data: list[str]) -> None:
    peer = peer_of(how)
    for text in data:
        assert normalized(how, text) == peer.normalize_str(text)


def peer_places(method: str, text: str) -> list[tuple[str, tuple[int, int]]]:
    """What tokenizers makes of a text, and where each character comes from."""
    tokenizers = pytest.importorskip("tokenizers")
    pre_tokenized = tokenizers.PreTokenizedString(text)
    pre_tokenized.normalize(lambda n: getattr(n, method)())
    pre_tokenized.split(lambda _, n: n.split(tokenizers.Regex("(?m)."), "isolated"))
    return [(piece, offsets) for piece, offsets, _ in pre_tokenized.get_splits("original", "byte")]


@pytest.mark.parametrize("how", ["nfc", "nfd", "nfkc", "nfkd", "lowercase"])
@given(data=st.lists(mixed, min_size=1, max_size=8))
def test_peer_alignment(how: str, data: list[str]) -> None:
    for text in data:
        widths = [len(c.encode()) for c in text]
        begins = np.cumsum([0, *widths])
        whose = np.repeat(np.arange(len(text)), widths)
        out, places = _normalize.normalize_aligned(how, text.encode())
        assert out == _normalize.normalize(how, text.encode())
        got, at = [], 0
        for c in out.decode():
            i = whose[places[at]]
            got.append((c, (int(begins[i]), int(begins[i + 1]))))
            at += len(c.encode())
        assert got == peer_places(how, text)


@given(st.sampled_from(sorted(TRUTH)), st.lists(st.one_of(st.binary(max_size=4), biased.map(str.encode))).map(b"".join))
def test_safety_bytes_that_are_not_utf8(how: str, data: bytes) -> None:
    out, places = _normalize.normalize_aligned(how, data)
    assert out == _normalize.normalize(how, data)
    assert len(places) == len(out)
    assert all(-1 <= place < len(data) for place in places.tolist())
    if how in ("nfc", "nfd", "nfkc", "nfkd"):
        text = data.decode("utf-8", "surrogateescape")
        assert out == unicode.normalize(how.upper(), text).encode("utf-8", "surrogateescape")
        ends = _normalize.segments(how, data)
        starts = [0, *ends[:-1]]
        assert b"".join(_normalize.normalize(how, data[a:b]) for a, b in zip(starts, ends, strict=False)) == out


@pytest.mark.parametrize("how", ["nfd", "nfkc", "nfkd"])
@pytest.mark.parametrize("text", ["\u0301\u0323", "e" + MARKS[::-1], "\uac00", "\ufdfa", "ﬁ", "a\u0334"])
def test_peer_long_runs(how: str, text: str) -> None:
    text = text * (500_000 // len(text.encode()))
    assert normalized(how, text) == peer_of(how).normalize_str(text)


@pytest.mark.corpus
@pytest.mark.parametrize("how", ["nfd", "nfkc", "nfkd", "lowercase", "clean", "strip_accents"])
def test_peer_corpora(how: str, data_dir: Path) -> None:
    peer = peer_of(how)
    for name in ("english", "multilingual", "code"):
        with (data_dir / "corpus" / f"{name}.txt").open(encoding="utf-8", errors="ignore") as file:
            for _ in range(8):
                file.seek(random.Random(how).randrange(25_000_000))
                text = file.read(50_000)
                assert normalized(how, text) == peer.normalize_str(text)
