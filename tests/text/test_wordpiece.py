"""WordPiece and WordLevel with BERT's normalizer and words: the engine against the reference and tokenizers."""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scalars import SCALARS

from lmfast.reference.text import wordpiece
from lmfast.text import bert
from lmfast.text._wordpiece import BertEngine
from lmfast.text.family_decoding import Names
from lmfast.text.spec import TokenizerSpec
from lmfast.text.spec.decoders import WordPieceDecoder
from lmfast.text.spec.models import WordLevel, WordPiece
from lmfast.text.spec.normalizers import BertNormalizer, Lowercase
from lmfast.text.spec.pre_tokenizers import BertPreTokenizer, Digits, Whitespace, WhitespaceSplit
from lmfast.text.spec.vocab import MAX_ID, Vocab

BRIEF = os.environ.get("LMFAST_TEST_BRIEF") == "1"
FULL = os.environ.get("LMFAST_TEST_FULL") == "1"

WORDS = [
    "[UNK]",
    "hello",
    "world",
    "un",
    "##aff",
    "##able",
    ",",
    "!",
    "'",
    "##s",
    "中",
    "文",
    "a",
    "b",
    "e",
    "##e",
    "##b",
]
WORDS += [
    "##a",
    "i",
    "##i",
    "##ab",
    "x" * 15,
    "x" * 16,
    "##" + "x" * 31,
    "x",
    "##x",
    "\u1112",
    "##\u1161",
    "##\u11ab",
    "=",
    "#",
]
WORDS += [
    "\u0f3e",
    "##\u1b44",
    "##\u302e",
    "q",
    "##q",
    "_",
    "\u03c3",
    "##\u03c3",
    "²",
    "1",
    "##1",
    "do",
    "not",
    " .",
    "##",
    "i\u0307",
]
VOCAB = {word: i for i, word in enumerate(WORDS)}
OPTIONS: dict[str, dict[str, bool | None]] = {
    "uncased": {},
    "cased": {"lowercase": False},
    "accents": {"strip_accents": False},
    "cased without accents": {"lowercase": False, "strip_accents": True},
    "ideographs in words": {"handle_chinese_chars": False},
    "uncleaned": {"clean_text": False},
    "nothing": {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False},
}
HARD = "\u0f3e\u1b44\u302e\u302f\U0001d165\U0001d15e\u0344\u0301\u0323\u0f73\u200d\x00\u0130\u1b06\u0ccb\u2260\u1fc1"
HARD += "\u0dddqQ"
LETTERS = "aAbBeEiIxXéÉσΣςЖж中豈\uac00\ud55cかがｱ"
SIGNS = " \t\n\r\x0b\x0c\x1c\x85\xa0\u3000\u2028.,!'#=_-²١\u0660\x7f\ufffd\ufeff\u166d\u1734\ue000，"
texts = st.text(
    st.one_of(
        st.sampled_from(LETTERS + LETTERS + SIGNS), st.sampled_from(HARD), st.characters(exclude_categories=["Cs"])
    ),
    max_size=40,
)
many_texts = st.lists(texts, min_size=20, max_size=40)


def spec_of(vocab: dict[str, int], rule: Any = None, model: str = "WordPiece", **options: bool | None) -> TokenizerSpec:
    tokens = Vocab.from_items({word.encode(): i for word, i in vocab.items()})
    unk = vocab.get("[UNK]")
    return TokenizerSpec(
        model=WordPiece(tokens, unk) if model == "WordPiece" else WordLevel(tokens, unk),
        normalizer=(BertNormalizer(**options),),  # type: ignore[arg-type]
        pre_tokenizer=(rule or BertPreTokenizer(),),
        decoder=(WordPieceDecoder(),),
    )


def engine_of(spec: TokenizerSpec, isa: str = "generic", cache_bytes: int = 1 << 20) -> BertEngine:
    engine = bert.engine_for(spec, cache_bytes=cache_bytes, isa=isa)
    assert engine is not None
    return engine


