"""Tokenizer files that are right: what they are read into, what is written, and what other libraries make of that."""

import base64
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from lmfast.text import _text, formats, spec
from lmfast.text.formats import huggingface, tiktoken
from lmfast.text.formats.oniguruma import from_oniguruma, to_oniguruma
from lmfast.text.formats.published import DOWNLOADS, SPECIAL_TOKENS
from lmfast.text.formats.ranks import merges_of_ranks
from lmfast.text.patterns import GPT2_PATTERN, PATTERNS, splitter_of
from lmfast.text.pipeline.normalizing import find_matches
from lmfast.text.spec import (
    BPE,
    NFC,
    AddedToken,
    PrefixSpace,
    Split,
    TemplatePiece,
    TemplateProcessing,
    TokenizerSpec,
    Vocab,
)

BRIEF = os.environ.get("LMFAST_TEST_BRIEF") == "1"
SINGLE = {bytes([byte]): byte for byte in range(256)}
SMALL = SINGLE | {b"ab": 256, b"abc": 257, b" the": 300}
"""A vocabulary with a hole in its ids, and with a token that no merge makes."""

# The characters of the GPT-2 alphabet for the bytes 0 to 255, written out.
ALPHABET = (
    "ĀāĂăĄąĆćĈĉĊċČčĎďĐđĒēĔĕĖėĘęĚěĜĝĞğĠ!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`"
    "abcdefghijklmnopqrstuvwxyz{|}~ġĢģĤĥĦħĨĩĪīĬĭĮįİıĲĳĴĵĶķĸĹĺĻļĽľĿŀŁł¡¢£¤¥¦§¨©ª«¬Ń®¯°±²³´µ¶·¸¹º»¼½¾¿"
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ"
)


def rank_file(ranks: dict[bytes, int], end: str = "\n") -> bytes:
    return "".join(f"{base64.b64encode(token).decode()} {rank}{end}" for token, rank in ranks.items()).encode()


def rank_spec(ranks: dict[bytes, int], pattern: str = "cl100k_base", **fields: Any) -> TokenizerSpec:
    return TokenizerSpec(BPE(Vocab.from_items(ranks)), (Split(PATTERNS[pattern]),), **fields)


def merge_spec(merges: list[list[int]], tokens: dict[bytes, int], **fields: Any) -> TokenizerSpec:
    model = BPE(Vocab.from_items(SINGLE | tokens), np.array(merges, np.uint32).reshape(-1, 2), ignore_merges=False)
    return TokenizerSpec(model, **{"pre_tokenizer": (Split(GPT2_PATTERN),)} | fields)


def tokenizer_json(**changes: Any) -> dict[str, Any]:
    """A small tokenizer.json: bytes 0 to 255, "Ġt" 256, "Ġthe" 258, "he" 257."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {c: i for i, c in enumerate(ALPHABET)} | {"Ġt": 256, "he": 257, "Ġthe": 258},
            "merges": [["Ġ", "t"], ["h", "e"], ["Ġt", "he"]],
        },
        **changes,
    }


def read_json(content: dict[str, Any]) -> TokenizerSpec:
    return huggingface.read_bytes(json.dumps(content).encode(), where="tokenizer.json")


def added(content: str, token_id: int, **flags: bool) -> dict[str, Any]:
    usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": token_id, "content": content, **usual, **flags}


# Rank files.


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_unit_rank_file(end: str) -> None:
    data = rank_file(SMALL, end)
    for text in (data, data.rstrip(), data + end.encode()):
        spec = tiktoken.read_bytes(text, where="x", pattern="qwen2")
        assert dict(spec.model.vocab) == SMALL
        assert spec.model.merges is None
        assert spec.model.ignore_merges
        assert spec.pre_tokenizer == (Split(PATTERNS["qwen2"]),)
        assert spec.added_tokens == ()


def test_unit_rank_file_in_any_order() -> None:
    items = list(SMALL.items())
    random.Random(1).shuffle(items)
    spec = tiktoken.read_bytes(rank_file(dict(items)), where="x", pattern=r"\w+|\W+")
    assert list(spec.model.vocab) == sorted(SMALL.items(), key=lambda pair: pair[1])
    assert spec.pre_tokenizer == (Split(r"\w+|\W+"),)


@given(st.sets(st.binary(min_size=2, max_size=9), max_size=20))
def test_property_rank_file_of_any_tokens(tokens: set[bytes]) -> None:
    ranks = SINGLE | {token: 1000 + 7 * i for i, token in enumerate(tokens)}
    spec = tiktoken.read_bytes(rank_file(ranks), where="x", pattern="gpt2")
    assert dict(spec.model.vocab) == ranks
    assert tiktoken.to_bytes(spec) == rank_file(ranks)


def test_unit_tokens_with_equal_hashes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tokens hash alike here, so the file goes through the careful path, which finds no fault."""
    real = tiktoken._text.read_rank_lines

    def hashed_alike(text: bytes) -> Any:
        ids, offsets, blob, hashes = real(text)  # type: ignore[misc]
        return ids, offsets, blob, np.zeros_like(hashes)

    monkeypatch.setattr(tiktoken._text, "read_rank_lines", hashed_alike)
    assert dict(tiktoken.read_bytes(rank_file(SMALL), where="x", pattern="gpt2").model.vocab) == SMALL


