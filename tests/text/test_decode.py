"""Ids to text: whole, in batches, one id at a time, and ids that are none."""

import contextlib
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmfast.text import _text
from lmfast.text.spec import BPE, AddedToken, TokenizerSpec, Vocab
from lmfast.text.tokenizer import Tokenizer

WORDS = [b"hello", "é".encode(), b"\xe4\xb8", b"\xad!", b"\x98\x80x", b"\xf0\x9f", b"a" * 200, b" world", b"ab\xc3"]
# The words have every second id from 256 on.
TOKENS = {i: bytes([i]) for i in range(256)} | {256 + 2 * i: word for i, word in enumerate(WORDS)}
ADDED = {300: b"<end>", 301: "中".encode()}
ALL = TOKENS | ADDED
HOLES = [257, 275, 299]


@pytest.fixture(scope="module")
def tok() -> Tokenizer:
    vocab = Vocab.from_items((token, i) for i, token in TOKENS.items())
    added = (AddedToken("<end>", 300), AddedToken("中", 301, special=False))
    return Tokenizer(TokenizerSpec(BPE(vocab), added_tokens=added))


IDS = st.lists(st.sampled_from(sorted(ALL)), max_size=30)
POLICIES = ["replace", "strict", "ignore", "backslashreplace", "surrogateescape"]


def decoded(data: bytes, errors: str) -> str | type[UnicodeDecodeError]:
    try:
        return data.decode("utf-8", errors)
    except UnicodeDecodeError:
        return UnicodeDecodeError


def test_unit_decode(tok: Tokenizer) -> None:
    assert tok.decode([256, 270, 300]) == "hello world<end>"
    assert tok.decode([260, 0xAD]) == "中"
    assert tok.decode([260]) == "\ufffd"
    assert tok.decode([]) == ""
    assert tok.decode_bytes([]) == b""
    assert tok.decode_batch([[256], [], [65, 0xFF]]) == ["hello", "", "A\ufffd"]
    assert tok.decode_batch([[0xFF]], errors="ignore") == [""]
    assert tok.decode([256, 300, 301], skip_special_tokens=True) == "hello中"
    assert tok.decode_bytes([300, 256], skip_special_tokens=True) == b"hello"
    assert tok.decode_batch([[300]], skip_special_tokens=True) == [""]


@given(IDS)
def test_property_decode_is_bytes_decode(tok: Tokenizer, ids: list[int]) -> None:
    data = b"".join(ALL[i] for i in ids)
    assert tok.decode_bytes(ids) == data
    for errors in POLICIES:
        want = decoded(data, errors)
        if isinstance(want, str):
            assert tok.decode(ids, errors) == want
            assert tok.decode_batch([ids, []], errors) == [want, ""]
        else:
            with pytest.raises(UnicodeDecodeError):
                tok.decode(ids, errors)


@given(IDS)
def test_property_kinds_of_arrays(tok: Tokenizer, ids: list[int]) -> None:
    want = b"".join(ALL[i] for i in ids)
    for dtype in (np.uint32, np.int32, np.int64, np.uint16, np.uint64):
        array = np.array(ids, dtype)
        assert tok.decode_bytes(array) == want
        assert tok.decode_bytes(np.repeat(array, 2)[::2]) == want
    assert tok.decode_bytes([np.uint32(i) for i in ids]) == tok.decode_bytes(list(np.array(ids, np.int64))) == want
    read_only = np.array(ids, np.uint32)
    read_only.flags.writeable = False
    assert tok.decode_bytes(read_only) == tok.decode_bytes(tuple(ids)) == want


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.sampled_from(["", "a" * 70, "é", "中", "😀"]))
def test_property_text_of_every_width(tok: Tokenizer, text: str, more: str) -> None:
    for whole in (text, more + text, text + more):
        assert tok.decode(tok.encode(whole)) == tok.decode(tok.encode_list(whole)) == whole


