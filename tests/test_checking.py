"""`checking()`: what it notices, when it is on, and that it costs nothing when it is not."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from lmfast import _checking
from lmfast.reference import text as reference
from lmfast.text.spec import BPE, NFC, AddedToken, TokenizerSpec, Vocab

IDS = {bytes([b]): b for b in range(256)} | {b"ab": 256}
SPEC = TokenizerSpec(BPE(Vocab.from_items(IDS)), normalizer=(NFC(),), added_tokens=(AddedToken("<s>", 257),))
A, B, AB = ord("a"), ord("b"), 256


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without LMFAST_CHECK."""
    monkeypatch.setattr(_checking, "_users", 0)
    monkeypatch.setattr(_checking, "on", False)


@pytest.mark.usefixtures("off")
def test_unit_on_inside_nested_and_after_an_exception() -> None:
    assert not _checking.on
    with _checking.checking():
        assert _checking.on
        with pytest.raises(KeyError), _checking.checking():
            raise KeyError
        assert _checking.on
    assert not _checking.on


@pytest.mark.usefixtures("off")
def test_unit_on_in_other_threads_until_the_last_one_leaves() -> None:
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with _checking.checking():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    with _checking.checking():
        pass
    assert _checking.on
    leave.set()
    thread.join()
    assert not _checking.on


@pytest.mark.parametrize(("value", "want"), [("1", "True"), ("0", "False"), ("", "False"), (None, "False")])
def test_unit_environment(value: str | None, want: str) -> None:
    env = {name: old for name, old in os.environ.items() if name != "LMFAST_CHECK"}
    if value is not None:
        env["LMFAST_CHECK"] = value
    code = (
        "import sys; from lmfast import _checking; print(_checking.on);"
        "assert not {'torch', 'regex', 'lmfast.reference.text'} & set(sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout
    assert out.strip() == want


def test_unit_what_is_right_passes() -> None:
    _checking.verify_encode(SPEC, "abc", np.array([AB, ord("c")], np.uint32))
    _checking.verify_encode(SPEC, "a<s>", [A, 257], "all")
    _checking.verify_count(SPEC, b"ab\xff", 2)
    _checking.verify_decode(SPEC, np.array([AB, 257], np.uint32), b"ab<s>")
    _checking.verify_decode(SPEC, [0xE4], "\ufffd".encode(), "replace")
    _checking.verify_truncate(SPEC, "abab", 1, "ab")
    _checking.verify_offsets(SPEC, "ab", np.array([AB]), np.array([[0, 2]]), np.array([[0, 2]]))


def test_unit_the_first_difference_is_named() -> None:
    with pytest.raises(
        _checking.KernelMismatchError, match=r"encode: at 1 the kernel gives 97, .* 256.*xab."
    ) as caught:
        _checking.verify_encode(SPEC, "xab", np.array([ord("x"), A, B], np.uint32))
    error = caught.value
    assert (error.function, error.index, error.got, error.want) == ("encode", 1, A, AB)
    assert isinstance(error, RuntimeError)
    with pytest.raises(_checking.KernelMismatchError) as caught:
        _checking.verify_encode(SPEC, "abab", [AB])
    assert (caught.value.index, caught.value.got, caught.value.want) == (1, None, AB)
    with pytest.raises(_checking.KernelMismatchError) as caught:
        _checking.verify_encode(SPEC, "", [AB])
    assert (caught.value.index, caught.value.got, caught.value.want) == (0, AB, None)


def test_unit_every_check_can_fail() -> None:
    with pytest.raises(_checking.KernelMismatchError, match="count"):
        _checking.verify_count(SPEC, "ab", 2)
    with pytest.raises(_checking.KernelMismatchError, match="decode_bytes: at 1"):
        _checking.verify_decode(SPEC, [AB], b"aB")
    with pytest.raises(_checking.KernelMismatchError, match="decode: at 0"):
        _checking.verify_decode(SPEC, [AB], b"", "replace")
    with pytest.raises(_checking.KernelMismatchError, match="truncate"):
        _checking.verify_truncate(SPEC, "abab", 1, "a")
    with pytest.raises(_checking.KernelMismatchError, match="encode_with_offsets: at 0"):
        _checking.verify_offsets(SPEC, "ab", np.array([AB]), np.array([[0, 1]]), np.array([[0, 2]]))


def test_unit_public_calls_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    import lmfast

    tokenizer = lmfast.Tokenizer(SPEC)
    with lmfast.checking():
        assert tokenizer.encode("abe\u0301").tolist() == [AB, 0xC3, 0xA9]
        monkeypatch.setattr(reference, "encode", lambda *_, **__: [A, B])
        monkeypatch.setattr(reference, "decode_bytes", lambda *_: b"ba")
        monkeypatch.setattr(reference, "count", lambda *_, **__: 7)
        calls = [
            lambda: tokenizer.encode("ab"),
            lambda: tokenizer.encode_list("ab"),
            lambda: tokenizer.encode_batch(["ab"]),
            lambda: tokenizer.count("ab"),
            lambda: tokenizer.decode([AB]),
            lambda: tokenizer.decode_bytes([AB]),
            lambda: tokenizer.decode_batch([[AB]]),
        ]
        for call in calls:
            with pytest.raises(lmfast.KernelMismatchError):
                call()