RANK_LINE = st.builds(
    lambda token, space, rank: token + space + rank,
    st.one_of(st.binary(max_size=7).map(base64.b64encode), st.text("AQg=/+ \n-", max_size=8).map(str.encode)),
    st.sampled_from([b" ", b" ", b" ", b"", b"  ", b"\t"]),
    st.one_of(
        st.integers(0, 9).map(lambda i: b"%d" % i),
        st.sampled_from([b"", b"007", b"999999999", b"1234567890", b"-1", b"x"]),
    ),
)


@given(st.lists(RANK_LINE, min_size=1, max_size=4))
def test_property_lines_are_read_or_sent_on(lines: list[bytes]) -> None:
    """What the compiled reader takes is what a plain one takes, line by line."""
    text = b"\n".join(lines).rstrip(b"\n")
    want: list[tuple[bytes, int]] | None = []
    for line in text.split(b"\n"):
        found = re.fullmatch(
            rb"((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})) ([0-9]{1,9})", line
        )
        if found is None or base64.b64encode(base64.b64decode(found[1])) != found[1]:
            want = None
            break
        assert want is not None
        want.append((base64.b64decode(found[1]), int(found[2])))
    got = tiktoken._text.read_rank_lines(text)
    assert (got is None) == (want is None)
    if got is not None and want is not None:
        ids, offsets, blob, hashes = got
        assert [(blob[a:b], i) for a, b, i in zip(offsets, offsets[1:], ids.tolist(), strict=False)] == want
        for i, (a, _) in enumerate(want):
            for j, (b, _) in enumerate(want):
                assert a != b or hashes[i] == hashes[j]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=60), st.integers(0, 70))
def test_property_equal_hashes_are_seen(hashes: list[int], bits: int) -> None:
    """Of hashes that end alike some may be taken for equal; two that are equal are always seen."""
    found = [hash_ >> bits << bits for hash_ in hashes]
    got = _text.may_repeat(np.array(found, np.uint64))
    assert got or len(set(found)) == len(found)
    if bits == 0 and len({hash_ >> 33 for hash_ in found}) == len(found):
        assert not got


