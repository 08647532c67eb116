"""Stacks without an engine of their own: tables of patterns against `regex`, whole files against tokenizers 0.23.3."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lmfast
from lmfast.reference.text import byte_level as reference
from lmfast.text import automata, patterns
from lmfast.text._stacks import Splitter
from lmfast.text._stacks import StackEngine as Door
from lmfast.text._text import isas
from lmfast.text.formats import huggingface
from lmfast.text.formats.oniguruma import from_oniguruma
from lmfast.text.pipeline import Pipeline
from lmfast.text.pipeline.bytes_alphabet import CHARACTER_OF
from lmfast.text.spec import BPE, NFC, AddedToken, TokenizerSpec, Vocab
from lmfast.text.stacks import StackEngine

BRIEF = os.environ.get("LMFAST_TEST_BRIEF") == "1"
FULL = os.environ.get("LMFAST_TEST_FULL") == "1"
if FULL:
    pytestmark = pytest.mark.timeout(7200)
CLIP = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
TEXT = """The quick brown foxes don't jump over 1,234 lazy dogs; they'd rather sleep -- "all day", says Zoë (née Brown).
Ein naïver Ärger über die Größe: 3½ Stück. Привет, мир! Γειά σου Κόσμε. 你好，世界。日本語テキスト한국어 नमस्ते مرحبا
def f(x_1, y=2.5):\n    return x_1 ** 2 + y  # 100%\n\tprint("ok")   \r\n"""
ODD = "\u2581 \t\n\r\0\x7f\u00a0\u3000\u200b\u200d\ufeff\ufffdéÉßİſKﬁ①½²中文한ᄒ가ñ\u0301\u0308ि😀👨\u2028\x85"
texts = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.text(alphabet=ODD, max_size=6),
        st.text(alphabet="abAB '.,<>/s0129-_", max_size=12),
        st.sampled_from(TEXT.split()),
        st.sampled_from(
            [" ", "  ", "<unk>", "don't", "x" * 140, "ab" * 70, "é" * 20, "中" * 50, "</w>", "<|endoftext|>"]
        ),
    ),
    max_size=6,
).map("".join)


