"""Special tokens, truncation and padding against tokenizers 0.23.3."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmfast
from lmfast.text.encoding import Encoding

TEXTS = ["hello world, this is one", "", "a", "unaffable words here again and again", "x y z"]


@pytest.fixture(scope="module", params=["template", "bert", "roberta", "none"])
def both(request: pytest.FixtureRequest, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    source = data_dir / "vocab" / "bert-base-uncased.tokenizer.json"
    document = json.loads(source.read_text())
    ends = {"sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}
    if request.param == "bert":
        document["post_processor"] = {"type": "BertProcessing", **ends}
    elif request.param == "roberta":
        trims = {"trim_offsets": False, "add_prefix_space": False}
        document["post_processor"] = {"type": "RobertaProcessing", **ends, **trims}
    elif request.param == "none":
        document["post_processor"] = None
    path = tmp_path_factory.mktemp("encoding") / "x.json"
    path.write_text(json.dumps(document))
    return lmfast.Tokenizer.from_file(path), tokenizers.Tokenizer.from_file(str(path))


def assert_same(got: Encoding, want: Any, overflows: bool = False) -> None:
    assert got.ids.tolist() == want.ids
    # Some post-processors of the peer leave the segments and texts of what overflows as they were.
    assert overflows or got.type_ids.tolist() == want.type_ids
    assert got.attention_mask.astype(int).tolist() == want.attention_mask
    assert got.special_tokens_mask.astype(int).tolist() == want.special_tokens_mask
    assert [tuple(o) for o in got.offsets.tolist()] == want.offsets
    # Without a post-processor the peer gives padding to the first text.
    numbers = [i for i, real in zip(want.sequence_ids, want.attention_mask, strict=True) if real]
    assert overflows or [None if i < 0 else i for i in got.sequence_ids[got.attention_mask].tolist()] == numbers


cuts = st.fixed_dictionaries(
    {
        "max_length": st.one_of(st.none(), st.integers(0, 14)),
        "stride": st.integers(0, 3),
        "truncation": st.sampled_from(["longest_first", "only_first", "only_second"]),
        "truncation_side": st.sampled_from(["left", "right"]),
    }
)


@settings(max_examples=300)
@given(
    text=st.sampled_from(TEXTS),
    pair=st.sampled_from([None, *TEXTS]),
    add=st.booleans(),
    cut=cuts,
    pad_to=st.one_of(st.none(), st.integers(1, 20)),
)
def test_peer_layout(both: Any, text: str, pair: str | None, add: bool, cut: dict[str, Any], pad_to: Any) -> None:
    ours, peer = both
    peer.no_truncation()
    peer.no_padding()
    side = cut["truncation_side"]
    filling = {"padding_side": side, "pad_to": pad_to, "pad_id": 7, "pad_type_id": 1}
    try:
        got = ours.encoding(text, pair, add_special_tokens=add, **cut, **filling)
    except ValueError:
        assert cut["max_length"] is not None
        return
    if (length := cut["max_length"]) is not None:
        try:
            peer.enable_truncation(length, stride=cut["stride"], strategy=cut["truncation"], direction=side)
        except ValueError:  # the stride is compared with the room for a single text before there is one
            return
    if pad_to is not None:
        peer.enable_padding(direction=side, pad_id=7, pad_type_id=1, length=pad_to)
    want = peer.encode(text, pair, add_special_tokens=add)
    assert_same(got, want)
    assert [part.ids.tolist() for part in got.overflowing] == [part.ids for part in want.overflowing]
    for part, other in zip(got.overflowing, want.overflowing, strict=True):
        assert_same(part, other, overflows=True)


def test_peer_batch(both: Any) -> None:
    ours, peer = both
    peer.no_truncation()
    peer.enable_padding(pad_id=0, pad_to_multiple_of=4)
    for pairs in (None, TEXTS[::-1]):
        got = ours.encoding_batch(TEXTS, pairs, pad_to="longest", pad_to_multiple_of=4)
        want = peer.encode_batch(TEXTS if pairs is None else list(zip(TEXTS, pairs, strict=True)))
        for a, b in zip(got, want, strict=True):
            assert_same(a, b)
    peer.no_padding()


def test_safety_arguments(both: Any) -> None:
    ours = both[0]
    for options in (
        {"max_length": -1},
        {"stride": -1},
        {"truncation": "none"},
        {"padding_side": "middle"},
        {"max_length": 5, "stride": 5},
        {"max_length": 3, "truncation": "only_second"},
    ):
        with pytest.raises(ValueError, match=r"max_length|stride|truncation|padding_side"):
            ours.encoding("one two three four five six seven", **options)
    with pytest.raises(ValueError, match="2 texts and 1 pairs"):
        ours.encoding_batch(["a", "b"], ["c"])


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("kind", ["RobertaProcessing", "ByteLevel", "both"])
def test_peer_trimmed_offsets(kind: str, prefix: bool, data_dir: Path, tmp_path: Path) -> None:
    """Without the spaces that tokens of the byte alphabet hold, in each part of a text that is cut."""
    tokenizers = pytest.importorskip("tokenizers")
    document = json.loads((data_dir / "vocab" / "gpt2.tokenizer.json").read_text())
    trims = {"trim_offsets": True, "add_prefix_space": prefix}
    steps = [{"type": "ByteLevel", **trims, "use_regex": True}] * (kind != "RobertaProcessing")
    roberta = {"type": "RobertaProcessing", "sep": ["a", 64], "cls": ["b", 65], **trims}
    steps += [roberta] * (kind != "ByteLevel")
    document["post_processor"] = steps[0] if len(steps) == 1 else {"type": "Sequence", "processors": steps}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    document["added_tokens"].append({"id": 50257, "content": " \u3000x ", **flags})
    (tmp_path / "x.json").write_text(json.dumps(document))
    ours = lmfast.Tokenizer.from_file(tmp_path / "x.json")
    peer = tokenizers.Tokenizer.from_file(str(tmp_path / "x.json"))
    for text in [*TEXTS, " b  c   ", "  ", "\n x\t y", "é \u3000x  z", "\u00a0 \u0120 a"]:
        for pair in (None, " a  b", text):
            for add in (True, False):
                peer.no_truncation()
                assert_same(
                    ours.encoding(text, pair, add_special_tokens=add), peer.encode(text, pair, add_special_tokens=add)
                )
            got = ours.encoding(text, pair, max_length=7, stride=1, add_special_tokens=False)
            peer.enable_truncation(7, stride=1)
            want = peer.encode(text, pair, add_special_tokens=False)
            assert_same(got, want)
            for part, other in zip(got.overflowing, want.overflowing, strict=True):
                assert_same(part, other, overflows=True)