def test_unit_a_rank_file_needs_few_modules(tmp_path: Path) -> None:
    """Importing the rest takes longer than reading the vocabulary."""
    (tmp_path / "a.tiktoken").write_bytes(rank_file(SMALL))
    code = (
        "import sys, lmfast; lmfast.Tokenizer.from_file('a.tiktoken', 'gpt2').encode_batch(['a'], threads=1); print("
        "[m for m in ('concurrent.futures', 'regex', 'urllib.request', 'lmfast.text.spec.decoders',"
        " 'lmfast.text.spec.models', 'lmfast.text.spec.normalizers', 'lmfast.text.encoding') if m in sys.modules])"
    )
    unchecked = {**os.environ, "LMFAST_CHECK": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=unchecked, stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_unit_every_name_of_the_spec_is_there() -> None:
    assert [name for name in spec.__all__ if not hasattr(spec, name)] == []
    with pytest.raises(AttributeError, match="Metaspaces"):
        spec.Metaspaces  # noqa: B018


def test_unit_special_tokens() -> None:
    data = rank_file(SMALL)
    spec = tiktoken.read_bytes(data, where="x", pattern="gpt2", special_tokens={"<b>": 400, "<a>": 299})
    assert spec.added_tokens == (AddedToken("<a>", 299), AddedToken("<b>", 400))
    ranks = SINGLE | {b"%05d" % i: i for i in range(256, 100_256)}
    standard = {
        "<|endoftext|>": 100257,
        "<|fim_prefix|>": 100258,
        "<|fim_middle|>": 100259,
        "<|fim_suffix|>": 100260,
        "<|endofprompt|>": 100276,
    }
    data = rank_file(ranks)
    for pattern, special_tokens, want in [
        ("cl100k_base", None, standard),
        ("cl100k", None, standard),
        ("cl100k", {}, {}),
        ("qwen2", None, {}),
        (PATTERNS["cl100k"], None, {}),
    ]:
        spec = tiktoken.read_bytes(data, where="x", pattern=pattern, special_tokens=special_tokens)
        assert {token.content: token.id for token in spec.added_tokens} == want


def test_unit_llama3_special_tokens() -> None:
    size, tokens = SPECIAL_TOKENS["llama3"]
    assert (size, len(tokens), sorted(tokens.values())) == (128_000, 256, list(range(128_000, 128_256)))
    assert tokens["<|begin_of_text|>"] == 128_000
    assert tokens["<|end_of_text|>"] == 128_001
    assert tokens["<|reserved_special_token_3|>"] == 128_005
    assert tokens["<|start_header_id|>"] == 128_006
    assert tokens["<|end_header_id|>"] == 128_007
    assert tokens["<|reserved_special_token_4|>"] == 128_008
    assert tokens["<|eot_id|>"] == 128_009
    assert tokens["<|reserved_special_token_250|>"] == 128_255


@pytest.mark.parametrize("name", sorted(DOWNLOADS))
def test_peer_encodings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs, hashes, patterns and special tokens are those of tiktoken."""
    public = pytest.importorskip("tiktoken_ext.openai_public")
    loads: list[tuple[str, str]] = []

    def load(url: str, expected_hash: str) -> dict[bytes, int]:
        loads.append((url, expected_hash))
        return {}

    monkeypatch.setattr(public, "load_tiktoken_bpe", load)
    monkeypatch.setattr(public, "data_gym_to_mergeable_bpe_ranks", lambda **_: {})
    theirs = public.ENCODING_CONSTRUCTORS[name]()
    if loads:
        assert loads == [(DOWNLOADS[name].url, DOWNLOADS[name].sha256)]
    assert PATTERNS[name] == theirs["pat_str"]
    theirs["special_tokens"].pop("<|reserved_200018|>", None)  # a second name of an id
    assert SPECIAL_TOKENS[name][1] == theirs["special_tokens"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (None, "does not hold its split pattern"),
        ("cl100k_bse", "'cl100k_bse' is not known: want a regular expression, or one of gpt2, r50k_base"),
        ("", "'' is not known"),
        (r"(\w+", "is not a regular expression: missing )"),
    ],
)
def test_unit_pattern_is_needed(pattern: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=regex.escape(message)):
        tiktoken.read_bytes(rank_file(SMALL), where="x", pattern=pattern)


# From ranks to merges.


def test_unit_merges_of_ranks() -> None:
    merges, reachable = merges_of_ranks(Vocab.from_items(SINGLE | {b"ab": 256, b"bc": 257, b"abc": 258, b"aa": 259}))
    assert merges.tolist() == [[97, 98], [98, 99], [256, 99], [97, 97]]
    assert reachable
    # "ab" goes first in "abcd", and then nothing joins "ab", "cd".
    merges, reachable = merges_of_ranks(Vocab.from_items(SINGLE | {b"ab": 256, b"cd": 257, b"bcd": 258, b"zab": 300}))
    assert merges.tolist() == [[97, 98], [99, 100], [98, 257], [122, 256]]
    assert reachable
    merges, reachable = merges_of_ranks(Vocab.from_items(SINGLE | {b"ab": 256, b"abcd": 258}))
    assert merges.tolist() == [[97, 98]]
    assert not reachable
    # A part with a higher rank than the whole: "bc" comes last, and "abc" at once after it.
    merges, reachable = merges_of_ranks(Vocab.from_items(SINGLE | {b"abc": 256, b"bc": 257}))
    assert merges.tolist() == [[97, 257], [98, 99]]
    assert reachable
    # The leftmost of equal pairs goes first.
    merges, _ = merges_of_ranks(Vocab.from_items(SINGLE | {b"aa": 256, b"aaa": 257, b"aaaaa": 258, b"aaaa": 259}))
    assert merges.tolist() == [[97, 97], [256, 97], [256, 257], [256, 256]]


@given(
    st.lists(st.text("ab", min_size=2, max_size=6), unique=True, max_size=12),
    st.lists(st.text("abc", min_size=1, max_size=24), min_size=1, max_size=8),
)
def test_peer_merges_encode_as_ranks(tokens: list[str], texts: list[str]) -> None:
    """With any table of ranks, however odd, tiktoken gives the ids that tokenizers gives with the merges made of it."""
    their_tiktoken, their_tokenizers = pytest.importorskip("tiktoken"), pytest.importorskip("tokenizers")
    ranks = SINGLE | {token.encode(): 256 + i for i, token in enumerate(tokens)}
    spec = TokenizerSpec(BPE(Vocab.from_items(ranks)), (Split("[a-z]+"),))
    written = their_tokenizers.Tokenizer.from_str(huggingface.to_bytes(spec).decode())
    encoding = their_tiktoken.Encoding("x", pat_str="[a-z]+", mergeable_ranks=ranks, special_tokens={})
    for text in texts:
        assert written.encode(text).ids == encoding.encode(text)


# tokenizer.json, read.


def test_unit_tokenizer_json() -> None:
    spec = read_json(tokenizer_json())
    assert dict(spec.model.vocab) == SINGLE | {b" t": 256, b"he": 257, b" the": 258}
    assert spec.model.merges is not None
    assert spec.model.merges.dtype == np.uint32
    assert spec.model.merges.tolist() == [[32, 116], [104, 101], [256, 257]]
    assert not spec.model.ignore_merges
    assert spec.pre_tokenizer == (Split(GPT2_PATTERN),)
    assert spec.normalizer == ()
    assert spec.added_tokens == ()
    assert spec.post_processor is None
    assert spec.options == ()


def test_unit_gpt2_pattern_has_a_splitter() -> None:
    assert splitter_of(GPT2_PATTERN) == "gpt2"


@pytest.mark.parametrize("bom_free_start", [b"", b" \n\t"])
def test_unit_equal_files_give_equal_specs(bom_free_start: bytes) -> None:
    want = read_json(tokenizer_json())
    plain = tokenizer_json()
    del plain["model"]["type"], plain["decoder"], plain["normalizer"], plain["version"], plain["added_tokens"]
    del plain["pre_tokenizer"]["use_regex"], plain["truncation"], plain["padding"], plain["post_processor"]
    plain["model"] |= {"continuing_subword_prefix": "", "end_of_word_suffix": "", "dropout": 0.0}
    plain["model"]["merges"] = ["#version: 0.2", "Ġ t", "h e", "Ġt he"]
    plain["model"]["vocab"] = dict(reversed(plain["model"]["vocab"].items()))
    data = bom_free_start + json.dumps(plain, ensure_ascii=False).encode()
    assert huggingface.read_bytes(data, where="x") == want


def test_unit_bytes_that_no_text_has_may_be_missing() -> None:
    content = tokenizer_json()
    for byte in (0xC0, 0xC1, *range(0xF5, 0x100)):
        del content["model"]["vocab"][ALPHABET[byte]]
    content["model"]["vocab"] = {token: i for i, token in enumerate(content["model"]["vocab"])}
    assert len(read_json(content).model.vocab) == 256 - 13 + 3


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = Split(GPT2_PATTERN)


# The tables of a byte-level file, which C reads where they look as usual. The strict reader is the truth.


def strictly(data: bytes) -> TokenizerSpec | str:
    """What the strict reader makes of a file, the message where it refuses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_text, "find_bpe_json", lambda text: None)
        return as_usual(data)