def found_by(table: automata.Automaton, text: str) -> list[tuple[int, int]]:
    """What the table says, by its definition."""
    spans, at = [], 0
    while at < len(text):
        state, end, i = 1, at, at
        while state:
            page = table.pages[ord(text[i]) // 128] if i < len(text) else 0
            kind = table.blocks[128 * int(page) + ord(text[i]) % 128] if i < len(text) else table.table.shape[1] - 1
            entry = int(table.table[state, kind])
            end = i if entry & automata.MATCH else end
            state, i = (entry & 0x7FFF, i + 1) if i < len(text) else (0, i)
        if end > at:
            spans.append((at, end))
        at = max(end, at + 1)
    return spans


KNOWN = [patterns.GPT2_PATTERN, CLIP, patterns.PATTERNS["o200k_base"], r"\s+", " {2,}", r"[^\s]+|\s(?=\S)", r"a{2}"]
KNOWN += [
    r"(?:ab|a)(?!c)|\d{1,3}",
    r"(?i:straße|ß|k)",
    r"\p{L}+?1|\p{Lu}\p{Ll}*",
    r"[\w.]+",
    r"a(?:b|bc|bcd)?c",
    r".{1,3}",
]
ATOMS = ["a", "b", "1", " ", r"\s", r"\S", r"\p{L}", r"[^a]", "[ab1]", r"\d", "(?:ab|a)", "(?:a|ab)", "(?i:B)"]


@st.composite
def some_pattern(draw: st.DrawFn) -> str:
    def row() -> str:
        parts = []
        for _ in range(draw(st.integers(1, 3))):
            parts.append(
                draw(st.sampled_from(ATOMS)) + draw(st.sampled_from(["", "", "+", "*", "?", "+?", "{1,2}", "??"]))
            )
        return "".join(parts) + draw(st.sampled_from(["", "", "", r"(?!\S)", "(?=[a1])", "(?!a)"]))

    return "|".join(row() for _ in range(draw(st.integers(1, 3))))


@settings(max_examples=20 if BRIEF else 3000 if FULL else 120)
@given(pattern=some_pattern(), text=st.text(alphabet="aAbB1 \n.cß", max_size=14))
@example(pattern="a|ab", text="ab")
@example(pattern="(?:a|ab)(?:c|bc)", text="abc")
@example(pattern=r"\s+(?!\S)|\s", text="a   b  ")
def test_peer_tables_find_what_regex_finds(pattern: str, text: str) -> None:
    table = automata.compiled(automata.parse(pattern))
    if table is None:
        assert "?" in pattern or "*" in pattern  # it can match nothing
        return
    assert found_by(table, text) == [match.span() for match in regex.finditer(pattern, text)]


@cache
def known_table(pattern: str) -> automata.Automaton | None:
    return automata.compiled(automata.parse(from_oniguruma(pattern)))


@pytest.mark.parametrize("pattern", KNOWN)
@settings(max_examples=10 if BRIEF else 40)
@given(text=texts)
def test_peer_known_patterns(pattern: str, text: str) -> None:
    table = known_table(pattern)
    assert table is not None
    shown = text.translate(automata.stand_ins())
    assert found_by(table, text) == [match.span() for match in regex.finditer(from_oniguruma(pattern), shown)]


@pytest.mark.parametrize(
    "pattern", ["a*", r"\bx", "(?<=a)b", "a++", "(?>a)", "a|", "(a)\\1", "^a", "(?=ab)a", "(?:a?)*b"]
)
def test_unit_patterns_without_a_table(pattern: str) -> None:
    assert automata.compiled(automata.parse(pattern)) is None


def test_unit_a_table() -> None:
    """`a+(?!b)|b`: classes of a, b and all else, and the end."""
    table = automata.compiled(automata.parse("a+(?!b)|b"))
    assert table is not None
    kinds = [int(table.blocks[128 * int(table.pages[0]) + ord(c)]) for c in "abc"]
    assert sorted(kinds) == [0, 1, 2]
    assert found_by(table, "aab") == [(0, 1), (2, 3)]
    assert found_by(table, "caa") == [(1, 3)]


# Whole files.


def _stacks() -> dict[str, Any]:
    from tokenizers import Regex
    from tokenizers import normalizers as n
    from tokenizers import pre_tokenizers as p

    split = p.Split(Regex(CLIP), "removed", invert=True)
    clip = n.Sequence([n.NFC(), n.Replace(Regex(r"\s+"), " "), n.Lowercase()])
    words = p.Split(Regex(r"\w+|[^\w\s]+|\s+"), "isolated")
    suffix, fused = {"end_of_word_suffix": "</w>"}, {"fuse_unk": True}
    return {
        "clip": ("BPE", suffix, clip, p.Sequence([split, p.ByteLevel(add_prefix_space=False)])),
        "gpt1": ("BPE", suffix, n.BertNormalizer(), p.BertPreTokenizer()),
        "metaspace": ("BPE", fused, None, p.Metaspace()),
        "metaspace first": ("BPE", fused, n.Lowercase(), p.Metaspace(prepend_scheme="first")),
        "metaspace unsplit": ("BPE", fused, None, p.Metaspace(split=False)),
        "white space, metaspace": ("BPE", {}, None, p.Sequence([p.WhitespaceSplit(), p.Metaspace("_", "always")])),
        "whitespace": ("BPE", {}, None, p.Whitespace()),
        "prefixed": ("BPE", {"continuing_subword_prefix": "##"}, None, p.WhitespaceSplit()),
        "punctuation, digits": (
            "BPE",
            {},
            n.NFKC(),
            p.Sequence([p.WhitespaceSplit(), p.Punctuation(), p.Digits(True)]),
        ),
        "previous": ("BPE", {}, n.Strip(), p.Sequence([p.Punctuation("merged_with_previous"), p.Digits()])),
        "next": ("BPE", {}, n.Nmt(), p.Sequence([p.Split(" ", "merged_with_next"), p.Punctuation("contiguous")])),
        "split": ("BPE", {"ignore_merges": True}, n.Lowercase(), words),
        "fallback": ("BPE", {"byte_fallback": True}, n.Prepend("\u2581"), p.Split(" ", "isolated")),
        "scripts": ("BPE", {}, n.StripAccents(), p.Sequence([p.UnicodeScripts(), p.WhitespaceSplit()])),
        "fixed": ("BPE", {}, None, p.FixedLength(5)),
        "delimiter": ("BPE", {}, n.Replace("e", "3"), p.CharDelimiterSplit("o")),
        "bytes": ("BPE", {}, n.Lowercase(), p.Sequence([p.Digits(True), p.ByteLevel(add_prefix_space=True)])),
        "pieces": ("WordPiece", {}, n.Sequence([n.NFD(), n.Lowercase(), n.StripAccents()]), p.Whitespace()),
        "pieces of digits": ("WordPiece", {}, n.NFKC(), p.Sequence([p.BertPreTokenizer(), p.Digits()])),
        "words": ("WordLevel", {}, n.Lowercase(), p.Sequence([p.WhitespaceSplit(), p.Punctuation()])),
    }


@cache
def file_of(name: str) -> str:
    """A file whose model was trained on TEXT."""
    import tokenizers
    from tokenizers import models, trainers

    kind, options, normalizer, pre_tokenizer = _stacks()[name]
    made = tokenizers.Tokenizer(getattr(models, kind)(unk_token="<unk>", **options))
    if normalizer:
        made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizer
    train = {"vocab_size": 400, "show_progress": False, "special_tokens": ["<unk>"]}
    train |= {key: options[key] for key in ("end_of_word_suffix", "continuing_subword_prefix") if key in options}
    if options.get("byte_fallback"):
        train["special_tokens"] = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
        train["vocab_size"] = 600
    made.train_from_iterator([TEXT, TEXT.lower()], getattr(trainers, f"{kind.replace('BPE', 'Bpe')}Trainer")(**train))
    document = json.loads(made.to_str())
    document["added_tokens"] = document["added_tokens"][:1]
    return json.dumps(document)


NAMES = ["clip", "gpt1", "metaspace", "metaspace first", "metaspace unsplit", "white space, metaspace", "whitespace"]
NAMES += ["prefixed", "punctuation, digits", "previous", "next", "split", "fallback", "scripts", "fixed", "delimiter"]
NAMES += ["bytes", "pieces", "pieces of digits", "words"]
FORMS = ('"NFC"', '"NFKC"', '"NFD"', "BertNormalizer")


def check(file: str, path: Path, lines: list[str]) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    path.write_text(file)
    ours, peer = lmfast.Tokenizer.from_file(path), tokenizers.Tokenizer.from_str(file)
    assert isinstance(ours._engine, StackEngine)  # type: ignore[attr-defined]
    found = ours.encode_batch(lines, allowed_special="all").tolist()
    assert ours.count_batch(lines, allowed_special="all").tolist() == list(map(len, found))
    for line, got in zip(lines, found, strict=True):
        want = peer.encode(line, add_special_tokens=False)
        ids, _, characters = ours.encode_with_offsets(line, allowed_special="all")
        assert got == ids.tolist() == want.ids, ascii(line)
        if line.isascii() or not any(form in file for form in FORMS):
            assert list(map(tuple, characters.tolist())) == want.offsets, ascii(line)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=5 if BRIEF else 2000 if FULL else 15)
