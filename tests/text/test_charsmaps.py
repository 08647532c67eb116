"""The charsmaps and scripts: equal to those in sentencepiece's models, rule by rule."""

import io
import struct
from pathlib import Path
from typing import Any

import pytest

from lmfast.text.charsmaps import CHARSMAPS, charsmap, scripts

Rules = dict[str, str]


def rules_of(blob: bytes) -> Rules:
    """The rules of a charsmap, all paths of its double array walked."""
    if not blob:
        return {}
    size = struct.unpack_from("<I", blob)[0]
    units, results = struct.unpack_from(f"<{size // 4}I", blob, 4), blob[4 + size :]
    children: dict[int, list[tuple[int, int]]] = {}
    for place, unit in enumerate(units):
        if label := unit & (1 << 31 | 0xFF):
            children.setdefault(place ^ label, []).append((place, label))
    rules = {}
    stack = [(0, b"")]
    while stack:
        place, key = stack.pop()
        unit = units[place]
        base = place ^ (unit >> 10) << ((unit & 1 << 9) >> 6)
        if unit >> 8 & 1:
            value = units[base] & 0x7FFFFFFF
            rules[key.decode()] = results[value : results.index(b"\0", value)].decode()
        stack += [(child, key + bytes([label])) for child, label in children.get(base, []) if label < 256]
    return rules


def normalizer_of(model: bytes) -> Any:
    proto = pytest.importorskip("sentencepiece.sentencepiece_model_pb2").ModelProto()
    proto.ParseFromString(model)
    return proto.normalizer_spec


def test_unit_charsmaps() -> None:
    rules = rules_of(charsmap("nmt_nfkc"))
    assert (rules["\u3000"], rules["\n"], rules["\x01"], rules["\ufb01"], rules["e\u0301"]) == (" ", " ", "", "fi", "é")
    assert "\uff5e" not in rules
    assert rules_of(charsmap("nfkc_cf"))["\u212b"] == "å"
    assert charsmap("identity") == b""
    with pytest.raises(ValueError, match="normalizer = 'nfc'"):
        charsmap("nfc")


def test_unit_scripts() -> None:
    numbers, names = scripts()
    for character, name in (
        ("a", "Latin"),
        ("я", "Cyrillic"),
        ("한", "Hangul"),
        ("ー", "Common"),
        ("\u0301", "Inherited"),
    ):
        assert names[numbers[ord(character)]] == name


@pytest.mark.corpus
@pytest.mark.parametrize("name", CHARSMAPS)
def test_peer_sentencepiece_charsmaps(name: str) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    options = {"vocab_size": 30, "model_type": "bpe", "hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a text"]), model_writer=model, normalization_rule_name=name, **options
    )
    want = rules_of(normalizer_of(model.getvalue()).precompiled_charsmap)
    assert rules_of(charsmap(name)) == want


@pytest.mark.corpus
def test_peer_charsmap_of_a_model(data_dir: Path) -> None:
    """One of 2019: the same but for what Unicode got since."""
    theirs = rules_of(normalizer_of((data_dir / "vocab" / "t5.spiece.model").read_bytes()).precompiled_charsmap)
    ours = rules_of(charsmap("nmt_nfkc"))
    changed = {source for source in theirs if ours.get(source) != theirs[source]}
    assert changed == {"\u200d"}  # the zero width joiner was a space then
    assert len(ours) > len(theirs)