def as_usual(data: bytes) -> TokenizerSpec | str:
    try:
        return huggingface.read_bytes(data, where="x")
    except spec.TokenizerFileError as error:
        return str(error)


def tables_of(data: bytes, contents: list[bytes]) -> Any:
    found = _text.find_bpe_json(data)
    return found and _text.read_bpe_json(data[found[0]], data[found[1]], contents)


def test_unit_tables() -> None:
    data = rb""" {"a": [{"model": {}}, "\"}"], "model" : {"merges": ["\u0120 t", "\" \\"] , "x": "{", "vocab":
        {"t":0, "\u0120":1,"\"":3 ,"\\": 7, "\u00c3\/" : 8, "\u0120t": 268435455, "\"\\" :268435455}}, "b": 1} """
    _, merges = _text.find_bpe_json(data) or (slice(0), slice(0))
    assert data[merges].strip() == rb"""["\u0120 t", "\" \\"]"""
    assert tables_of(data, []) is None  # the last two ids are the same
    ids, offsets, blob, pairs, made, found = tables_of(
        data.replace(b": 268435455", b": 9"), [b"t", b" t", b"\xc3/", b"x"]
    )
    assert ids.tolist() == [0, 1, 3, 7, 8, 9, 2**28 - 1]
    assert offsets.tolist() == [0, 1, 2, 3, 4, 6, 8, 10]
    assert blob == b't "\\\xc3/ t"\\'
    assert pairs.tolist() == [[1, 0], [2, 3]]
    assert made.tolist() == [5, 6]
    assert found == [0, 5, 4, -1]


def test_unit_every_stand_in() -> None:
    vocab = json.dumps({c: i for i, c in enumerate(ALPHABET)}, ensure_ascii=False).encode()
    assert _text.read_bpe_json(vocab, b" [ ] ", [])[2] == bytes(range(256))
    for other in (*range(0x80, 0xA1), 0xAD, *range(0x144, 0x180), 0x2581, 0xFFFF, 0x10FFFF):
        for token in (f'"{chr(other)}"', json.dumps(chr(other))):
            assert _text.read_bpe_json(b"{%s: 0}" % token.encode(), b"[]", []) is None


UNUSUAL = [
    *(b"{}", b'{"a":0,}', b'{"a":0 "b":1}', b'{"a":01}', b'{"a":-1}', b'{"a":1.0}', b'{"a":1e1}', b'{"a":"1"}', b"[]"),
    *(b'{"a":268435456}', b'{"a":10000000000}', b'{"a":1,"b":1}', b'{"a":1,"b":0}', b'{"a":0,"a":1}', b'{"":0}'),
    *(
        b'{"a b":0}',
        b'{"\\n":0}',
        b'{"\\u012":0}',
        b'{"\\u012g":0}',
        b'{"\\x41":0}',
        b'{"\n":0}',
        b'{"a":0}]',
        b'{"a":0',
    ),
    *(
        b'{"\xc4":0}',
        b'{"\xc4"',
        b'{"\\',
        b'{"a',
        b'{"a"',
        b'{"a":',
        b"{",
        b"",
        b'{"\xc0\x80":0}',
        b'{"\xe2\x96\x81":0}',
    ),
]
UNUSUAL_MERGES = [
    *(b'["a b",["a","b"]]', b'["a b" "b a"]', b'["a b",]', b'["ab"]', b'["a  b"]', b'["a b a"]', b'[" b"]', b'["a "]'),
    *(
        b'[["a"]]',
        b'[["a","b","a"]]',
        b'[["a b"]]',
        b'[["a",1]]',
        b"[[]]",
        b'["a c"]',
        b'["b a"]',
        b'["a b"',
        b'["a',
        b"[",
    ),
    *(
        b'["#version: 0.2","a b"]',
        b"{}",
        b'[["a","b"]}',
        b'[["a","b"',
        b'[["a",',
        b'[["a',
        b"",
        b'["a b"]]',
        b'["a \\u0062',
    ),
]


@pytest.mark.parametrize("table", UNUSUAL)
def test_unit_an_unusual_vocabulary_is_sent_on(table: bytes) -> None:
    assert _text.read_bpe_json(table, b"[]", []) is None


@pytest.mark.parametrize("table", UNUSUAL_MERGES)
def test_unit_unusual_merges_are_sent_on(table: bytes) -> None:
    usual = b'{"a":0,"b":1,"ab":2}'
    assert _text.read_bpe_json(usual, b'["a b"]', []) is not None
    assert _text.read_bpe_json(usual, table, []) is None


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b'{"model"', b'{"model":', b'{"model":{}}', b'{"model":{"vocab":{}}}', b'[{"model":1}]', b'{"model\\'],
)
def test_unit_no_tables(text: bytes) -> None:
    assert _text.find_bpe_json(text) is None
    twice = b'{"model":{"vocab":{},"merges":[]},"model":{"vocab":{},"merges":[]}}'
    assert _text.find_bpe_json(twice) is None
    assert _text.find_bpe_json(twice[:33] + b',"x":{"vocab":{}}}') is not None
    assert _text.find_bpe_json(b'{"model":{"vocab":{},"merges":[],"vocab":{}}}') is None


