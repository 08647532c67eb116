"""Files of the other families with a wrong value at each key: refused by a TokenizerFileError, or they work."""

from __future__ import annotations

import copy
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_families import MODELS_OF_FILES, small

import lmfast
from lmfast.text.spec import TokenizerFileError

FULL = os.environ.get("LMFAST_TEST_FULL") == "1"
BRIEF = os.environ.get("LMFAST_TEST_BRIEF") == "1"
ABSENT = object()
VALUES: list[Any] = [
    *(ABSENT, None, True, 0, -1, 5, 2**31, 2**32, 2**64, 2**70, 1e308, 0.5, "", "x", "\ud800", "\0", "a" * 300, "▁"),
    *([], {}, [[]], [{}], {"a": 0}, ["a", "b"], [["a", 0]], {"type": "NFC"}, {"type": "Sequence"}, {"String": "a"}),
    *({"Regex": "("}, {"Regex": "x*"}, json.loads("[" * 60 + "]" * 60)),
]
TEXTS = ["a b é中 hello <unk>hi [X] 12.x \x00 ", "", "\ud800", b"\xff\xe2\x96", "xa" * 40]


def document(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(small(name))
    a, b = ({"Sequence": {"id": sequence, "type_id": i}} for i, sequence in enumerate("AB"))
    unk = {"SpecialToken": {"id": "<unk>", "type_id": 0}}
    return content | {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [unk, a],
            "pair": [a, b],
            "special_tokens": {"<unk>": {"id": "<unk>", "ids": [0], "tokens": ["<unk>"]}},
        }
    }


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The ways to all values, but for no more than some of the same kind."""
    if at:
        yield at
    if isinstance(value, dict):
        for key in list(value)[:8]:
            yield from places(value[key], (*at, key))
    elif isinstance(value, list):
        for i in range(min(len(value), 2)):
            yield from places(value[i], (*at, i))


def changed(content: dict[str, Any], at: tuple[str | int, ...], value: Any) -> bytes:
    content = copy.deepcopy(content)
    inside: Any = content
    for step in at[:-1]:
        inside = inside[step]
    if value is ABSENT:
        del inside[at[-1]]
    else:
        inside[at[-1]] = value
    return json.dumps(content).encode()


def use(tokenizer: lmfast.Tokenizer, path: Path) -> None:
    """Calls everything. A text that holds what the model does not know may be an error, and one only of that."""
    for text in TEXTS:
        try:
            ids = tokenizer.encode(text, allowed_special="all")
        except ValueError as error:
            assert "unknown" in str(error) or "no id" in str(error)  # noqa: PT017
            continue
        assert tokenizer.encode_with_offsets(text, allowed_special="all").ids.tolist() == ids.tolist()
        assert tokenizer.encode_batch([text] * 2, allowed_special="all").tolist() == [ids.tolist()] * 2
        decoder = tokenizer.decoder()
        assert "".join([decoder.push(i) for i in ids.tolist()]) + decoder.finish() == tokenizer.decode(ids)
        tokenizer.encoding(text, text, max_length=9)
        tokenizer.encode(text, add_special_tokens=True)
        tokenizer.truncate(text, 2)
        for options in ({"alpha": 0.5}, {"dropout": 0.5}):
            try:
                tokenizer.sample(text, seed=1, **options)
            except ValueError as error:
                assert "sample" in str(error)  # noqa: PT017
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer
    assert tokenizer.explain()
    try:
        tokenizer.save(path.with_name("again.json"))
    except ValueError as error:
        assert "no decimal number" in str(error)  # noqa: PT017
    else:
        assert lmfast.Tokenizer.from_file(path.with_name("again.json")) == tokenizer


@pytest.mark.parametrize("name", MODELS_OF_FILES)
def test_safety_wrong_values(name: str, tmp_path: Path) -> None:
    content, path = document(name), tmp_path / "x.json"
    cases = [(at, value) for at in places(content) for value in VALUES]
    step = 1 if FULL else 67 if BRIEF else 13
    refused = 0
    for at, value in cases[len(name) % step :: step]:
        path.write_bytes(changed(content, at, value))
        try:
            tokenizer = lmfast.Tokenizer.from_file(path)
        except TokenizerFileError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
            refused += 1
            continue
        use(tokenizer, path)
    assert refused > len(cases) // step // 2


@pytest.mark.parametrize("name", ["unigram", "word-piece", "bpe-bytes", "ctc"])
def test_safety_truncated_at_every_byte(name: str, tmp_path: Path) -> None:
    data, path = json.dumps(document(name)).encode(), tmp_path / "short.json"
    for n in range(1, len(data), 1 if FULL else 7):
        path.write_bytes(data[:n])
        with pytest.raises(TokenizerFileError):
            lmfast.Tokenizer.from_file(path)


def test_unit_a_template_without_places(tmp_path: Path) -> None:
    """It has room for no ids, not even for those of the text."""
    content = document("word-level")
    (tmp_path / "x.json").write_bytes(changed(content, ("post_processor", "single"), []))
    tokenizer = lmfast.Tokenizer.from_file(tmp_path / "x.json")
    assert tokenizer.encode("a b", add_special_tokens=True).tolist() == []
    assert tokenizer.encode("a b").tolist() == [1, 2]