def test_truth_width_and_place_of_each_character(tok: Tokenizer) -> None:
    for character in "\x7f\x80\xff\u0100\u07ff\u0800\ud7ff\ue000\ufffd\uffff\U00010000\U0010ffff":
        for n in (0, 1, 15, 16, 31, 33, 63, 64, 65, 200):
            for text in ("a" * n + character, "é" * n + character + "a" * n, character * (n + 1)):
                assert tok.decode(list(text.encode())) == text
                for cut in (1, 2):  # the last character without its end
                    data = text.encode()[:-cut]
                    assert tok.decode(list(data)) == data.decode("utf-8", "replace")


@pytest.fixture(scope="module", params=_text.isas())
def bytewise(request: pytest.FixtureRequest) -> Tokenizer:
    """Every byte is a token, and so are some pieces of 2 to 20 bytes, for each reader of UTF-8 that is here."""
    pieces = dict.fromkeys(
        "aé中😀ࠀ\ud7ff￿\U0010ffff and so on, 中文 ещё".encode()[i : i + n] for i in range(50) for n in (2, 3, 5, 16, 20)
    )
    items = [(bytes([i]), i) for i in range(256)]
    items += [(piece, 256 + i) for i, piece in enumerate(p for p in pieces if len(p) > 1)]
    return Tokenizer(TokenizerSpec(BPE(Vocab.from_items(items))), isa=request.param)


@pytest.mark.parametrize("policy", ["replace", "surrogateescape"])
def test_truth_every_character_and_every_damage(bytewise: Tokenizer, rng: np.random.Generator, policy: str) -> None:
    """Texts of all widths, longer than a block of the reader, whole and with one byte that does not belong."""
    letters = ["a", "aé", "aéЖ", "aéЖ中", "aéЖ中😀", "中", "😀", "\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"]
    for alphabet in letters:
        for n in (1, 17, 64, 130, 5000):
            text = "".join(rng.choice(list(alphabet), n).tolist()) + "a" * int(rng.integers(0, 40))
            data = text.encode()
            assert bytewise.decode(list(data)) == text
            assert bytewise.decode(bytewise.encode(data)) == text
            for byte in rng.choice(
                [0x00, 0x41, 0x80, 0xBF, 0xC0, 0xC1, 0xC3, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF], 6
            ):
                at = int(rng.integers(0, len(data)))
                for broken in (data[:at] + bytes([byte]) + data[at:], data[:at] + bytes([byte]) + data[at + 1 :]):
                    assert bytewise.decode(list(broken), policy) == broken.decode("utf-8", policy)


def test_truth_all_scalars(bytewise: Tokenizer) -> None:
    for first in range(0, 0x110000, 0x8000):
        text = "".join(map(chr, (c for c in range(first, first + 0x8000) if not 0xD800 <= c < 0xE000)))
        data = text.encode()
        assert bytewise.decode(np.frombuffer(data, np.uint8)) == text
        assert bytewise.decode(bytewise.encode(data)) == text


@given(st.binary(max_size=200), st.integers(0, 70))
def test_property_any_bytes(bytewise: Tokenizer, data: bytes, before: int) -> None:
    whole = b"x" * before + data + b"y" * 64
    assert bytewise.decode(list(whole)) == whole.decode("utf-8", "replace")
    assert bytewise.decode(np.frombuffer(whole, np.uint8)) == whole.decode("utf-8", "replace")


def test_unit_lists_of_odd_ints(tok: Tokenizer) -> None:
    class Id(int):
        pass

    assert tok.decode([256, Id(270), True, 65, Id(256)]) == "hello world\x01Ahello"
    for odd in (Id(-1), Id(2**70), -(2**30), 2**30, 2**60):
        with pytest.raises(IndexError, match=r"ids\[1\] = "):
            tok.decode([256, odd])
    with pytest.raises(TypeError, match=r"ids\[5000\]"):
        tok.decode([256] * 5000 + [1.5])
    with pytest.raises(IndexError, match=r"ids\[5000\] = 257"):
        tok.decode([256] * 5000 + [257, -1])


def test_truth_long(tok: Tokenizer, rng: np.random.Generator) -> None:
    """Short and long tokens at every place of the output."""
    for n in (1, 7, 8, 9, 63, 1000, 50_000):
        ids = rng.choice(sorted(ALL), n)
        want = b"".join(ALL[i] for i in ids.tolist())
        assert tok.decode_bytes(ids) == tok.decode_bytes(ids.tolist()) == want
        assert tok.decode(ids) == tok.decode(ids.tolist()) == want.decode("utf-8", "replace")
    for n in (1, 2, 3, 300, 5000):  # longer than what is set aside for so many ids
        assert tok.decode_bytes([268] * n) == b"a" * 200 * n
        assert tok.decode([268] * n + [260, 0xAD]) == "a" * 200 * n + "中"


