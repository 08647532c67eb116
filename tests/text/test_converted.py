"""Unigram files compiled whole: grapheme clusters, Precompiled, Metaspace and units against tokenizers 0.23.3."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import converted
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmfast
from lmfast.text import formats
from lmfast.text._converted import Engine
from lmfast.text.converted_unigram import ConvertedUnigram

BRIEF = os.environ.get("LMFAST_TEST_BRIEF") == "1"
FULL = os.environ.get("LMFAST_TEST_FULL") == "1"
MARK = "\u2581"
SCALARS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]

METASPACE = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}
BY_WHITE_SPACE = {"type": "WhitespaceSplit"}
STRIP = {"type": "Strip", "strip_left": False, "strip_right": True}
TWO_SPACES = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": MARK}
QUOTES = {"type": "Replace", "pattern": {"String": "``"}, "content": '"'}
PRE: dict[str, dict[str, Any]] = {
    "metaspace": METASPACE,
    "first": METASPACE | {"prepend_scheme": "first"},
    "never": METASPACE | {"prepend_scheme": "never"},
    "whole": METASPACE | {"split": False},
    "underscore": METASPACE | {"replacement": "_"},
    "white space": {"type": "Sequence", "pretokenizers": [BY_WHITE_SPACE, METASPACE]},
    "white space, whole": {"type": "Sequence", "pretokenizers": [BY_WHITE_SPACE, METASPACE | {"split": False}]},
}
NORMALIZERS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "mbart": [STRIP, TWO_SPACES],
    "xlm-roberta": [TWO_SPACES | {"content": " "}],
    "albert": [QUOTES, {"type": "Nmt"}, {"type": "Lowercase"}, {"type": "StripAccents"}],
    "prepend": [{"type": "Prepend", "prepend": "x "}, {"type": "Replace", "pattern": {"String": " "}, "content": MARK}],
}
# Sums of scores that are equal, so that the order of adding them up decides.
TIES = [
    ["<unk>", -10.0],
    [MARK, -1.0],
    ["a", -2.0],
    ["aa", -4.0],
    ["b", -2.1],
    ["ab", -4.1],
    ["ba", -4.1],
    ["aab", -6.1],
]
TIES += [["-", -1.0], ["--", -2.0], ["---", -3.0], [MARK + "a", -3.0], ["é", -2.5], ["1", -1.0], ["ра", -0.1]]
ODD = [
    *(
        "a",
        "b",
        " ",
        "  ",
        MARK,
        "\u0301",
        "é",
        "\u200d",
        "\u1112\u1161\u11ab",
        "한",
        "\r",
        "\n",
        "\r\n",
        "ﬁ",
        "①",
        "½",
    ),
    *(
        "中",
        "文",
        "\u3000",
        "\0",
        "\ufffd",
        "\u00ad",
        "\u0600",
        "😀",
        "👨\u200d👩",
        "\u0915\u094d\u0937",
        "1",
        "2.",
        "--",
    ),
    *(
        "</s>",
        "<",
        ">",
        "_",
        "x_y",
        "\u0928\u093f",
        "\ufeff",
        "İ",
        "\u0308",
        "ＡＢ",
        "``",
        "~",
        "{",
        "привет",
        "ра",
        "ß",
    ),
    *("\u0e33", "\u0903", "don't", "\u1e9b\u0323", "\ufdfa", "🇩🇪", "\x7f", "\x80", "\t", " the", "a" * 40, "中" * 50),
]
texts = st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=3)), max_size=14).map("".join)


def file_of(spec: Any, pre: str = "metaspace", normalizers: str = "", model: str = "t5") -> str:
    file = json.loads(converted.t5(spec))
    file["pre_tokenizer"] = PRE[pre]
    if normalizers == "none":
        file["normalizer"] = None
    elif normalizers:
        file["normalizer"] = {"type": "Sequence", "normalizers": [*NORMALIZERS[normalizers], file["normalizer"]]}
    if model == "bytes":
        file["model"]["byte_fallback"] = True
        file["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0 - byte / 1000] for byte in range(256)]
    if model == "ties":
        file["model"] |= {"vocab": TIES, "unk_id": 0}
        file["added_tokens"], file["post_processor"] = [], None
    return json.dumps(file)


class Pair:
    """A tokenizer and the library that it is to equal."""

    def __init__(self, file: str, path: Path) -> None:
        tokenizers = pytest.importorskip("tokenizers")
        path.write_text(file)
        self.ours, self.peer = lmfast.Tokenizer.from_file(path), tokenizers.Tokenizer.from_str(file)
        assert isinstance(self.ours._engine, ConvertedUnigram)  # type: ignore[attr-defined]

    def check(self, lines: list[str], *, places: bool = False) -> None:
        lines = [line.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") for line in lines]
        found = self.ours.encode_batch(lines, allowed_special="all").tolist()
        wanted = self.peer.encode_batch(lines, add_special_tokens=False)
        for line, got, want in zip(lines, found, wanted, strict=True):
            assert got == want.ids, ascii(line)
            if places:
                ids, _, characters = self.ours.encode_with_offsets(line, allowed_special="all")
                assert ids.tolist() == want.ids, ascii(line)
                assert list(map(tuple, characters.tolist())) == want.offsets, ascii(line)


@pytest.fixture(scope="module")
def t5(data_dir: Path) -> Any:
    path = data_dir / "vocab" / "t5.spiece.model"
    if not path.is_file():
        pytest.skip("no t5.spiece.model in the test data")
    return formats.read(path)


KINDS = [
    *(dict(pre=pre) for pre in PRE),
    *(dict(normalizers=name) for name in NORMALIZERS),
    dict(pre="white space", normalizers="xlm-roberta"),
    dict(model="bytes"),
    dict(model="ties"),
    dict(model="ties", pre="white space"),
]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(kind.values()))
def pair(request: pytest.FixtureRequest, t5: Any, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(file_of(t5, **request.param), tmp_path_factory.mktemp("files") / "tokenizer.json")


def test_unit_odd_texts(pair: Pair) -> None:
    """Each odd part between letters, at either end and alone, with places."""
    pair.check([f"{a}{part}{b}" for part in ODD for a in ("", "a", " ") for b in ("", "b", "  ")], places=True)


@settings(max_examples=20 if BRIEF else 60)
@given(batch=st.lists(texts, min_size=1, max_size=8))
def test_peer_strings(pair: Pair, batch: list[str]) -> None:
    pair.check(batch, places=True)


@pytest.mark.parametrize("corpus", ["english", "multilingual", "code"])
def test_peer_lines(pair: Pair, data_dir: Path, corpus: str) -> None:
    path = data_dir / "corpus" / f"{corpus}.txt"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the test data")
    with open(path, "rb") as file:
        pair.check(file.read(-1 if FULL else 10_000 if BRIEF else 60_000).decode("utf-8", "ignore").split("\n"))


RULES = {
    "a": "X",
    "e\u0301": "E",
    "\u0301": "",
    "\u00ad": "--",
    "©": "(c)",
    "\u0600": "N",
    "f": "ffi",
    "\u0628\u0301": "",
}
"""Rules that tell whether a character is a cluster of its own: what follows it in a cluster goes with it."""


def rules_file(rules: dict[str, str]) -> str:
    """A file that only normalizes; its map of characters is a double array without a child more than it needs."""
    pieces = [["<unk>", 0.0], *([c, -1.0] for c in "abcdefghijklmnopqrstuvwxyzXENFI-()")]
    charsmap = base64.b64encode(converted.charsmap_of(rules)).decode()
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap},
            "pre_tokenizer": METASPACE,
            "post_processor": None,
            "decoder": None,
            "model": {"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": False},
        }
    )


@pytest.fixture(scope="module")
def odd_rules(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(rules_file(RULES), tmp_path_factory.mktemp("rules") / "tokenizer.json")


@given(st.text(alphabet="ae\u0301\u00ad©\u200d\u0600fb \r\n\u0628\u0903\u0915\u094d", max_size=12))
@settings(max_examples=100 if BRIEF else 1000)
def test_peer_odd_rules(odd_rules: Pair, text: str) -> None:
    odd_rules.check([text], places=True)


@pytest.mark.corpus
def test_peer_every_character_joins_or_not(odd_rules: Pair) -> None:
    """Every character behind a letter, whose rule tells whether they are one cluster, and before a mark."""
    step = 1 if FULL else 5
    odd_rules.check(["a" + c + "b" for c in SCALARS[::step]] + [c + "\u0301" for c in SCALARS[::step]])


def test_safety_engine() -> None:
    pieces = (b"<unk>a", np.array([0, 5, 6]), np.array([-1.0, -2.0]), np.array([2, 1], np.uint8))
    space = (MARK.encode(), "always", True, False)
    engine = Engine(pieces, 0, False, [], space, 1 << 20)
    with pytest.raises(IndexError, match=r"spans\[0\] = \[0, 9\) is outside \[0, 3\)"):
        engine.encode_spans(b"abc", np.array([[0, 9]]), None, 0, np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="want room for"):
        engine.encode_spans(b"abc", np.array([[0, 3]]), np.empty(1, np.uint32), 0, np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="unknown_id = 2 is outside"):
        Engine(pieces, 2, False, [], space, 1 << 20)
    with pytest.raises(ValueError, match="a step is damaged"):
        Engine(pieces, 0, False, [("precompiled", "", b"\1\0\0\0xx", b"")], space, 1 << 20)
    with pytest.raises(ValueError, match="a step is damaged"):
        Engine(pieces, 0, False, [("replace", "", b"", b"x")], space, 1 << 20)
    with pytest.raises(ValueError, match="17 steps; want at most 16"):
        Engine(pieces, 0, False, [("strip", "both", b"", b"")] * 17, space, 1 << 20)
    nan = (pieces[0], pieces[1], np.array([-1.0, np.nan]), pieces[3])
    with pytest.raises(ValueError, match="piece 1"):
        Engine(nan, 0, False, [], space, 1 << 20)