@given(lines=st.lists(texts, min_size=1, max_size=8))
@example(lines=[TEXT, TEXT.upper(), "", " ", "x" * 4_000, "ab " * 1_000, "中" * 2_000])
def test_peer_stacks(name: str, lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("tokenizers")
    check(file_of(name), tmp_path_factory.getbasetemp() / "stack.json", lines)


@pytest.mark.corpus
@pytest.mark.parametrize("name", NAMES)
def test_peer_corpora(name: str, data_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    lines = [line for text in beginnings(data_dir, 4_000_000 if FULL else 30_000) for line in text.split("\n")]
    check(file_of(name), tmp_path / "stack.json", lines)


def beginnings(data_dir: Path, n: int) -> list[str]:
    """The first n bytes of each corpus."""
    texts = []
    for corpus in ("english", "multilingual", "code"):
        with open(data_dir / "corpus" / f"{corpus}.txt", "rb") as file:
            texts.append(file.read(n).decode("utf-8", "ignore"))
    return texts


@pytest.mark.corpus
@pytest.mark.parametrize("name", NAMES)
def test_peer_every_character(name: str, tmp_path: Path) -> None:
    """In five contexts; a part of them unless LMFAST_TEST_FULL=1."""
    tokenizers = pytest.importorskip("tokenizers")
    path, file = tmp_path / "stack.json", file_of(name)
    path.write_text(file)
    ours, peer = lmfast.Tokenizer.from_file(path), tokenizers.Tokenizer.from_str(file)
    characters = [chr(c) for c in (range(0x110000) if FULL else range(0, 0x3100, 7)) if not 0xD800 <= c < 0xE000]
    for context in ("{}", "a{}", "{}a", " {} ", "1{}."):
        for start in range(0, len(characters), 100):
            lines = [context.format(c) for c in characters[start : start + 100]]
            want = [found.ids for found in peer.encode_batch(lines, add_special_tokens=False)]
            assert ours.encode_batch(lines, allowed_special="all").tolist() == want


def test_truth_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    for name in ("clip", "metaspace first", "pieces"):
        (tmp_path / "x.json").write_text(file_of(name))
        ours = lmfast.Tokenizer.from_file(tmp_path / "x.json")
        pipeline = Pipeline(ours.spec)
        for text in (b"a\xff\xfe a", b"\xe2\x96", b"a\xe2\x96 a\xf0\x9f", b"\xc0\x80a"):
            ids, spans, _ = ours.encode_with_offsets(text)
            want, places = pipeline.encode(pipeline.normalize(text, places=True))
            assert ours.encode_list(text) == ids.tolist() == want
            assert list(map(tuple, spans.tolist())) == places


def test_unit_what_grows_goes_step_by_step(tmp_path: Path) -> None:
    model = {"type": "WordLevel", "vocab": {"<unk>": 0, "x": 1}, "unk_token": "<unk>"}
    document = {"version": "1.0", "added_tokens": [], "model": model, "post_processor": None, "decoder": None}
    document |= {"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "x " * 50}}
    (tmp_path / "x.json").write_text(json.dumps(document | {"pre_tokenizer": {"type": "WhitespaceSplit"}}))
    ours = lmfast.Tokenizer.from_file(tmp_path / "x.json")
    assert ours.encode_batch(["a" * 500, "x b"]).tolist() == [[1] * 25_000, [1, 0]]
    assert ours.count_batch(["a" * 500, "x b"]).tolist() == [25_000, 2]


def test_unit_a_word_without_an_id(tmp_path: Path) -> None:
    model = {"type": "WordLevel", "vocab": {"x": 1}, "unk_token": "<unk>"}
    document = {"version": "1.0", "added_tokens": [], "model": model, "post_processor": None, "decoder": None}
    document |= {"normalizer": None, "pre_tokenizer": {"type": "CharDelimiterSplit", "delimiter": " "}}
    (tmp_path / "x.json").write_text(json.dumps(document))
    ours = lmfast.Tokenizer.from_file(tmp_path / "x.json")
    assert ours.encode_list("x x") == [1, 1]
    with pytest.raises(ValueError, match="unknown"):
        ours.encode("x y")


def test_safety_door() -> None:
    words = ("words", b"ab", np.array([0, 1, 2]), np.array([0, 1], np.uint32), b"##", 0, 100, False)
    table = automata.compiled(automata.parse("a+|b"))
    assert table is not None

    def door(model: Any = words, n_ids: int = 2, steps: Any = (), stages: Any = ((table, "isolated", False),)) -> Door:
        return Door(model, n_ids, list(steps), list(stages), 1 << 16)

    engine = door()
    ids, counts = np.empty(engine.bound(4), np.uint32), np.zeros(1, np.int64)
    assert engine.encode_spans(b"aabb", np.array([[0, 4]]), ids, 0, counts) == 3
    assert ids[:3].tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="compiled already"):
        engine.__init__(words, 2, [], [], 1 << 16)  # type: ignore[misc]
    with pytest.raises(ValueError, match="below 1"):
        door(n_ids=1)
    with pytest.raises(ValueError, match="rise from 0 to 2"):
        door(("words", b"ab", np.array([0, 3, 2]), *words[3:]))
    for field, array in (
        ("pages", np.full(8704, 99, np.uint16)),
        ("blocks", np.full(128, 9, np.uint8)),
        ("table", np.full((3, 4), 7, np.uint16)),
    ):
        parts = {"pages": table.pages, "blocks": table.blocks, "table": table.table} | {field: array}
        with pytest.raises(ValueError, match="not as it has to be"):
            door(stages=[(automata.Automaton(**parts), "isolated", False)])
    with pytest.raises(ValueError, match=r"want pages\[8704\]"):
        door(stages=[(automata.Automaton(table.pages[:9], table.blocks, table.table), "isolated", False)])
    with pytest.raises(ValueError, match="want one character"):
        door(stages=[(b"", "always")])
    with pytest.raises(ValueError, match="want at most"):
        door(stages=[(b" ", "always")] * 17)
    with pytest.raises(ValueError, match="a step"):
        door(steps=[("pattern", "", table, b"x"), ("replace", "", b"", b"")])
    pairs, merges = np.array([[97 << 2 | 3, 5]], np.uint32), np.zeros((0, 3), np.uint32)
    with pytest.raises(ValueError, match="ids below 2"):
        door(("bpe", pairs, merges, None, b"", b"", -1, False, False, None))


BEHAVIORS = {
    "Isolated": ["-", "-", "a", "-", "b", "-"],
    "Removed": ["a", "b"],
    "MergedWithPrevious": ["-", "-", "a-", "b-"],
    "MergedWithNext": ["-", "-a", "-b", "-"],
    "Contiguous": ["--", "a", "-", "b", "-"],
}


@pytest.mark.parametrize("behavior", BEHAVIORS)
def test_unit_what_becomes_of_a_match(behavior: str, tmp_path: Path) -> None:
    words = ["<unk>", "a", "b", "-", "--", "a-", "b-", "-a", "-b"]
    model = {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(words)}, "unk_token": "<unk>"}
    split = {"type": "Split", "pattern": {"String": "-"}, "behavior": behavior, "invert": False}
    document = {"version": "1.0", "added_tokens": [], "model": model, "post_processor": None, "decoder": None}
    (tmp_path / "x.json").write_text(json.dumps(document | {"normalizer": None, "pre_tokenizer": split}))
    ours = lmfast.Tokenizer.from_file(tmp_path / "x.json")
    assert isinstance(ours._engine, StackEngine)  # type: ignore[attr-defined]
    assert [words[i] for i in ours.encode_list("--a-b-")] == BEHAVIORS[behavior]


def byte_level(prefix: bool = False, regex: bool = False) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def split(pattern: str, behavior: str = "Isolated") -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTE_LEVEL = {
    "roberta": [byte_level(prefix=True, regex=True)],
    "tekken": [split(TEKKEN), byte_level()],
    "deepseek": [
        split(r"\p{N}{1,3}"),
        split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
        split(DEEPSEEK),
        byte_level(),
    ],
    "removed": [split(r"\s+", "Removed"), split(r"\d", "MergedWithPrevious"), byte_level(prefix=True)],
}


@pytest.mark.parametrize("name", BYTE_LEVEL)
@settings(max_examples=20 if BRIEF else 100)
@given(lines=st.lists(texts, min_size=1, max_size=8))
def test_peer_byte_level(name: str, lines: list[str], data_dir: Path) -> None:
    ours, peer = byte_level_pair(name, data_dir)
    assert "a table" in ours.explain()
    lines = [line.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") for line in [*lines, TEXT]]
    wanted = peer.encode_batch(lines)
    for line, want in zip(lines, wanted, strict=True):
        found = ours.encode_with_offsets(line, allowed_special="all")
        assert found.ids.tolist() == ours.encode_list(line, allowed_special="all") == want.ids, ascii(line)
    assert ours.encode_batch(lines, allowed_special="all").tolist() == [want.ids for want in wanted]
    assert ours.count_batch(lines, allowed_special="all").tolist() == [len(want.ids) for want in wanted]


@pytest.mark.corpus
@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_peer_byte_level_corpora(name: str, data_dir: Path) -> None:
    ours, peer = byte_level_pair(name, data_dir)
    texts = beginnings(data_dir, 4_000_000 if FULL else 200_000)
    lines = [line for text in texts for line in text.splitlines(keepends=True)]
    for some in (lines, texts):
        assert ours.encode_batch(some, allowed_special="all").tolist() == [
            found.ids for found in peer.encode_batch(some)
        ]


@cache
def byte_level_pair(name: str, data_dir: Path) -> tuple[lmfast.Tokenizer, Any]:
    tokenizers = pytest.importorskip("tokenizers")
    document = json.loads((data_dir / "vocab" / "gpt2.tokenizer.json").read_bytes())
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": BYTE_LEVEL[name]}
    file = json.dumps(document)
    return lmfast.Tokenizer(huggingface.read_bytes(file.encode(), where="x")), tokenizers.Tokenizer.from_str(file)


@cache
def byte_level_spec(name: str) -> TokenizerSpec:
    """A stack of them behind NFC, with few tokens and added tokens of all kinds."""
    words = ["th", "the", " the", "in", "er", " a", "\n\n", " \n", "hello", "é", " 中", "12", "don", "'t", "\u0301"]
    cut_by = [
        b"a\xff",
        b"\xffa",
        b" \xff",
        b"\xff ",
        b"1\xff",
        b"!\xff",
        b"\xff!",
        b"\xff\n",
        b"\xe4\xb8",
        b"\xb8 ",
        b"\xff\xff",
    ]
    tokens = [*(bytes([byte]) for byte in range(256)), *(word.encode() for word in words), *cut_by]
    steps = {"pre_tokenizer": {"type": "Sequence", "pretokenizers": BYTE_LEVEL[name]}}
    model = {"type": "BPE", "vocab": {CHARACTER_OF[byte]: byte for byte in range(256)}, "merges": []}
    document = {"version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None, "decoder": None}
    spec = huggingface.read_bytes(json.dumps(document | steps | {"model": model}).encode(), where="x")
    added = (
        AddedToken("<end>", 300),
        AddedToken("the", 301, special=False, single_word=True),
        AddedToken("<é>", 302, special=False, normalized=True, lstrip=True, rstrip=True),
    )
    vocab = Vocab.from_items((token, i) for i, token in enumerate(tokens))
    return replace(spec, model=BPE(vocab), normalizer=(NFC(),), added_tokens=added)


anything = st.lists(
    st.one_of(
        st.binary(max_size=4),
        st.sampled_from([b"<end>", b"the", "<e\u0301>".encode(), b" ", b"\n", b"\xe4\xb8", b"\xed\xa0\x80", b"\xff"]),
        st.sampled_from(
            [
                b"a\xffa",
                b" \xff !\xff!",
                b"1\xff\n\xff\xff",
                b"\xe4\xb8 \xad",
                b"a\x80",
                b"'\xc3t",
                b"\xf0\x9f\x98",
                b"1\xe2\x822",
            ]
        ),
        texts.map(lambda text: text.encode("utf-8", "replace")),
    ),
    max_size=8,
).map(b"".join)


@pytest.mark.parametrize("name", BYTE_LEVEL)
@settings(max_examples=10 if BRIEF else 40)
@given(documents=st.lists(anything, max_size=5), allowed=st.sampled_from([(), "all"]))
def test_truth_byte_level_any_bytes_through_every_door(name: str, documents: list[bytes], allowed: Any) -> None:
    spec = byte_level_spec(name)
    ours = byte_level_tokenizer(name)
    want = [reference.encode(text, spec, allowed_special=allowed) for text in documents]
    for text, ids in zip(documents, want, strict=True):
        assert ours.encode(text, allowed_special=allowed).tolist() == ids
        assert ours.count(text, allowed_special=allowed) == len(ids)
        assert ours.encode_with_offsets(text, allowed_special=allowed).ids.tolist() == ids
    assert ours.encode_batch(documents, allowed_special=allowed, threads=2).tolist() == want
    assert ours.count_batch(documents, allowed_special=allowed).tolist() == list(map(len, want))


@cache
def byte_level_tokenizer(name: str) -> lmfast.Tokenizer:
    return lmfast.Tokenizer(byte_level_spec(name), cache_bytes=1 << 17)


@pytest.mark.parametrize("name", ["deepseek", "removed"])
@pytest.mark.parametrize("isa", isas())
def test_peer_byte_level_in_parts(name: str, isa: str, data_dir: Path, tmp_path: Path) -> None:
    """Many documents, a long one among them, by threads that share tables, and as files."""
    ours, peer = byte_level_pair(name, data_dir)
    ours = lmfast.Tokenizer(ours.spec, cache_bytes=1 << 16, isa=isa)
    times, long = (2, TEXT * 100) if BRIEF else (8, TEXT * 400)
    lines = [TEXT[i : i + 90] for i in range(len(TEXT))]
    want = [encoding.ids for encoding in peer.encode_batch(lines)]
    lines, want = lines * times + [long, ""], want * times + [peer.encode(long).ids, []]
    for threads in (1, 3):
        assert ours.encode_batch(lines, threads=threads).tolist() == want
        assert ours.count_batch(lines, threads=threads).tolist() == list(map(len, want))
    (tmp_path / "a").write_bytes("\0".join(lines).encode())
    assert ours.encode_files([tmp_path / "a"], separator="\0", threads=2).tolist() == want[:-1]


def test_safety_splitter() -> None:
    table = automata.compiled(automata.parse(r"\w+| "))
    assert table is not None
    splitter = Splitter([(table, "removed", True)])
    text, ends = splitter.split("né 4-中".encode())
    assert (text, ends.tolist()) == ("né 4中".encode(), [3, 4, 5, 8])
    assert not splitter.split(b"")[1].size
    text, ends = splitter.split(b"a\xff\xc3 \xe4\xb8")  # bytes that are not UTF-8 are no word
    assert (text, ends.tolist()) == (b"a ", [1, 2])
    with pytest.raises(ValueError, match="want at most 16 stages"):
        Splitter([(table, "isolated", False)] * 17)
    with pytest.raises(ValueError, match="have been compiled"):
        splitter.__init__([])  # type: ignore[misc]