@st.composite
def byte_level_files(draw: st.DrawFn) -> bytes:
    """Small files of all kinds, some of which are damaged in a few places."""
    content = tokenizer_json()
    model = content["model"]
    model["vocab"] |= {
        token: 259 + i for i, token in enumerate(draw(st.sets(st.sampled_from(["<s>", "</s>", "<a b>"]))))
    }
    names = draw(
        st.lists(st.sampled_from([*[*model["vocab"]][254:], "<s>", "</s>", "<x>", "é中"]), unique=True, max_size=4)
    )
    after = len(model["vocab"])
    for name in names:
        token_id = model["vocab"].get(name, after)
        after += name not in model["vocab"]
        flags = {flag: draw(st.booleans()) for flag in ("special", "single_word", "normalized")}
        content["added_tokens"].append(added(name, token_id, **flags))
    if draw(st.booleans()):
        model["merges"] = [" ".join(pair) for pair in model["merges"]]
    if draw(st.booleans()):
        model["vocab"] = dict(draw(st.permutations(list(model["vocab"].items()))))
    content["model"] = {key: model[key] for key in draw(st.permutations(list(model)))}
    data = json.dumps(content, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 1]))).encode()
    for _ in range(draw(st.integers(0, 2))):
        at, odd = draw(st.integers(0, len(data) - 1)), draw(st.sampled_from(list(b'"{}[],:0 9\\ab\n\xc4\xa0')))
        data = data[:at] + bytes([odd]) * draw(st.integers(0, 2)) + data[at + 1 :]
    return data


@given(byte_level_files())
def test_truth_tables_or_the_strict_reader(data: bytes) -> None:
    assert as_usual(data) == strictly(data)


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox-20b"])
def test_truth_tables_of_real_files(name: str, data_dir: Path) -> None:
    data = (data_dir / "vocab" / f"{name}.tokenizer.json").read_bytes()
    assert tables_of(data, []) is not None
    assert as_usual(data) == strictly(data)


def split(pattern: dict[str, str], behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


@pytest.mark.parametrize(
    ("component", "steps"),
    [
        (BYTE_LEVEL, ()),
        (BYTE_LEVEL | {"use_regex": True}, (GPT2,)),
        (BYTE_LEVEL | {"add_prefix_space": True}, (PrefixSpace(),)),
        (BYTE_LEVEL | {"add_prefix_space": True, "use_regex": True}, (PrefixSpace(), GPT2)),
        ([split({"Regex": r"\d"}), BYTE_LEVEL], (Split(r"\d"),)),
        ([split({"String": "-"}, "Removed"), BYTE_LEVEL], (Split("-", "removed", literal=True),)),
        ([split({"Regex": "x"}, "MergedWithPrevious"), BYTE_LEVEL], (Split("x", "merged_with_previous"),)),
        ([split({"Regex": "x"}, "MergedWithNext"), BYTE_LEVEL], (Split("x", "merged_with_next"),)),
        ([split({"Regex": "x"}, "Contiguous", True), BYTE_LEVEL], (Split("x", "contiguous", invert=True),)),
        (
            [split({"Regex": PATTERNS["llama3"]}), split({"Regex": "y"}), BYTE_LEVEL | {"use_regex": True}],
            (Split(PATTERNS["llama3"]), Split("y"), GPT2),
        ),
    ],
)
def test_unit_pre_tokenizer(component: Any, steps: tuple[Any, ...]) -> None:
    if isinstance(component, list):
        component = {"type": "Sequence", "pretokenizers": component}
    spec = read_json(tokenizer_json(pre_tokenizer=component))
    assert spec.pre_tokenizer == steps
    assert huggingface.read_bytes(huggingface.to_bytes(spec), where="x") == spec


def test_unit_normalizer() -> None:
    nfc = {"type": "NFC"}
    nested = {"type": "Sequence", "normalizers": [nfc, {"type": "Sequence", "normalizers": [nfc]}]}
    assert read_json(tokenizer_json(normalizer=nfc)).normalizer == (NFC(),)
    assert read_json(tokenizer_json(normalizer=nested)).normalizer == (NFC(), NFC())
    assert read_json(tokenizer_json(normalizer={"type": "Sequence", "normalizers": []})).normalizer == ()


def test_unit_added_tokens() -> None:
    content = tokenizer_json(
        added_tokens=[
            added("<word>", 262, single_word=True),
            added("  ", 260, special=False, normalized=True),
            added("<end>", 259),
            added("new", 263, lstrip=True, rstrip=True),
            added("he", 257),
            added("kept", 261, special=False),
        ]
    )
    content["model"]["vocab"] |= {"<end>": 259, "  ": 260, "kept": 261, "<word>": 262}
    spec = read_json(content)
    assert spec.added_tokens == (
        AddedToken("he", 257),
        AddedToken("<end>", 259),
        AddedToken("  ", 260, special=False, normalized=True),
        AddedToken("kept", 261, special=False),
        AddedToken("<word>", 262, single_word=True),
        AddedToken("new", 263, lstrip=True, rstrip=True),
    )
    # The special token that no merge touches and the one that is no byte-level text are out of the model's reach.
    model = dict(spec.model.vocab)
    assert model == SINGLE | {b" t": 256, b"he": 257, b" the": 258, b"kept": 261, b"<word>": 262}


def test_unit_post_processor() -> None:
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [259, 97], "tokens": ["<s>", "a"]}},
    }
    want = TemplateProcessing(
        (TemplatePiece("special", "<s>", 0, (259, 97), ("<s>", "a")), TemplatePiece("sequence", "A")),
        (TemplatePiece("sequence", "A"), TemplatePiece("sequence", "B", 1)),
    )
    spec = read_json(tokenizer_json(post_processor=template, added_tokens=[added("<s>", 259)]))
    assert spec.post_processor == want
    assert spec.options == ()
    both = {"type": "Sequence", "processors": [BYTE_LEVEL, template]}
    spec = read_json(tokenizer_json(post_processor=both, added_tokens=[added("<s>", 259)]))
    assert spec.post_processor == want
    assert [(key, json.loads(text)) for key, text in spec.options] == [("post_processor.byte_level", BYTE_LEVEL)]
    assert json.loads(huggingface.to_bytes(spec))["post_processor"] == both


