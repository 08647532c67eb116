"""BPE by sentencepiece's rules: every piece, kind and score is that of sentencepiece 0.2.3."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfast.text import sources
from lmfast.text.sentencepiece_options import SentencePieceOptions
from lmfast.text.tokenizer import Tokenizer
from lmfast.text.train import TrainingInterrupted, train_bpe
from lmfast.text.train_sentencepiece import learn_pieces, sentence_words, spec_of_pieces
from lmfast.text.words import Progress, WordCounts

CORPORA = ["english", "multilingual", "code"]
# All that is claimed is the first 10 MB; that takes minutes.
CORPUS_BYTES = int(os.environ.get("LMFAST_TEST_CORPUS_BYTES", 2_000_000))
CORPUS_IDS = int(os.environ.get("LMFAST_TEST_CORPUS_IDS", 8000))
Pieces = list[tuple[str, float, int]]

# Few characters: ties, runs, exhausted pairs, all kinds of script, digits, markers, characters that normalize.
LETTERS = "aaabc é한글あアー漢字я0１２" + "\u0301\u0903\t  ﬁ▁\u2009<>s/"
LINES = st.lists(
    st.text(st.sampled_from("aab ab"), max_size=12) | st.text(st.sampled_from(LETTERS), max_size=12), max_size=12
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "normalizer": st.sampled_from(["nmt_nfkc", "identity"]),
        "character_coverage": st.sampled_from([0.98, 0.9995, 1.0]),
        "required_chars": st.sampled_from(["", "xyz", "ab漢"]),
        "control_symbols": st.sampled_from([(), ("<c>", "ab"), ("<s>",)]),
        "user_defined_symbols": st.sampled_from([(), ("aa", "<u>"), ("</s>", "漢"), ("aab", "aa")]),
        "byte_fallback": st.booleans(),
        "split_digits": st.booleans(),
        "split_by_unicode_script": st.booleans(),
        "split_by_number": st.booleans(),
        "split_by_whitespace": st.booleans(),
        "treat_whitespace_as_suffix": st.booleans(),
        "allow_whitespace_only_pieces": st.booleans(),
        "add_dummy_prefix": st.booleans(),
        "remove_extra_whitespaces": st.booleans(),
        "max_sentencepiece_length": st.sampled_from([1, 2, 3, 16]),
        "max_sentence_length": st.sampled_from([10, 4192]),
        "unk_id": st.sampled_from([0, 5]),
        "bos_id": st.sampled_from([1, -1]),
        "pad_id": st.sampled_from([-1, 3]),
    },
)


def theirs(lines: list[str] | Path, vocab_size: int, **options: Any) -> Pieces | None:
    """All pieces by sentencepiece; None where it refuses."""
    sentencepiece = pytest.importorskip("sentencepiece")
    proto = pytest.importorskip("sentencepiece.sentencepiece_model_pb2").ModelProto()
    model = io.BytesIO()
    options["normalization_rule_name"] = options.pop("normalizer", "nmt_nfkc")
    options = {
        name: list(value) if isinstance(value, tuple) else value for name, value in options.items() if value != ()
    }
    source = {"input": str(lines)} if isinstance(lines, Path) else {"sentence_iterator": iter(lines)}
    fixed = {"vocab_size": vocab_size, "model_type": "bpe", "minloglevel": 3, "num_threads": 2}
    try:
        sentencepiece.SentencePieceTrainer.train(**source, model_writer=model, **fixed, **options)
    except RuntimeError:
        return None
    proto.ParseFromString(model.getvalue())
    return [(piece.piece, piece.score, piece.type) for piece in proto.pieces]


def ours(source: Any, vocab_size: int, **options: Any) -> Pieces:
    chosen = SentencePieceOptions(**options)
    words = sentence_words(source, chosen, vocab_size)
    model = spec_of_pieces(learn_pieces(words, vocab_size, chosen), vocab_size, chosen).model
    rows = zip(model.vocab, model.scores.tolist(), model.kinds.tolist(), strict=True)
    return [(piece.decode(), score, kind) for (piece, _), score, kind in rows]


@settings(max_examples=300)
@given(lines=LINES, more=st.integers(0, 60), options=OPTIONS)
def test_peer_sentencepiece(lines: list[str], more: int, options: dict[str, Any]) -> None:
    vocab_size = 8 + more + 256 * options.get("byte_fallback", False)
    want = theirs(lines, vocab_size, hard_vocab_limit=False, **options)
    try:
        got = ours(lines, vocab_size, hard_vocab_limit=False, **options)
    except ValueError:
        assert want is None
        return
    assert got == want


@pytest.mark.corpus
@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("options", [{}, {"byte_fallback": True, "split_digits": True}], ids=["plain", "llama"])
def test_peer_sentencepiece_corpus(name: str, options: dict[str, Any], data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "text"
    with (data_dir / "corpus" / f"{name}.txt").open("rb") as file:
        path.write_bytes(file.read(CORPUS_BYTES))
    assert ours(path, CORPUS_IDS, **options) == theirs(path, CORPUS_IDS, **options)


def test_unit_tokenizer(tmp_path: Path) -> None:
    """What is trained is a tokenizer; its `.model` is one for sentencepiece, with the same ids."""
    sentencepiece = pytest.importorskip("sentencepiece")
    lines = ["The cat  sat on the mat, ﬁve times.", "Die Katze saß 12 mal; 漢字かな 한글\u2009!"] * 5
    options: dict[str, Any] = {"byte_fallback": True, "user_defined_symbols": ["<sep>"], "hard_vocab_limit": False}
    tokenizer = train_bpe(lines, 400, ties="sentencepiece", special_tokens=["<pad>"], **options)
    path = tmp_path / "spm.model"
    tokenizer.save(path)
    peer = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert peer.get_piece_size() == tokenizer.vocab_size
    for text in [*lines, "  unseen ☃ words<sep>the ", "", "a\u0301\ufb03"]:
        assert tokenizer.encode_list(text) == peer.encode(text)
        assert tokenizer.decode(peer.encode(text)) == peer.decode(peer.encode(text))
    assert Tokenizer.from_file(path) == tokenizer
    proto = pytest.importorskip("sentencepiece.sentencepiece_model_pb2").ModelProto()
    proto.ParseFromString(path.read_bytes())
    spec = proto.trainer_spec
    assert (spec.model_type, spec.vocab_size, spec.byte_fallback) == (2, tokenizer.vocab_size, True)
    assert (list(spec.user_defined_symbols), list(spec.control_symbols)) == (["<sep>"], ["<pad>"])
    assert (proto.normalizer_spec.name, proto.normalizer_spec.add_dummy_prefix) == ("nmt_nfkc", True)


@settings(max_examples=50)
@given(lines=LINES, counts=st.lists(st.integers(1, 9), min_size=12, max_size=12))
def test_peer_counts(lines: list[str], counts: list[int]) -> None:
    """Counts are sentencepiece's format "tsv"."""
    rows = {line: count for line, count in zip(lines, counts, strict=False) if line and not set("\t\n") & set(line)}
    words = WordCounts.from_items([(line.encode(), count) for line, count in rows.items()], None)
    tsv = [f"{line}\t{count}" for line, count in rows.items()]
    want = theirs(tsv, 60, hard_vocab_limit=False, input_format="tsv")
    if want is None:
        with pytest.raises(ValueError, match=r"source|vocab_size"):
            ours(words, 60, hard_vocab_limit=False)
    else:
        assert ours(words, 60, hard_vocab_limit=False) == want


