"""The other families end to end: files, pipeline and engines against sentencepiece 0.2.3 and tokenizers 0.23.3."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import converted
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scalars import SCALARS

import lmfast
from lmfast.text import formats
from lmfast.text.formats import huggingface
from lmfast.text.pipeline import Pipeline
from lmfast.text.spec import TokenizerSpec

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
BRIEF = os.environ.get("LMFAST_TEST_BRIEF") == "1"
FULL = os.environ.get("LMFAST_TEST_FULL") == "1"
"""Whole corpora and every character in every context, which takes an hour; else parts of both."""
PARTS = 8 if FULL else 1
"""Tests that share the lines of a corpus, so that what they hold at a time stays small."""
if FULL:
    pytestmark = pytest.mark.timeout(7200)
MODELS = ("llama2.model", "t5.spiece.model")
FILES = ("bert", "llama-normalized", "t5", "llama", "llama-first")

ODD = "\u2581 \t\n\r\0\x7f\u00a0\u3000\u200b\u200d\ufeff\ufffdéÉßİſKﬁ①½中文한ᄒ가ñ́̈ि😀👨\u2028\x85"
texts = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.text(alphabet=ODD, max_size=6),
        st.text(alphabet="abAB '.,<>/s0129-_", max_size=12),
        st.sampled_from(
            ["</s>", "<s>", "<unk>", "[SEP]", "<0x41>", "  ", "▁▁", "\ud800", "\udc00", "x" * 120, "don't"]
            + [unit * 700 for unit in ("ab", "é", "中", "a\u0301", "👩\u200d", "\ue000")]
        ),
    ),
    max_size=5,
).map("".join)


class Pair:
    """A tokenizer and the library that it is to equal, as functions of many texts."""

    def __init__(
        self, ours: lmfast.Tokenizer, encode: Callable[..., Any], decode: Callable[..., Any], peer: Any
    ) -> None:
        self.ours, self.encode, self.decode, self.peer = ours, encode, decode, peer

    def check(self, lines: list[str], *, decodes: bool = True, **options: Any) -> None:
        got = self.ours.encode_batch(lines, **options).tolist()
        want = self.encode([line.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") for line in lines])
        for line, a, b in zip(lines, got, want, strict=True):
            assert a == b, ascii(line)
        if decodes:
            for ids, text in zip(want, self.decode(want), strict=True):
                assert self.ours.decode(ids) == text, ids


def model_pair(path: Path) -> Pair:
    sentencepiece = pytest.importorskip("sentencepiece")
    peer = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return Pair(lmfast.Tokenizer.from_file(path), peer.encode, peer.decode, peer)


def file_pair(path: Path) -> Pair:
    tokenizers = pytest.importorskip("tokenizers")
    peer = tokenizers.Tokenizer.from_file(str(path))

    def encode(lines: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in peer.encode_batch_fast(lines, add_special_tokens=False)]

    ours = lmfast.Tokenizer.from_file(path)
    return Pair(ours, encode, lambda rows: peer.decode_batch(rows, skip_special_tokens=False), peer)


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, data_dir: Path) -> Pair:
    return model_pair(of_data(data_dir, request.param))


def of_data(data_dir: Path, name: str) -> Path:
    path = data_dir / "vocab" / name
    if not path.is_file():
        pytest.skip(f"no {name} in the test data")
    return path


@pytest.fixture(scope="module", params=FILES[:3] if BRIEF else FILES)
def file(request: pytest.FixtureRequest, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    if request.param == "bert":
        return file_pair(of_data(data_dir, "bert-base-uncased.tokenizer.json"))
    path = tmp_path_factory.mktemp("converted") / f"{request.param}.json"
    if request.param == "t5":
        data = converted.t5(formats.read(of_data(data_dir, "t5.spiece.model")))
    else:
        spec = formats.read(of_data(data_dir, "llama2.model"))
        scheme = "first" if request.param == "llama-first" else None
        data = converted.llama(spec, scheme, normalized=request.param == "llama-normalized")
    path.write_bytes(data)
    return file_pair(path)


def lines_of(data_dir: Path, corpus: str, n_bytes: int, part: int = 0) -> list[str]:
    """The lines of the first bytes of a corpus; with LMFAST_TEST_FULL=1 and n_bytes = -1 one of PARTS of them."""
    path = data_dir / "corpus" / f"{corpus}.txt"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the test data")
    with open(path, "rb") as opened:
        lines = opened.read(n_bytes).decode("utf-8", "ignore").split("\n")
    return lines[part::PARTS] if n_bytes < 0 else lines


@pytest.mark.parametrize("corpus", ["english", "multilingual", "code"])
def test_peer_lines_of_models(model: Pair, data_dir: Path, corpus: str) -> None:
    model.check(lines_of(data_dir, corpus, 30_000 if BRIEF else 500_000))


@pytest.mark.parametrize("corpus", ["english", "multilingual", "code"])
def test_peer_lines_of_files(file: Pair, data_dir: Path, corpus: str) -> None:
    file.check(lines_of(data_dir, corpus, 10_000 if BRIEF else 100_000), allowed_special="all")


@pytest.mark.corpus
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("corpus", ["english", "multilingual", "code"])
def test_peer_whole_corpus_of_models(model: Pair, data_dir: Path, corpus: str, part: int) -> None:
    model.check(lines_of(data_dir, corpus, -1 if FULL else 4 << 20, part), decodes=FULL)


@pytest.mark.corpus
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("corpus", ["english", "multilingual", "code"])
def test_peer_whole_corpus_of_files(file: Pair, data_dir: Path, corpus: str, part: int) -> None:
    file.check(lines_of(data_dir, corpus, -1 if FULL else 500_000, part), decodes=FULL, allowed_special="all")


@settings(max_examples=300)
@given(batch=st.lists(texts, min_size=1, max_size=8))
@example(batch=["", " ", "▁", "\0", "a\0b", " </s>", "</s> ", "▁</s>", "-------------------"])
def test_peer_strings_of_models(model: Pair, batch: list[str]) -> None:
    model.check(batch)


@settings(max_examples=300)
@given(batch=st.lists(texts, min_size=1, max_size=8))
@example(
    batch=[
        "",
        " ",
        "▁",
        "\0",
        "a\0b",
        " </s>",
        "</s> ",
        "▁</s>",
        "x</s>y",
        "-------------------",
        "\r\n\x80",
        "\x80\r\n\x81",
    ]
)
def test_peer_strings_of_files(file: Pair, batch: list[str]) -> None:
    file.check(batch, allowed_special="all")


@pytest.mark.corpus
@settings(max_examples=1300 if FULL else 130)
@given(batch=st.lists(texts, min_size=16, max_size=16))
def test_peer_many_strings_of_models(model: Pair, batch: list[str]) -> None:
    model.check(batch)


@pytest.mark.corpus
@settings(max_examples=1300 if FULL else 130)
@given(batch=st.lists(texts, min_size=16, max_size=16))
def test_peer_many_strings_of_files(file: Pair, batch: list[str]) -> None:
    file.check(batch, decodes=FULL, allowed_special="all")


CONTEXTS = [("", ""), ("a", "b"), ("a ", " b"), ("\u2581", "\u4e2d"), ("é", "\u0301")]


def in_context(context: int, step: int) -> list[str]:
    """Every character of `scalars`, or one in `step`, which are others in each context."""
    before, after = CONTEXTS[context]
    return [before + chr(c) + after for c in SCALARS[context % step :: step]]


@pytest.mark.corpus
@pytest.mark.parametrize("context", range(len(CONTEXTS)))
def test_peer_every_character_of_models(model: Pair, context: int) -> None:
    model.check(in_context(context, 37 if BRIEF else 1), decodes=FULL)


@pytest.mark.corpus
@pytest.mark.parametrize("context", range(len(CONTEXTS)))
def test_peer_every_character_of_files(file: Pair, context: int) -> None:
    file.check(in_context(context, 1 if FULL else 8), decodes=FULL, allowed_special="all")


def test_peer_pieces_of_models(model: Pair) -> None:
    """What each id is called, and how many there are."""
    peer = model.peer
    assert model.ours.vocab_size == peer.get_piece_size()
    for i in range(0, peer.get_piece_size(), 16 if BRIEF else 1):
        assert model.ours.id_to_bytes(i).decode() == peer.id_to_piece(i)
        assert model.ours.bytes_to_id(peer.id_to_piece(i).encode()) == peer.piece_to_id(peer.id_to_piece(i)) == i


def test_peer_pieces_of_files(file: Pair) -> None:
    peer = file.peer
    assert file.ours.vocab_size == peer.get_vocab_size()
    # The peer calls an added token by what it looks for in normalized text.
    odd = {token.id for token in file.ours.spec.added_tokens if token.normalized}
    for i in range(0, peer.get_vocab_size(), 16 if BRIEF else 1):
        assert i in odd or file.ours.id_to_bytes(i).decode() == peer.id_to_token(i)


@settings(max_examples=100)
@given(batch=st.lists(texts, min_size=1, max_size=8))
def test_peer_places_of_models(model: Pair, batch: list[str]) -> None:
    """Where each id comes from, in bytes, as sentencepiece says."""
    for line in batch:
        line = line.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        want = [(piece.id, piece.begin, piece.end) for piece in model.peer.encode_as_proto(line).pieces]
        ids, spans, _ = model.ours.encode_with_offsets(line)
        assert [(i, *span) for i, span in zip(ids.tolist(), spans.tolist(), strict=True)] == want, ascii(line)


def test_truth_engines_equal_the_pipeline(file: Pair, data_dir: Path) -> None:
    """Ids and places of the engines are those of the steps."""
    pipeline = Pipeline(file.ours.spec)
    for line in [*lines_of(data_dir, "multilingual", 20_000), "a\u0301 b", "\u1112\u1161\u11ab x", "\ufb01①½"]:
        ids, spans, _ = file.ours.encode_with_offsets(line)
        want, places = pipeline.encode(pipeline.normalize(line.encode(), places=True))
        assert ids.tolist() == want == file.ours.encode_list(line)
        assert [tuple(span) for span in spans.tolist()] == places, ascii(line)


def test_property_files_are_written_back(file: Pair, tmp_path: Path) -> None:
    """What is read, written and read again is the same; and so is what it pickles to."""
    file.ours.save(tmp_path / "again.json")
    again = lmfast.Tokenizer.from_file(tmp_path / "again.json")
    assert again == file.ours
    assert hash(again) == hash(pickle.loads(pickle.dumps(file.ours)))
    tokenizers = pytest.importorskip("tokenizers")
    peer = tokenizers.Tokenizer.from_file(str(tmp_path / "again.json"))
    line = "Hello wörld, it's 2024 </s> 中 -------------------"
    assert peer.encode(line, add_special_tokens=False).ids == file.encode([line])[0]


def test_property_models_are_written_back(model: Pair, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    model.ours.save(tmp_path / "again.model")
    assert lmfast.Tokenizer.from_file(tmp_path / "again.model") == model.ours
    peer = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "again.model"))
    line = "Hello wörld, it's 2024 </s> 中 -------------------"
    assert peer.encode(line) == model.ours.encode_list(line)
    with pytest.raises(ValueError, match=r"cannot hold a (ScoredBPE|Unigram) model"):
        model.ours.save(tmp_path / "again.json")


# Models that sentencepiece trains here, with each option that encoding depends on.

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "byte_fallback": {"byte_fallback": True},
    "split_digits": {"split_digits": True},
    "suffix": {"treat_whitespace_as_suffix": True},
    "identity": {"normalization_rule_name": "identity"},
    "nfkc_cf": {"normalization_rule_name": "nfkc_cf"},
    "symbols": {"user_defined_symbols": ["<sep>", "▁x", "foo bar", "①"], "control_symbols": ["<ctl>"]},
    "spaces": {"remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True},
    "no_prefix": {"add_dummy_prefix": False},
    "surface": {"unk_surface": "??", "pad_id": 3, "unk_piece": "[U]"},
    "bytes-suffix-spaces": {
        "byte_fallback": True,
        "treat_whitespace_as_suffix": True,
        "remove_extra_whitespaces": False,
        "normalization_rule_name": "nmt_nfkc_cf",
    },
    "across": {"split_by_whitespace": False, "split_by_number": False, "split_by_unicode_script": False},
    "long": {"max_sentencepiece_length": 40, "user_defined_symbols": ["\u2581", "\u2581\u2581", "the"]},
    "identity-symbols": {
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "user_defined_symbols": [" ", "\u0301", "中文"],
    },
}
SAMPLES = [
    "the cat  sat on the mat ①②③ ＦＵＬＬ width",
    "Straße ﬁne 2024 foo bar <sep> x <ctl> naïve café",
    "  leading and trailing  ",
    "中文字符 and 한국어 ",
    "\ttabs\nnewlines",
]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("option", OPTIONS)
def test_peer_trained_with_options(kind: str, option: str, data_dir: Path, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    lines = [*lines_of(data_dir, "english", 60_000), *SAMPLES * 5]
    (tmp_path / "text.txt").write_text("\n".join(lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"),
        model_prefix=str(tmp_path / "m"),
        model_type=kind,
        vocab_size=700,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **OPTIONS[option],
    )
    pair = model_pair(tmp_path / "m.model")
    odd = [a + b + c for a in ("", " ", "a") for b in ("", *ODD) for c in ("", "  x", "<sep>")]
    pair.check([*lines[:200], *SAMPLES, *odd, "foo bar x", "x▁x"])
    pair.ours.save(tmp_path / "again.model")
    assert model_pair(tmp_path / "again.model").encode(SAMPLES) == pair.encode(SAMPLES)


# Small tokenizers of Hugging Face with each component.

WORDS = ["<unk>", "a", "b", "ab", "##b", "abc", "c", "▁", "▁a", "é", "中", "1", "12", ".", "x", "hello", "Ġ", "Ġa"]
WORD_LEVEL = {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(WORDS)}, "unk_token": "<unk>"}
WORD_PIECE = {
    "type": "WordPiece",
    "vocab": {word: i for i, word in enumerate(WORDS)},
    "unk_token": "<unk>",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 5,
}
UNIGRAM = {"type": "Unigram", "vocab": [[word, -1.5 * (i + 1)] for i, word in enumerate(WORDS)], "unk_id": 0}


def bpe(**options: Any) -> dict[str, Any]:
    prefix, suffix = options.get("continuing_subword_prefix") or "", options.get("end_of_word_suffix") or ""
    letters = ["a", "b", "c", "é", "中"]
    words = ["<unk>", *letters, *(prefix + c for c in letters), *(c + suffix for c in letters), prefix + "c" + suffix]
    merges = [["a", prefix + "b"], ["ab", prefix + "c" + suffix], [prefix + "b", prefix + "c"]]
    words += [left + right.removeprefix(prefix) for left, right in merges]
    words += [f"<0x{byte:02X}>" for byte in range(256)] if options.get("byte_fallback") else []
    return {
        "type": "BPE",
        "vocab": {word: i for i, word in enumerate(dict.fromkeys(words))},
        "merges": merges,
        "unk_token": "<unk>",
        **options,
    }


MODELS_OF_FILES: dict[str, dict[str, Any]] = {
    "word-level": {"model": WORD_LEVEL, "pre_tokenizer": {"type": "Whitespace"}},
    "word-piece": {
        "model": WORD_PIECE,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    },
    "unigram": {
        "model": UNIGRAM,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    },
    "bpe": {"model": bpe()},
    "bpe-no-unk": {"model": bpe(unk_token=None)},
    "bpe-fuse": {"model": bpe(fuse_unk=True)},
    "bpe-bytes": {"model": bpe(byte_fallback=True, unk_token=None)},
    "bpe-suffix": {
        "model": bpe(end_of_word_suffix="</w>"),
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "BPEDecoder", "suffix": "</w>"},
    },
    "bpe-prefix": {"model": bpe(continuing_subword_prefix="@@"), "pre_tokenizer": {"type": "WhitespaceSplit"}},
    "bpe-ignore": {"model": bpe(ignore_merges=True), "pre_tokenizer": {"type": "Digits", "individual_digits": True}},
    "lower": {"model": UNIGRAM, "normalizer": {"type": "Lowercase"}},
    "accents": {
        "model": UNIGRAM,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]},
    },
    "nfkc": {"model": UNIGRAM, "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Nmt"}]}},
    "strip": {"model": UNIGRAM, "normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}},
    "replace": {
        "model": UNIGRAM,
        "normalizer": {"type": "Replace", "pattern": {"Regex": "[0-9]+| {2,}"}, "content": "ab"},
    },
    "byte-level": {
        "model": UNIGRAM,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    },
    "punctuation": {"model": WORD_LEVEL, "pre_tokenizer": {"type": "Punctuation", "behavior": "MergedWithNext"}},
    "delimiter": {"model": WORD_LEVEL, "pre_tokenizer": {"type": "CharDelimiterSplit", "delimiter": "a"}},
    "scripts": {"model": UNIGRAM, "pre_tokenizer": {"type": "UnicodeScripts"}},
    "fixed": {"model": WORD_LEVEL, "pre_tokenizer": {"type": "FixedLength", "length": 2}},
    "ctc": {
        "model": WORD_LEVEL,
        "pre_tokenizer": {"type": "Whitespace"},
        "decoder": {"type": "CTC", "pad_token": "<unk>", "word_delimiter_token": "▁", "cleanup": True},
    },
}
ADDED = [
    converted.special("<unk>", 0),
    {**converted.special("[X]", -1, normalized=True), "special": False},
    {**converted.special("hi", -1), "single_word": True, "lstrip": True},
]


def small(name: str) -> bytes:
    document = {"version": "1.0", "normalizer": None, "pre_tokenizer": None, "decoder": None} | MODELS_OF_FILES[name]
    size = len(document["model"]["vocab"])
    added = [token | {"id": i if (i := token["id"]) >= 0 else size + n - 1} for n, token in enumerate(ADDED)]
    return json.dumps(document | {"added_tokens": added}).encode()


@pytest.fixture(scope="module", params=MODELS_OF_FILES)
def small_pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    path = tmp_path_factory.mktemp("small") / f"{request.param}.json"
    path.write_bytes(small(request.param))
    return file_pair(path)


pieces = st.text(alphabet="abcABC .,1é2中▁x[]hi\t" + ODD, max_size=12)


@settings(max_examples=150)
@given(batch=st.lists(st.lists(st.one_of(pieces, st.sampled_from(["[X]", " hi ", "<unk>"])), max_size=4).map("".join)))
@example(batch=["", "abc", "ab abc", "xxabc", "hi hi", "a[X]b", " [x] ", "ahi", "中é", "zzabzz", "aab", "a  b"])
def test_peer_small_files(small_pair: Pair, batch: list[str]) -> None:
    small_pair.check(batch, allowed_special="all")


@settings(max_examples=60)
@given(text=pieces)
def test_truth_small_files_under_checking(small_pair: Pair, text: str) -> None:
    with lmfast.checking():
        ids = small_pair.ours.encode(text)
        small_pair.ours.decode(ids)
        small_pair.ours.encode_with_offsets(text)
        small_pair.ours.encode_batch([text, text])


def test_property_small_files_are_written_back(small_pair: Pair, tmp_path: Path) -> None:
    small_pair.ours.save(tmp_path / "again.json")
    assert lmfast.Tokenizer.from_file(tmp_path / "again.json") == small_pair.ours
    again = file_pair(tmp_path / "again.json")
    lines = ["abc ab", "xx中é", "hi [X] a", "a1 2.b"]
    assert again.encode(lines) == small_pair.encode(lines)


# The methods of a tokenizer.


@pytest.fixture(scope="module", params=[*MODELS, "bert", "llama-first", "t5"])
def tokenizer(request: pytest.FixtureRequest, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param in MODELS:
        return lmfast.Tokenizer.from_file(of_data(data_dir, request.param))
    if request.param == "bert":
        return lmfast.Tokenizer.from_file(of_data(data_dir, "bert-base-uncased.tokenizer.json"))
    path = tmp_path_factory.mktemp("converted") / "x.json"
    if request.param == "t5":
        path.write_bytes(converted.t5(formats.read(of_data(data_dir, "t5.spiece.model"))))
    else:
        path.write_bytes(converted.llama(formats.read(of_data(data_dir, "llama2.model")), "first"))
    return lmfast.Tokenizer.from_file(path)


LINES = ["Hello, wörld!", "", "  two  spaces ", "中文 한국어", "tail\n", "x" * 300, "</s> and <s>"]


def test_property_calls_agree(tokenizer: Any, tmp_path: Path) -> None:
    """One text, many, on threads, from a file, as bytes, as a list, or only counted: the same ids."""
    rows = [tokenizer.encode_list(line) for line in LINES]
    assert [tokenizer.encode(line).tolist() for line in LINES] == rows
    assert [tokenizer.encode(line.encode()).tolist() for line in LINES] == rows
    assert tokenizer.encode_batch(LINES * 50, threads=4).tolist() == rows * 50
    assert tokenizer.encode_batch([line.encode() for line in LINES]).tolist() == rows
    assert [tokenizer.count(line) for line in LINES] == [len(row) for row in rows]
    assert tokenizer.count_batch(LINES, threads=2).tolist() == [len(row) for row in rows]
    (tmp_path / "a.txt").write_text("|".join(LINES))
    assert tokenizer.encode_files([tmp_path / "a.txt"], separator="|").tolist() == rows
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer
    assert tokenizer.encode_batch([]).tolist() == []


def test_property_stream_is_decode(tokenizer: Any) -> None:
    for line in [*LINES, "é中😀\ue000 \x00"]:
        ids = tokenizer.encode(line)
        decoder = tokenizer.decoder()
        assert "".join([decoder.push(int(i)) for i in ids]) + decoder.finish() == tokenizer.decode(ids)
        assert decoder.finish() == ""


def test_property_long_streams_are_decode(tokenizer: Any, rng: np.random.Generator) -> None:
    """Ids that have no text, alone or at the beginning, between others; what is decoded again each time stays short."""
    named = np.flatnonzero(tokenizer._lengths)
    odd = []
    for token in (b"</s>", b"<s>", b"<unk>", b"[PAD]", b"##s", b"\xe2\x96\x81"):
        with suppress(KeyError):
            odd.append(tokenizer.bytes_to_id(token))
    for _ in range(5 if BRIEF else 200):
        pool = [*rng.choice(odd, 2), *rng.choice(named, int(rng.integers(0, 3)))]
        ids = rng.choice(pool, int(rng.integers(0, 200))).tolist()
        decoder, found = tokenizer.decoder(), []
        for i in ids:
            found.append(decoder.push(i))
            assert len(decoder._window) <= 60
        assert "".join(found) + decoder.finish() == tokenizer.decode(ids), ids


def test_property_special_tokens_only_where_allowed(tokenizer: Any) -> None:
    content, token_id = next((c, i) for c, i in tokenizer.special_tokens.items() if c in ("</s>", "[SEP]"))
    text = f"a{content} b"
    assert token_id not in tokenizer.encode(text)
    assert token_id in tokenizer.encode(text, allowed_special={content})
    assert token_id in tokenizer.encode_batch(["x", text, "y"], allowed_special="all")[1]
    rows = tokenizer.encode_batch(["x", text, "", "y" + content, content], allowed_special="all").tolist()
    assert rows == [tokenizer.encode_list(t, allowed_special="all") for t in ["x", text, "", "y" + content, content]]


def test_property_offsets_lie_in_the_text(tokenizer: Any) -> None:
    for line in LINES:
        ids, spans, characters = tokenizer.encode_with_offsets(line)
        assert ids.tolist() == tokenizer.encode_list(line)
        n = len(line.encode())
        assert bool(np.all((spans >= 0) & (spans <= n)))
        assert bool(np.all(spans[:, 0] <= spans[:, 1]))
        assert bool(np.all(characters <= len(line)))


def test_property_truncate(tokenizer: Any) -> None:
    for line in LINES:
        for n in (0, 1, 3):
            kept = tokenizer.truncate(line, n)
            assert line.startswith(kept)
            assert tokenizer.count(kept) <= n


def test_property_other_segmentations(tokenizer: Any) -> None:
    """Draws are the same for the same seed and decode to the same text; a model that has none says so."""
    text = "unbelievable stories of tokenization"
    kind = type(tokenizer.spec.model).__name__
    if kind == "Unigram" and tokenizer.spec.model.rule == "sentencepiece":
        best = tokenizer.nbest(text, 5)
        assert best[0][0].tolist() == tokenizer.encode_list(text)
        assert [score for _, score in best] == sorted((score for _, score in best), reverse=True)
        assert {tokenizer.decode(ids) for ids, _ in best} == {text}
        assert tokenizer.entropy(text) > 0
        assert len(tokenizer.sample_and_score(text, 4, seed=1, replacement=False, include_best=True)) == 4
        draws = [tokenizer.sample(text, seed=seed, alpha=0.1) for seed in (1, 1, 2)]
    elif kind in ("ScoredBPE", "BPE"):
        draws = [tokenizer.sample(text, seed=seed, dropout=0.5) for seed in (1, 1, 2)]
        assert tokenizer.sample(text, seed=1, dropout=0.0).tolist() == tokenizer.encode_list(text)
    else:
        with pytest.raises(ValueError, match="sample"):
            tokenizer.sample(text, seed=1, dropout=0.5)
        return
    assert draws[0].tolist() == draws[1].tolist() != draws[2].tolist()
    assert {tokenizer.decode(draw) for draw in draws} == {text}
    with pytest.raises(ValueError, match="sample"):
        tokenizer.sample(text, seed=1)


def test_truth_calls_under_checking(tokenizer: Any) -> None:
    with lmfast.checking():
        for line in [*LINES[: 2 if BRIEF else 4], "\ud800 x", b"\xff\xfea b"]:
            ids = tokenizer.encode(line)
            tokenizer.decode(ids)
            tokenizer.encode_with_offsets(line)
            tokenizer.count(line)
            tokenizer.truncate(line, 2)


def test_safety_ids(tokenizer: Any) -> None:
    for wrong in ([tokenizer.vocab_size], [-1], [2**31]):
        with pytest.raises(IndexError):
            tokenizer.decode(wrong)
    assert tokenizer.decode([]) == ""


def test_unit_spec_refuses_what_it_cannot_do() -> None:
    document = json.loads(small("unigram"))
    document["normalizer"] = {"type": "Magic"}
    with pytest.raises(lmfast.TokenizerFileError, match=r"normalizer: type 'Magic' is not supported"):
        huggingface.read_bytes(json.dumps(document).encode(), where="x")


def test_unit_specs_of_all_families_compare_by_contents() -> None:
    specs: list[TokenizerSpec] = [huggingface.read_bytes(small(name), where="x", name=name) for name in MODELS_OF_FILES]
    again = [huggingface.read_bytes(small(name), where="y") for name in MODELS_OF_FILES]
    assert specs == again
    assert len({spec.fingerprint for spec in specs}) == len(specs)
    assert [hash(spec) for spec in pickle.loads(pickle.dumps(specs))] == [hash(spec) for spec in again]
