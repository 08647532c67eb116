"""BPE by sentencepiece's rules: every piece, kind and score is that of sentencepiece 0.2.3."""

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfast.text.sentencepiece_options import SentencePieceOptions
from lmfast.text.train_sentencepiece import learn_pieces, sentence_words, spec_of_pieces

CORPORA = ["english", "multilingual", "code"]
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
        path.write_bytes(file.read(2_000_000))
    assert ours(path, 8000, **options) == theirs(path, 8000, **options)