@given(lines=LINES, sizes=st.lists(st.integers(60, 90), min_size=1, max_size=3))
def test_property_snapshots(lines: list[str], sizes: list[int]) -> None:
    options: dict[str, Any] = {"ties": "sentencepiece", "hard_vocab_limit": False, "normalizer": "identity"}
    try:
        got = train_bpe(["a", *lines], max(sizes), snapshots=sizes, **options)
    except ValueError:
        return
    assert got == {size: train_bpe(["a", *lines], size, **options) for size in sizes}


def test_property_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the lines are read, and by however many threads: the same pieces."""
    lines = [f"line {i} of {i * i % 97} 漢字{i % 7}\r" for i in range(500)]
    (tmp_path / "a.txt").write_bytes("\n".join(lines).encode())
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    want = ours(lines, 300)
    assert theirs(tmp_path / "a.txt", 300) == want
    for chunk in (100, 3000):
        monkeypatch.setattr(sources, "_CHUNK", chunk)
        for name in ("a.txt", "a.jsonl"):
            assert ours(tmp_path / name, 300) == want
    trained = train_bpe(tmp_path / "a.txt", 300, ties="sentencepiece", threads=3, max_memory=1 << 24)
    assert trained == train_bpe(lines, 300, ties="sentencepiece", threads=1)


def test_unit_interrupted() -> None:
    lines = [f"word{i} and {i * i}" for i in range(400)]

    def stop(progress: Progress) -> None:
        if progress.stage == "merge":
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted) as caught:
        train_bpe(lines, 900, ties="sentencepiece", progress=stop)
    partial = caught.value.tokenizer.spec.model
    whole = train_bpe(lines, 900, ties="sentencepiece").spec.model
    assert [piece for piece, _ in partial.vocab][:259] == [piece for piece, _ in whole.vocab][:259]


def test_safety_train() -> None:
    lines = ["the cat sat"] * 9
    for options, problem in (
        ({"normalizer": "nfd"}, "normalizer"),
        ({"normalizer": b"\1\2\3\4\5"}, "charsmap"),
        ({"character_coverage": 0.5}, "character_coverage"),
        ({"max_sentencepiece_length": 0}, "max_sentencepiece_length"),
        ({"required_chars": "\u2585"}, "U\\+2585"),
        ({"user_defined_symbols": ["a", "a"]}, "twice"),
        ({"user_defined_symbols": [""]}, "empty"),
        (
            {"user_defined_symbols": ["q"], "required_chars": "q", "hard_vocab_limit": False},
            "a symbol and a learnt piece",
        ),
        ({"unk_id": -1}, "unk_id"),
        ({"bos_id": 0}, "taken"),
        ({"pad_id": 400}, "pad_id"),
        ({"min_frequency": 2}, "min_frequency"),
        ({"seed_merges": [(b"t", b"h")]}, "seed_merges"),
        ({}, "too large: there are"),
    ):
        with pytest.raises(ValueError, match=problem):
            train_bpe(lines, 300, ties="sentencepiece", **options)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="too small"):
        train_bpe(lines, 5, ties="sentencepiece")
    for empty in ([], [""], ["x" * 5000], ["\u2585"], "  \n"):
        with pytest.raises(ValueError, match="no line to learn from"):
            train_bpe([empty] if isinstance(empty, str) else empty, 300, ties="sentencepiece")
    with pytest.raises(TypeError, match="user_defined_symbols"):
        train_bpe(lines, 300, ties="sentencepiece", user_defined_symbols="ab")
    with pytest.raises(TypeError, match="nonsense"):
        train_bpe(lines, 300, ties="sentencepiece", nonsense=1)
    with pytest.raises(TypeError, match="byte_fallback"):
        train_bpe(lines, 300, byte_fallback=True)


def test_peer_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\xff\xffb \xe6\xbc\n\xc3\xa9\xa9 a\xff\n" * 3)
    want = theirs(tmp_path / "text", 40, hard_vocab_limit=False)
    assert ours(tmp_path / "text", 40, hard_vocab_limit=False) == want