def test_unit_options_survive() -> None:
    content = tokenizer_json(
        truncation={"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
        padding={"strategy": "BatchLongest", "pad_token": "é"},
    )
    content["model"]["unk_token"] = "<unk>"
    spec = read_json(content)
    assert [key for key, _ in spec.options] == ["model.unk_token", "padding", "truncation"]
    written = json.loads(huggingface.to_bytes(spec))
    assert written["truncation"] == content["truncation"]
    assert written["padding"] == content["padding"]
    assert written["model"]["unk_token"] == "<unk>"


# Patterns between engines.


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            r"\p{N}{1,3}",
            r"[^\r\n\p{L}]?+\p{L}++",
            r"(?i:'s)|(?>a)|(?<!b)c",
            r"[$^(?{|}~]",
            r"\$|a{2,}|x{3}y",
            r"\+{2}\\",
        ),
        *(text for name, text in PATTERNS.items() if "cl100k" not in name),
    ],
)
def test_unit_patterns_that_mean_the_same(pattern: str) -> None:
    assert from_oniguruma(pattern) == to_oniguruma(pattern) == pattern


def test_unit_cl100k_pattern_is_translated() -> None:
    assert r"\p{N}{1,3}|" in to_oniguruma(PATTERNS["cl100k"])
    assert from_oniguruma(to_oniguruma(PATTERNS["cl100k"])) == PATTERNS["cl100k"]


@pytest.mark.parametrize(
    ("pattern", "odd"),
    [
        (r"\p{N}{1,3}+", "{1,3}+"),
        (r"a{2}?", "{2}?"),
        (r"ab$", "$"),
        (r"^ab", "^"),
        (r"\h+", r"\h"),
        (r"a\Z", r"\Z"),
        (r"(a)\1", r"\1"),
        (r"[a[bc]]", "[b"),
        (r"\pL+", r"\p"),
        (r"\p{Word}", r"\p{Word}"),
        (r"[^\W\d]", r"\W"),
        (r"[a-z&&aeiou]", "&&"),
        (r"[]a]", "[]"),
        (r"(?m)a.b", "(?m"),
        (r"(?i)a", "(?i"),
    ],
)
def test_unit_patterns_that_may_differ_are_refused(pattern: str, odd: str) -> None:
    for cross in (from_oniguruma, to_oniguruma):
        with pytest.raises(ValueError, match=regex.escape(repr(odd))):
            cross(pattern)


SCALARS = [chr(c) for c in [*range(0x3100), *range(0x3100, 0xD800, 37), *range(0xE000, 0x110000, 37)]]


@pytest.mark.parametrize("pattern", [r"\w", r"\W+", r"[\w.]", r"[^\w\s]", r"a\b", r"x\B.", r"\s", r"\p{L}|\d"])
def test_peer_word_characters(pattern: str) -> None:
    """A pattern of a file matches what it matches there, many characters on their own; written, it means the same."""
    tokenizers = pytest.importorskip("tokenizers")
    read = from_oniguruma(pattern)
    assert from_oniguruma(to_oniguruma(read)) == to_oniguruma(read) == read
    lines = [f"a{c}x{c} " for c in SCALARS[:: 16 if BRIEF else 1]]
    for i in range(0, len(lines), 1 << 15):
        text = "".join(lines[i : i + (1 << 15)])
        ours = find_matches(read, False, text)
        for written in (pattern, read):
            peer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(written), "removed", invert=True)
            assert ours == [span for _, span in peer.pre_tokenize_str(text)]


@pytest.mark.parametrize("pattern", [r"\w", r"[^\w\s]+", r"a\b"])
def test_peer_written_word_characters(pattern: str) -> None:
    """A pattern of a spec, which means what it does to `regex`, and what is written for it."""
    tokenizers = pytest.importorskip("tokenizers")
    peer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(to_oniguruma(pattern)), "removed", invert=True)
    text = "a\u00b2 a\u200d a\u200cb \u00bd _a-. a\u0301 中a\u00bc\u0663"
    assert [span for _, span in peer.pre_tokenize_str(text)] == [m.span() for m in regex.finditer(pattern, text)]


