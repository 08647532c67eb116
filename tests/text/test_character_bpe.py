"""BPE over characters with byte fallback, compiled: any list of merges and each prefix, against tokenizers 0.23.3."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import converted
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lmfast
from lmfast.text import formats
from lmfast.text._converted import CharacterEngine as Door
from lmfast.text.character_bpe import CharacterEngine
from lmfast.text.pipeline import Pipeline

BRIEF = os.environ.get("LMFAST_TEST_BRIEF") == "1"
MARK = "\u2581"
SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
PREPEND = {"type": "Prepend", "prepend": MARK}
METASPACE = {"type": "Metaspace", "replacement": MARK, "split": False}
SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
FORMS: dict[str, dict[str, Any]] = {
    "old": {"normalizer": {"type": "Sequence", "normalizers": [PREPEND, SPACES]}},
    "no prefix": {"normalizer": SPACES},
    "split": {"normalizer": SPACES, "pre_tokenizer": SPLIT},
    "first": {"pre_tokenizer": METASPACE | {"prepend_scheme": "first"}},
    "always": {"pre_tokenizer": METASPACE | {"prepend_scheme": "always"}},
    "never": {"pre_tokenizer": METASPACE | {"prepend_scheme": "never"}},
}
LETTERS = "abc" + MARK + "é中"
ODD = [" ", "  ", MARK, "a", "b", "ab", "é", "е\u0301", "中", "文", "😀", "\0", "\n", "<0x41>", "<s>", "\ufffd"]
ODD += ["x" * 70, "ab" * 40]
texts = st.lists(st.one_of(st.sampled_from(ODD), st.text(LETTERS + " x", max_size=6)), max_size=8).map("".join)


@st.composite
def merge_lists(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    """Tokens, each a character or made of two that were there before, in any order; and merges, in any other."""
    tokens = [c for c in LETTERS if draw(st.integers(0, 5))] or ["a"]
    merges: list[list[str]] = []
    for _ in range(draw(st.integers(0, 14))):
        pair = [draw(st.sampled_from(tokens)), draw(st.sampled_from(tokens))]
        merges += [pair] * (pair not in merges)
        tokens += ["".join(pair)] * ("".join(pair) not in tokens)
    return draw(st.permutations(tokens)), draw(st.permutations(merges))


def file_of(tokens: list[str], merges: list[list[str]], form: str) -> str:
    words = ["<unk>", "<s>", *tokens, *(f"<0x{byte:02X}>" for byte in range(256))]
    model = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "merges": merges}
    document = {"version": "1.0", "added_tokens": [converted.special("<s>", 1)], "normalizer": None}
    document |= {"pre_tokenizer": None, "post_processor": None, "decoder": None} | FORMS[form]
    return json.dumps(document | {"model": model | {"vocab": {word: i for i, word in enumerate(words)}}})


def check(file: str | bytes, path: Path, lines: list[str]) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    path.write_bytes(file if isinstance(file, bytes) else file.encode())
    ours, peer = lmfast.Tokenizer.from_file(path), tokenizers.Tokenizer.from_file(str(path))
    assert isinstance(ours._engine, CharacterEngine)  # type: ignore[attr-defined]
    found = ours.encode_batch(lines, allowed_special="all").tolist()
    for line, got in zip(lines, found, strict=True):
        want = peer.encode(line, add_special_tokens=False)
        ids, _, characters = ours.encode_with_offsets(line, allowed_special="all")
        assert got == ids.tolist() == want.ids, ascii(line)
        assert list(map(tuple, characters.tolist())) == want.offsets, ascii(line)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20 if BRIEF else 100)
@given(model=merge_lists(), lines=st.lists(texts, min_size=1, max_size=6))
@example(model=(["a", "b", "ab", "aba", "ba"], [["a", "ba"], ["ab", "a"], ["b", "a"], ["a", "b"]]), lines=["aba abab"])
@example(model=(["a", "aa", "aaa"], [["aa", "a"], ["a", "aa"], ["a", "a"]]), lines=["a" * n for n in range(12)])
@example(model=(["a", "b", "ab"], []), lines=["ab"])
def test_peer_any_merges(form: str, model: Any, lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    check(file_of(*model, form), tmp_path_factory.mktemp("files") / "tokenizer.json", lines)


@pytest.mark.parametrize("form", [None, "first", "always", "never"])
def test_peer_llama(form: str | None, data_dir: Path, tmp_path: Path) -> None:
    """Places too, of lines of all corpora and of odd ones."""
    if not (data_dir / "vocab" / "llama2.model").is_file():
        pytest.skip("no llama2.model in the test data")
    lines = [a + odd + b for odd in ODD for a in ("", " ", "x") for b in ("", " ", "y  z")]
    for corpus in ("english", "multilingual", "code"):
        with open(data_dir / "corpus" / f"{corpus}.txt", "rb") as file:
            lines += file.read(8_000 if BRIEF else 200_000).decode("utf-8", "ignore").split("\n")
    check(converted.llama(formats.read(data_dir / "vocab" / "llama2.model"), form), tmp_path / "llama.json", lines)


def test_truth_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(file_of(["a", MARK, MARK + "a"], [[MARK, "a"]], "old"))
    ours = lmfast.Tokenizer.from_file(tmp_path / "x.json")
    pipeline = Pipeline(ours.spec)
    for text in (b"a\xff\xfe a", b"\xe2\x96", b"a\xe2\x96 a\xf0\x9f", b"\xc0\x80a"):
        ids, spans, _ = ours.encode_with_offsets(text)
        want, places = pipeline.encode(pipeline.normalize(text, places=True))
        assert ours.encode_list(text) == ids.tolist() == want
        assert list(map(tuple, spans.tolist())) == places


def test_safety_door() -> None:
    names = [b"a", b"b", b"ab", *(b"<0x%02X>" % byte for byte in range(256))]
    merges = np.array([[0, 1]], np.uint32)

    def door(names: list[bytes], merges: Any = merges) -> Door:
        return Door(b"".join(names), np.cumsum([0, *map(len, names)]), merges, "always", 1 << 16)

    engine = door(names)
    ids, counts = np.empty(engine.bound(3), np.uint32), np.zeros(1, np.int64)
    assert engine.encode_spans(b"bab", np.array([[1, 3]]), ids, 0, counts) == 4
    assert ids[:4].tolist() == [3 + 0xE2, 3 + 0x96, 3 + 0x81, 2]  # there is no U+2581
    with pytest.raises(ValueError, match=r"token 259, b'a', is given twice"):
        door([*names, b"a"])
    with pytest.raises(ValueError, match="too long"):
        door([*names, b"a" * 1025])
    with pytest.raises(ValueError, match="pairs of ids below 259"):
        door(names, np.array([[0, 259]], np.uint32))
    with pytest.raises(ValueError, match="compiled already"):
        engine.__init__(b"a", np.array([0, 1]), merges, "never", 1 << 16)  # type: ignore[misc]
    assert door([*names, b"a" * 1024, b"\xff"], np.array([[0, 0]], np.uint32)).bound(0) > 0