def encoded(engine: BertEngine, data: bytes) -> list[int]:
    ids = np.empty(engine.bound(len(data)), np.uint32)
    counts, again = np.zeros(1, np.int64), np.zeros(1, np.int64)
    spans = np.array([[0, len(data)]])
    n = engine.encode_spans(data, spans, ids, 0, counts)
    assert engine.encode_spans(data, spans, None, 0, again) == n == counts[0] == again[0]
    return ids[:n].tolist()


def peer_of(
    vocab: dict[str, int], rule: str = "BertPreTokenizer", model: str = "WordPiece", **options: bool | None
) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    peer = tokenizers.Tokenizer(getattr(tokenizers.models, model)(vocab, unk_token="[UNK]"))
    peer.normalizer = tokenizers.normalizers.BertNormalizer(**options)
    peer.pre_tokenizer = getattr(tokenizers.pre_tokenizers, rule)()
    return peer


def peer_offsets(peer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The ids and the byte offsets of tokenizers, whose offsets count characters."""
    at = [0, *np.cumsum([len(c.encode()) for c in text]).tolist()]
    encoding = peer.encode(text, add_special_tokens=False)
    return encoding.ids, [(at[start], at[stop]) for start, stop in encoding.offsets]


def truth_of(vocab: dict[str, int], **options: bool | None) -> Callable[[str], list[int]]:
    return partial(
        wordpiece.encode,
        normalize=partial(wordpiece.bert_normalize, **options),  # type: ignore[arg-type]
        words=wordpiece.bert_words,
        model=partial(wordpiece.word_piece, vocab=vocab, unk_id=0),
    )


@cache
def small(isa: str, option: str = "uncased") -> BertEngine:
    return engine_of(spec_of(VOCAB, **OPTIONS[option]), isa, 1 << 16)


@pytest.fixture(scope="module")
def bert_vocab(data_dir: Path) -> dict[str, int]:
    vocab: dict[str, int] = json.loads((data_dir / "vocab/bert-base-uncased.tokenizer.json").read_text())["model"][
        "vocab"
    ]
    return vocab


# By hand.


def test_unit_words(isa: str) -> None:
    engine = small(isa)

    def tokens(text: str) -> list[str]:
        return [WORDS[i] for i in encoded(engine, text.encode())]

    assert tokens("") == tokens(" \t ") == tokens("\x00\u200b\u0301") == []
    assert tokens("Hello, WORLD!") == ["hello", ",", "world", "!"]
    assert tokens("unaffable un\u0301\u200dab") == ["un", "##aff", "##able", "un", "##ab"]
    assert tokens("中文a") == ["中", "文", "a"]
    assert tokens("한 ≠") == ["\u1112", "##\u1161", "##\u11ab", "="]
    assert tokens("unz") == ["[UNK]"]
    assert tokens("##s") == ["#", "#", "[UNK]"]
    assert tokens("x" * 100) != ["[UNK]"]
    assert tokens("x" * 101) == tokens("x" * 50_000) == ["[UNK]"]
    assert tokens("a\nb") == ["a", "b"]


def test_unit_offsets() -> None:
    ids, offsets = small("generic").encode_with_offsets("  Unaffable\u0301, 中 한".encode())
    assert [WORDS[i] for i in ids] == ["un", "##aff", "##able", ",", "中", "\u1112", "##\u1161", "##\u11ab"]
    # A mark that is removed belongs to nothing.
    assert offsets.tolist() == [[2, 4], [4, 7], [7, 11], [13, 14], [15, 18], [19, 22], [19, 22], [19, 22]]


def test_unit_decode() -> None:
    names = Names(spec_of(VOCAB), None)
    ids = [VOCAB[t] for t in ("un", "##aff", "##able", ",", "do", "##", "not", " .", "'", "hello")]
    assert names.decode(np.array(ids, np.uint32)) == b"unaffable, do not . ' hello"  # " ." was "  ."
    assert names.decode(np.array([VOCAB["##s"], VOCAB["##"]], np.uint32)) == b"##s"
    assert names.decode(np.array([], np.uint32)) == b""
    for bad in ([len(WORDS)], [0, len(WORDS)], [0, 2**32 - 1]):
        with pytest.raises(IndexError, match="is no token"):
            names.decode(np.array(bad, np.uint32))


def test_unit_what_has_no_engine() -> None:
    spec = spec_of(VOCAB)
    assert bert.engine_for(spec, cache_bytes=1 << 20, isa="generic") is not None
    for pre_tokenizer in ((), (BertPreTokenizer(), Digits()), (Digits(),)):
        other = TokenizerSpec(model=spec.model, normalizer=spec.normalizer, pre_tokenizer=pre_tokenizer)
        assert bert.engine_for(other, cache_bytes=1 << 20, isa="generic") is None
    other = TokenizerSpec(model=spec.model, normalizer=(Lowercase(), Lowercase()), pre_tokenizer=spec.pre_tokenizer)
    assert bert.engine_for(other, cache_bytes=1 << 20, isa="generic") is None
    largest = WordPiece(vocab=Vocab.from_items([(b"a", 0), (b"b", MAX_ID)]), unk_id=0)
    other = TokenizerSpec(model=largest, normalizer=spec.normalizer, pre_tokenizer=spec.pre_tokenizer)
    assert bert.engine_for(other, cache_bytes=1 << 20, isa="generic") is None


def test_unit_errors() -> None:
    engine = small("generic")
    counts = np.zeros(1, np.int64)
    for span in ([[-1, 0]], [[0, 6]], [[3, 2]]):
        with pytest.raises(IndexError, match=r"is outside \[0, 5\)"):
            engine.encode_spans(b"hello", np.array(span), None, 0, counts)
    with pytest.raises(ValueError, match="want room for 13"):
        engine.encode_spans(b"hello", np.array([[0, 5]]), np.empty(12, np.uint32), 0, counts)
    with pytest.raises(ValueError, match="want room for 13"):
        engine.encode_spans(b"hello", np.array([[0, 5]]), np.empty(20, np.uint32), 21, counts)
    with pytest.raises(ValueError, match="isa 'sse' is not available"):
        engine_of(spec_of(VOCAB), "sse")
    no_unk = engine_of(spec_of({"a": 0}))
    with pytest.raises(ValueError, match="text 1 has a word that the model has no id for"):
        no_unk.encode_spans(b"ab", np.array([[0, 1], [1, 2]]), None, 0, np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="word at byte 2"):
        no_unk.encode_with_offsets(b"a b")
    assert encoded(no_unk, b"a a") == [0, 0]  # an error leaves nothing behind


# Against the reference and tokenizers.


@pytest.mark.parametrize("option", OPTIONS)
@settings(max_examples=100)
@given(data=many_texts)
def test_peer_options(option: str, isa: str, data: list[str]) -> None:
    engine, peer = small(isa, option), peer_of(VOCAB, **OPTIONS[option])
    for text in data:
        want, offsets = peer_offsets(peer, text)
        assert encoded(engine, text.encode()) == want, ascii(text)
        ids, places = engine.encode_with_offsets(text.encode())
        assert (ids.tolist(), list(map(tuple, places.tolist()))) == (want, offsets), ascii(text)


@pytest.mark.parametrize("option", OPTIONS)
@given(data=many_texts)
def test_truth_options(option: str, data: list[str]) -> None:
    truth = truth_of(VOCAB, **OPTIONS[option])
    for text in data:
        assert encoded(small("generic", option), text.encode()) == truth(text), ascii(text)


@pytest.mark.parametrize("model", ["WordPiece", "WordLevel"])
@pytest.mark.parametrize("rule", [BertPreTokenizer, Whitespace, WhitespaceSplit])
@given(data=many_texts)
def test_peer_rules_and_models(rule: Any, model: str, isa: str, data: list[str]) -> None:
    vocab = VOCAB | {"##.": 90, ".": 91, ".,": 92, "##.,": 93, "a_": 94, "##_": 95, "ab": 96}
    engine = engine_of(spec_of(vocab, rule(), model, **OPTIONS["uncleaned"]), isa, 1 << 16)
    peer = peer_of(vocab, rule.__name__, model, **OPTIONS["uncleaned"])
    words = {BertPreTokenizer: wordpiece.bert_words, Whitespace: wordpiece.whitespace_words}
    cut = words.get(rule, wordpiece.space_words)
    for text in data:
        want, offsets = peer_offsets(peer, text)
        assert encoded(engine, text.encode()) == want, ascii(text)
        assert list(map(tuple, engine.encode_with_offsets(text.encode())[1].tolist())) == offsets
        normal = wordpiece.bert_normalize(text, clean_text=False)
        assert cut(normal) == [word for word, _ in peer.pre_tokenizer.pre_tokenize_str(normal)]
        if model == "WordLevel":
            assert want == [i for word in cut(normal) for i in wordpiece.word_level(word, vocab, 0)]


FRAMES = ["a{}b", "{}", "中{}", "q\u0323{}\u0301\u302e", "1{} {}_"]


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("option", "frame"),
    [*(("uncased", frame) for frame in FRAMES), ("cased", "a{}b"), ("accents", "q{}_"), ("uncleaned", "中{}\u302e")],
)
def test_peer_every_scalar(option: str, frame: str, bert_vocab: dict[str, int]) -> None:
    engines = [engine_of(spec_of(bert_vocab, **OPTIONS[option]), isa) for isa in isas()]
    peer = peer_of(bert_vocab, **OPTIONS[option])
    for i in range(0, len(SCALARS), 4096):
        text = "\n".join(frame.replace("{}", chr(c)) for c in SCALARS[i : i + 4096])
        (want,) = peer.encode_batch_fast([text], add_special_tokens=False)
        for engine in engines:
            assert encoded(engine, text.encode()) == want.ids, (hex(SCALARS[i]), frame)


@pytest.mark.corpus
@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["english", "multilingual", "code"])
def test_peer_corpora(corpus: str, data_dir: Path, bert_vocab: dict[str, int]) -> None:
    engines, peer = [engine_of(spec_of(bert_vocab), isa, 1 << 24) for isa in isas()], peer_of(bert_vocab)
    lines = (data_dir / "corpus" / f"{corpus}.txt").read_bytes().decode("utf-8", "replace").split("\n")
    for i in range(0, len(lines), 20_000 if FULL else 60_000):
        some = lines[i : i + 20_000]
        want = [encoding.ids for encoding in peer.encode_batch_fast(some, add_special_tokens=False)]
        data = [line.encode() for line in some]
        ends = np.cumsum([0, *map(len, data)])
        spans = np.stack([ends[:-1], ends[1:]], axis=1)
        for e in engines:
            ids, counts = np.empty(sum(map(e.bound, map(len, data))), np.uint32), np.zeros(len(some), np.int64)
            n = e.encode_spans(b"".join(data), spans, ids, 0, counts)
            assert counts.tolist() == list(map(len, want))
            assert ids[:n].tolist() == [i for line in want for i in line]


@pytest.mark.corpus
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("corpus", ["english", "multilingual", "code"])
def test_peer_corpora_offsets(option: str, corpus: str, data_dir: Path, bert_vocab: dict[str, int]) -> None:
    engine, peer = engine_of(spec_of(bert_vocab, **OPTIONS[option])), peer_of(bert_vocab, **OPTIONS[option])
    with (data_dir / "corpus" / f"{corpus}.txt").open(encoding="utf-8", errors="ignore") as file:
        for i in range(4):
            file.seek(i * 7_000_000 + 1_000)
            for line in file.read(30_000).splitlines(keepends=True):
                want, offsets = peer_offsets(peer, line)
                assert encoded(engine, line.encode()) == want
                ids, places = engine.encode_with_offsets(line.encode())
                assert (ids.tolist(), list(map(tuple, places.tolist()))) == (want, offsets)


@given(st.lists(st.integers(0, len(WORDS) - 1), max_size=12))
def test_peer_decode(ids: list[int]) -> None:
    decoders = pytest.importorskip("tokenizers").decoders
    tokens = [WORDS[i] for i in ids]
    assert Names(spec_of(VOCAB), None).decode(np.array(ids, np.uint32)).decode() == decoders.WordPiece().decode(tokens)
    assert wordpiece.decode(tokens) == decoders.WordPiece().decode(tokens)


@given(
    st.lists(st.text("#a .?!,'ntmdosver-", min_size=1, max_size=12), max_size=8),
    st.sampled_from(["##", "", "a"]),
    st.booleans(),
)
def test_peer_decode_any_token(tokens: list[str], prefix: str, cleanup: bool) -> None:
    decoders = pytest.importorskip("tokenizers").decoders
    want = decoders.WordPiece(prefix=prefix, cleanup=cleanup).decode(tokens)
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    spec = replace(spec_of(vocab), decoder=(WordPieceDecoder(prefix, cleanup),))
    assert Names(spec, None).decode(np.array([vocab[token] for token in tokens], np.uint32)).decode() == want
    assert wordpiece.decode(tokens, prefix, cleanup) == want


def isas() -> list[str]:
    from lmfast.text import _text

    return _text.isas()


# Windows, blocks, tables, and hostile text.


@pytest.mark.parametrize("rule", [BertPreTokenizer, Whitespace, WhitespaceSplit])
@pytest.mark.parametrize("option", ["uncased", "cased"])
def test_truth_every_ascii_character_at_every_place_of_a_block(rule: Any, option: str, isa: str) -> None:
    engine = engine_of(spec_of(ascii_vocab(), rule(), **OPTIONS[option]), isa, 1 << 16)
    for text, want in around_every_ascii_character(rule, option):
        assert encoded(engine, text.encode()) == want, ascii(text)


def ascii_vocab() -> dict[str, int]:
    ascii_only = [chr(c) for c in range(128) if chr(c).strip()]
    return {"[UNK]": 0} | {token: i for i, token in enumerate([*ascii_only, *map("##{}".format, ascii_only)], 1)}


@cache  # the reference is slow, and each instruction set asks
def around_every_ascii_character(rule: Any, option: str) -> list[tuple[str, list[int]]]:
    words = {BertPreTokenizer: wordpiece.bert_words, Whitespace: wordpiece.whitespace_words}
    cut, vocab, found = words.get(rule, wordpiece.space_words), ascii_vocab(), []
    for c in map(chr, range(128)):
        for text in (f"a{c}" * 40 + "b", f"a{c}{c}b " * 20, f"{'a' * 60}{c}{'b' * 30}", c * 70, f"aé{c}bé" * 10):
            normal = wordpiece.bert_normalize(text, **OPTIONS[option])  # type: ignore[arg-type]
            found.append((text, [i for word in cut(normal) for i in wordpiece.word_piece(word, vocab, 0)]))
    return found


@pytest.mark.parametrize("option", ["uncased", "cased", "nothing"])
@given(
    unit=st.text(st.sampled_from(LETTERS + SIGNS + HARD), min_size=1, max_size=60),
    n=st.integers(1, 400),
    shift=st.integers(0, 70),
)
def test_isa_long_texts(option: str, unit: str, n: int, shift: int) -> None:
    data = ("x" * shift + " " + unit * n).encode()
    want = encoded(small("generic", option), data)
    assert small("generic", option).encode_with_offsets(data)[0].tolist() == want
    for isa in isas()[1:]:
        assert encoded(small(isa, option), data) == want


def test_truth_lengths_beside_the_edges_of_tables(isa: str) -> None:
    vocab = VOCAB | {"x" * 40: 80, "##" + "x" * 7: 81}
    model = WordPiece(spec_of(vocab).model.vocab, 0, "##", 600)
    engine = engine_of(TokenizerSpec(model, (BertPreTokenizer(),), (BertNormalizer(),)), isa)
    for _ in range(2):  # the second time from the tables
        for n in (1, 14, 15, 16, 17, 30, 31, 32, 33, 100, 511, 512, 513, 599, 600, 601, 9000):
            for word in ("x" * n, "x" * (n - 1) + "z", "ax" * n, "é" * n, "\ud55c" * n):
                want = long_word(word, tuple(vocab.items()))
                assert encoded(engine, f"a {word} a".encode()) == [VOCAB["a"], *want, VOCAB["a"]]


@cache
def long_word(word: str, vocab: tuple[tuple[str, int], ...]) -> list[int]:
    return wordpiece.word_piece(wordpiece.bert_normalize(word), dict(vocab), 0, "##", 600)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "é",
        "中",
        "\ud55c",
        " ",
        "!",
        "\u0301",
        "\u302e",
        "\u302e\u1b44",
        "\u1b44\u0301\u302e",
        "\x00",
        "\U0001d15e",
        "\u0130",
        "\u200d\u302e",
        "q\u302e",
    ],
)
@pytest.mark.parametrize("option", ["uncased", "accents", "uncleaned"])
def test_safety_a_million_of_one(text: str, option: str, isa: str) -> None:
    data = text.encode() * ((100_000 if BRIEF else 1_000_000) // len(text.encode()))
    engine = small(isa, option)
    assert encoded(engine, data) == engine.encode_with_offsets(data)[0].tolist()
    assert encoded(engine, b"hello " + data + b" world")[-1] in (VOCAB["world"], 0)


@given(data=st.lists(st.one_of(st.binary(max_size=5), texts.map(str.encode))).map(b"".join))
def test_safety_bytes_that_are_not_utf8(isa: str, data: bytes) -> None:
    text = "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in data.decode("utf-8", "surrogateescape"))
    for option in ("uncased", "nothing"):
        engine = small(isa, option)
        want = encoded(engine, text.encode())
        assert encoded(engine, data) == want
        ids, places = engine.encode_with_offsets(data)
        assert ids.tolist() == want
        assert all(0 <= start < stop <= len(data) for start, stop in places.tolist())


def test_safety_words_without_bound(isa: str) -> None:
    tokens = Vocab.from_items({b"[UNK]": 0, b"a": 1, b"##a": 2, b"##" + b"a" * 1000: 3})
    spec = TokenizerSpec(model=WordPiece(tokens, 0, "##", 2**63), pre_tokenizer=(BertPreTokenizer(),))
    assert encoded(engine_of(spec, isa), b"a" * 300_001) == [1, *[3] * 300]
    spec = TokenizerSpec(model=WordLevel(tokens, 0), pre_tokenizer=(WhitespaceSplit(),))
    assert encoded(engine_of(spec, isa), b"a" * 300_001 + b" a " + b"##" + b"a" * 1000) == [0, 1, 3]
    spec = TokenizerSpec(model=WordPiece(tokens, 0, "##", 0), pre_tokenizer=(BertPreTokenizer(),))
    assert encoded(engine_of(spec, isa), b"a aa a") == [0, 0, 0]


def test_safety_threads() -> None:
    engine = small("generic")
    documents = [f"hello {i} unaffable 中文 é{'x' * i}".encode() * 50 for i in range(8)]
    want = [encoded(engine_of(spec_of(VOCAB)), data) for data in documents]
    got: list[list[list[int]]] = [[] for _ in documents]

    def work(i: int) -> None:
        got[i] = [encoded(engine, documents[i]) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(documents))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [[ids] * 20 for ids in want]


def test_property_a_small_cache_forgets_but_is_right(isa: str) -> None:
    rng = np.random.default_rng(1)
    data = "".join(rng.choice(list("abeixq'中é "), 400_000)).encode()
    assert encoded(small(isa), data) == encoded(engine_of(spec_of(VOCAB), isa, 1 << 24), data)