@pytest.mark.parametrize("name", PATTERNS)
def test_peer_written_patterns_split_alike(name: str) -> None:
    pre_tokenizers, their_regex = (
        pytest.importorskip("tokenizers").pre_tokenizers,
        pytest.importorskip("tokenizers").Regex,
    )
    theirs = pre_tokenizers.Split(their_regex(to_oniguruma(PATTERNS[name])), "isolated")
    for text in (
        "Hello world's 1234567 I'LL 日本語 \n\n  x",
        "a  \n  ",
        "  \r\n \t b\n",
        "x!!!\n\n//\n 12 ",
        "ÀéDžabC 'tis ŉ½²",
    ):
        want = [match.group() for match in regex.finditer(PATTERNS[name], text)]
        assert [piece for piece, _ in theirs.pre_tokenize_str(text)] == want


# Writing.


def test_unit_written_tokenizer_json() -> None:
    spec = rank_spec(SINGLE | {b" t": 256, b"he": 257, b" the": 258}, added_tokens=(AddedToken("<s>", 259),))
    written = json.loads(huggingface.to_bytes(spec))
    assert written["model"]["vocab"] == {c: i for i, c in enumerate(ALPHABET)} | {"Ġt": 256, "he": 257, "Ġthe": 258}
    assert written["model"]["merges"] == [["Ġ", "t"], ["h", "e"], ["Ġt", "he"]]
    assert written["model"]["ignore_merges"] is False
    assert written["added_tokens"] == [added("<s>", 259)]
    assert json.loads(huggingface.to_bytes(rank_spec(SMALL)))["model"]["ignore_merges"] is True


def test_unit_added_tokens_that_need_the_vocabulary() -> None:
    """The library numbers added tokens itself, from the size of the vocabulary on."""
    tokens = (AddedToken("<a>", 299), AddedToken("<b>", 310), AddedToken("<c>", 311))
    vocab = json.loads(huggingface.to_bytes(rank_spec(SMALL, added_tokens=tokens)))["model"]["vocab"]
    assert {key: vocab[key] for key in ("<a>", "<b>", "<c>")} == {"<a>": 299, "<b>": 310, "<c>": 311}
    tokens = (AddedToken("<a>", 256), AddedToken("<b>", 258), AddedToken("<c>", 259))
    ranks = SINGLE | {b"ab": 257}
    vocab = json.loads(huggingface.to_bytes(rank_spec(ranks, added_tokens=tokens)))["model"]["vocab"]
    assert vocab["<a>"] == 256
    assert "<b>" not in vocab
    assert "<c>" not in vocab


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (rank_spec(SMALL, normalizer=(NFC(),)), "the normalizer"),
        (rank_spec(SMALL, post_processor=TemplateProcessing((TemplatePiece("sequence", "A"),))), "a post-processor"),
        (rank_spec(SMALL, added_tokens=(AddedToken("x", 400, special=False),)), "without flags"),
        (rank_spec(SMALL, added_tokens=(AddedToken("x", 400, lstrip=True),)), "without flags"),
        (
            rank_spec(SMALL, added_tokens=(AddedToken("x", 400), AddedToken("xy", 401, normalized=True))),
            "only some are normalized",
        ),
        (TokenizerSpec(BPE(Vocab.from_items(SMALL))), "the pre-tokenizer"),
        (TokenizerSpec(BPE(Vocab.from_items(SMALL)), (PrefixSpace(), Split("x"))), "the pre-tokenizer"),
        (TokenizerSpec(BPE(Vocab.from_items(SMALL)), (Split("x", "removed"),)), "the pre-tokenizer"),
        (merge_spec([[98, 99], [97, 98]], {b"ab": 256, b"bc": 257}), "merges other than those"),
        (merge_spec([[97, 98], [97, 257]], {b"ab": 256, b"bc": 257, b"abc": 258}), "merges other than those"),
        (merge_spec([[97, 98], [98, 99], [97, 257]], {b"ab": 256, b"bc": 257, b"abc": 258}), "merges other than those"),
        (merge_spec([[97, 98]], {b"ab": 256, b"xyz": 257}), "without ignore_merges"),
    ],
)
def test_unit_rank_file_cannot_hold(spec: TokenizerSpec, reason: str) -> None:
    with pytest.raises(ValueError, match=f"a .tiktoken file cannot hold .*{regex.escape(reason)}"):
        tiktoken.to_bytes(spec)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (merge_spec([], {}, pre_tokenizer=(PrefixSpace(), Split("x"))), "as step 0"),
        (merge_spec([], {}, pre_tokenizer=(Split("x$"),)), "may mean another thing"),
        (merge_spec([], {}, added_tokens=(AddedToken("a", 300),)), "the same characters stand for the token 97"),
        (merge_spec([], {}, added_tokens=(AddedToken("x y", 97),)), "its id is that of another token"),
        (
            merge_spec(
                [],
                {},
                post_processor=TemplateProcessing(
                    (TemplatePiece("special", "s", 0, (1,), ("s",)), TemplatePiece("special", "s", 0, (2,), ("s",)))
                ),
            ),
            "two template tokens of the same name",
        ),
    ],
)
def test_unit_tokenizer_json_cannot_hold(spec: TokenizerSpec, reason: str) -> None:
    with pytest.raises(ValueError, match=regex.escape(reason)):
        huggingface.to_bytes(spec)


def test_unit_merges_in_rank_order_become_a_rank_file() -> None:
    spec = merge_spec([[97, 98], [256, 99]], {b"ab": 256, b"abc": 257}, added_tokens=(AddedToken("<s>", 258),))
    ranks = tiktoken.read_bytes(tiktoken.to_bytes(spec), where="x", pattern="gpt2", special_tokens={"<s>": 258})
    assert ranks.model.vocab.blob == spec.model.vocab.blob
    assert ranks.model.merges is None