def test_safety_a_list_that_another_thread_changes(tok: Tokenizer) -> None:
    ids = [256, 65, 270] * 2000
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            del ids[10:]
            ids.extend([256, 2**40, -1, 65] * 3000)
            ids[:] = [65] * 6000

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            with contextlib.suppress(IndexError):
                assert set(tok.decode(ids)) <= set("Ahello world")
    finally:
        done.set()
        thread.join()


@given(IDS, st.sampled_from(POLICIES))
def test_property_stream(tok: Tokenizer, ids: list[int], errors: str) -> None:
    """The pieces joined are the whole, and a decoder can be used again, after an error too."""
    stream = tok.decoder(errors)
    want = decoded(b"".join(ALL[i] for i in ids), errors)
    for _ in range(2):
        if isinstance(want, str):
            parts = [stream.push(i) for i in ids]
            assert "".join(parts) + stream.finish() == want
        else:
            stream = tok.decoder(errors)
            with pytest.raises(UnicodeDecodeError):
                _ = [stream.push(i) for i in ids], stream.finish()


def test_unit_stream_gives_out_whole_characters(tok: Tokenizer) -> None:
    stream = tok.decoder()
    assert [stream.push(i) for i in (266, 264, 260, 0xAD, 256)] == ["", "😀x", "", "中", "hello"]
    assert stream.push(260) == ""
    assert stream.finish() == "\ufffd"
    assert stream.finish() == ""
    assert stream.push(256) == "hello"
    with pytest.raises(IndexError):
        stream.push(257)


@given(st.binary(max_size=24))
def test_property_stream_of_any_bytes_split_anywhere(tok: Tokenizer, data: bytes) -> None:
    stream = tok.decoder()
    assert "".join(stream.push(byte) for byte in data) + stream.finish() == data.decode("utf-8", "replace")


# What is no id.


@pytest.mark.parametrize("bad", [-1, 257, 302, 2**28, 2**31, 2**32, 2**40, -(2**40), 2**63, 2**64])
def test_unit_ids_that_no_token_has(tok: Tokenizer, bad: int) -> None:
    for call in (tok.decode, tok.decode_bytes, lambda ids: tok.decode_batch([[65], ids])):
        for ids in ([bad], [65, bad, 66]):
            with pytest.raises((IndexError, OverflowError, TypeError), match=str(bad) if bad < 2**63 else None):
                call(ids)
    with pytest.raises(IndexError, match=str(bad)):
        tok.decoder().push(bad)


def test_unit_first_bad_id_is_named(tok: Tokenizer) -> None:
    for ids in (
        [65, 66, 257, 275],
        [65, 66, 999, -1],
        np.array([65, 66, 257, 999], np.uint32),
        np.array([65, 66, 999, -1]),
    ):
        with pytest.raises(IndexError, match=r"ids\[2\] = (257|999)"):
            tok.decode(ids)


@pytest.mark.parametrize(
    "bad", [[1.0], ["a"], [None], [True], "abc", np.array([65.0]), [[65]], [[65], [66, 67]], 65, b"a"]
)
def test_unit_what_is_no_list_of_ids(tok: Tokenizer, bad: Any) -> None:
    for call in (tok.decode, tok.decode_bytes, lambda ids: tok.decode_batch([ids])):
        with pytest.raises((TypeError, ValueError)):
            call(bad)
    assert tok.decode([256]) == "hello"


def test_unit_unknown_policy(tok: Tokenizer) -> None:
    with pytest.raises(LookupError):
        tok.decode([0xFF], errors="nonsense")


def test_safety_garbage_ids(tok: Tokenizer, rng: np.random.Generator) -> None:
    for n in (1, 10, 1000):
        ids = rng.integers(0, 2**32, n, dtype=np.uint32)
        with pytest.raises(IndexError):
            tok.decode_bytes(ids)