def test_unit_files(tmp_path: Path) -> None:
    """The format is found from the content; the file name decides what is written."""
    spec = rank_spec(SINGLE | {b"ab": 256}, added_tokens=(AddedToken("<s>", 257),))
    formats.write(spec, tmp_path / "small.tiktoken")
    formats.write(spec, str(tmp_path / "small.tokenizer.json"))
    (tmp_path / "ranks.bin").write_bytes((tmp_path / "small.tiktoken").read_bytes())
    (tmp_path / "any").write_bytes(b"\n " + (tmp_path / "small.tokenizer.json").read_bytes())
    for name in ("small.tiktoken", "ranks.bin"):
        back = formats.read(tmp_path / name, pattern="cl100k", special_tokens={"<s>": 257})
        assert back == spec
    for name in ("small.tokenizer.json", "any"):
        back = formats.read(str(tmp_path / name))
        assert back.model.merges is not None
        formats.write(back, tmp_path / "again.tiktoken")
        assert formats.read(tmp_path / "again.tiktoken", pattern="cl100k", special_tokens={"<s>": 257}) == spec
    assert formats.read(tmp_path / "small.tokenizer.json").name == "small"
    with pytest.raises(ValueError, match="holds its own pattern"):
        formats.read(tmp_path / "any", pattern="cl100k")
    with pytest.raises(FileNotFoundError):
        formats.read(tmp_path / "absent.json")
    with pytest.raises(IsADirectoryError):
        formats.read(tmp_path)


def test_unit_nothing_is_written_when_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.tiktoken"
    path.write_text("old")
    with pytest.raises(ValueError, match="normalizer"):
        formats.write(rank_spec(SMALL, normalizer=(NFC(),)), path)
    with pytest.raises(ValueError, match=r"ends in \.tiktoken, \.json or \.model"):
        formats.write(rank_spec(SMALL), tmp_path / "small.bin")
    assert [p.name for p in tmp_path.iterdir()] == ["small.tiktoken"]
    assert path.read_text() == "old"


# Real files.


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox-20b"])
def test_peer_real_tokenizer_json(name: str, data_dir: Path) -> None:
    """The model is the one that tokenizers makes of the file, and of the file written from it."""
    tokenizers = pytest.importorskip("tokenizers")
    path = data_dir / "vocab" / f"{name}.tokenizer.json"
    spec = formats.read(path)
    data = huggingface.to_bytes(spec)
    assert huggingface.read_bytes(data, where="x") == spec
    byte_of = {c: byte for byte, c in enumerate(ALPHABET)}
    assert spec.model.merges is not None
    ours = dict(spec.model.vocab)
    for theirs in (tokenizers.Tokenizer.from_file(str(path)), tokenizers.Tokenizer.from_str(data.decode())):
        model = json.loads(theirs.to_str())["model"]
        specials = {token.content for token in spec.added_tokens}
        vocab = {bytes(byte_of[c] for c in s): i for s, i in model["vocab"].items() if s not in specials}
        assert ours == vocab
        pairs = [[model["vocab"][left], model["vocab"][right]] for left, right in model["merges"]]
        assert spec.model.merges.tolist() == pairs
        flags = ("content", "special", "single_word", "lstrip", "rstrip", "normalized")
        want = {i: [getattr(t, flag) for flag in flags] for i, t in theirs.get_added_tokens_decoder().items()}
        assert {t.id: [getattr(t, flag) for flag in flags] for t in spec.added_tokens} == want


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "pattern", "n_special"),
    [
        ("cl100k_base", "cl100k_base", 5),
        ("o200k_base", "o200k_base", 2),
        ("llama3", "llama3", 256),
        ("qwen", "qwen2", 3),
    ],
)
def test_peer_real_rank_file(name: str, pattern: str, n_special: int, data_dir: Path, tmp_path: Path) -> None:
    """The ranks are tiktoken's; tokenizers, with the file written from them, gives tiktoken's ids."""
    load = pytest.importorskip("tiktoken.load")
    import tiktoken as their_tiktoken

    tokenizers = pytest.importorskip("tokenizers")
    path = data_dir / "vocab" / f"{name}.tiktoken"
    spec = formats.read(path, pattern=pattern)
    ranks = load.load_tiktoken_bpe(str(path))
    assert dict(spec.model.vocab) == ranks
    assert len(spec.added_tokens) == n_special
    specials = {token.content: token.id for token in spec.added_tokens}

    written = huggingface.to_bytes(spec)
    theirs = tokenizers.Tokenizer.from_str(written.decode())
    encoding = their_tiktoken.Encoding(
        name, pat_str=PATTERNS[pattern], mergeable_ranks=ranks, special_tokens=specials, explicit_n_vocab=None
    )
    for corpus in ("english", "multilingual", "code"):
        with open(data_dir / "corpus" / f"{corpus}.txt", "rb") as file:
            text = file.read(60_000).decode(errors="replace") + "".join(list(specials)[:9])
        assert theirs.encode(text).ids == encoding.encode(text, allowed_special="all")

    again = huggingface.read_bytes(written, where="x")
    data = tiktoken.to_bytes(again)
    assert data.split() == path.read_bytes().split()
    assert tiktoken.read_bytes(data, where="x", pattern=pattern) == spec
