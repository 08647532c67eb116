"""BPE over characters and WordPiece: equal to tokenizers 0.23.3 where that is deterministic, to the rule everywhere."""

import json
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from lmfast.text.merging import Learnt
from lmfast.text.spec import BPE, Whitespace, WordPiece
from lmfast.text.tokenizer import Tokenizer
from lmfast.text.train import TrainingInterrupted, train_bpe, train_wordpiece
from lmfast.text.train_characters import learn_characters, spec_of_characters, spec_of_word_pieces
from lmfast.text.words import Progress, WordCounts, count_words

CORPORA = ["english", "multilingual", "code"]
# All that is claimed is the first 10 MB; that takes minutes.
CORPUS_BYTES = int(os.environ.get("LMFAST_TEST_CORPUS_BYTES", 2_000_000))
CORPUS_IDS = int(os.environ.get("LMFAST_TEST_CORPUS_IDS", 8000))
SETTLED = settings(max_examples=300)
WORDS = st.text(st.sampled_from("aaab"), min_size=1, max_size=12) | st.text(
    st.sampled_from("abcdéक#_- \u0301"), max_size=8
)
TEXTS = st.lists(WORDS, max_size=30).map(" ".join)
Model = tuple[dict[str, int], list[tuple[str, str]]]


def shown(learnt: Learnt) -> Model:
    """Vocabulary and merges as text."""
    tokens = {token_id: token.decode() for token, token_id in learnt.vocab}
    return {token: i for i, token in tokens.items()}, [(tokens[a], tokens[b]) for a, b, _ in learnt.merges.tolist()]


def tokenizers_model(texts: Any, vocab_size: int, **options: Any) -> Model:
    tokenizers = pytest.importorskip("tokenizers")
    peer = tokenizers.Tokenizer(tokenizers.models.BPE())
    peer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, **options)
    peer.train_from_iterator(texts, trainer)
    model = json.loads(peer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def naive(words: WordCounts, vocab_size: int, prefix: str, suffix: str, least: int, longest: int) -> Model:
    """The rule, all pairs counted anew for each merge."""
    ids: dict[str, int] = {}
    for c in sorted({c for word, _ in words for c in word.decode()}):
        ids[c] = len(ids)
    rows: list[tuple[list[str], int]] = []
    lengths: dict[str, int] = {}
    for word, count in sorted(words, key=lambda item: (-item[1], item[0])):
        text = word.decode()
        row = [prefix * (i > 0) + c + suffix * (i == len(text) - 1) for i, c in enumerate(text)]
        for symbol in row:
            ids.setdefault(symbol, len(ids))
            lengths[symbol] = 1
        rows.append((row, count))
    n_first, merges = len(ids), []
    while len(ids) < vocab_size:
        found: Counter[tuple[str, str]] = Counter()
        for row, count in rows:
            for pair in pairwise(row):
                found[pair] += count
        allowed = {
            pair: n
            for pair, n in found.items()
            if not longest
            or max(lengths[pair[0]], lengths[pair[1]]) == 1 > max(ids[pair[0]], ids[pair[1]]) - n_first
            or lengths[pair[0]] + lengths[pair[1]] < longest
        }
        best = min(allowed, key=lambda pair: (-allowed[pair], ids[pair[0]], ids[pair[1]]), default=None)
        if best is None or allowed[best] < max(1, least):
            break
        made = best[0] + best[1].removeprefix(prefix)
        merges.append(best)
        ids.setdefault(made, len(ids))
        lengths.setdefault(made, lengths[best[0]] + lengths[best[1]])
        for row, _ in rows:
            i = 0
            while i + 1 < len(row):
                if (row[i], row[i + 1]) == best:
                    row[i : i + 2] = [made]
                i += 1
    return ids, merges


def test_unit_learn_characters() -> None:
    learnt = learn_characters(
        count_words(["ab ab abc"], "whitespace"), 9, special_tokens=["<s>"], prefix="#", suffix="|"
    )
    vocab, merges = shown(learnt)
    assert merges == [("a", "#b|"), ("a", "#b")]
    assert list(vocab) == ["<s>", "a", "b", "c", "#b|", "#b", "#c|", "ab|", "ab"]
    spec = spec_of_characters(learnt, "whitespace", "#", "|")
    assert isinstance(spec.model, BPE)
    assert (spec.model.byte_level, spec.pre_tokenizer) == (False, (Whitespace(),))


@SETTLED
@given(texts=st.lists(TEXTS, max_size=4))
def test_truth_whitespace(texts: list[str]) -> None:
    want = Counter(match for text in texts for match in regex.findall(r"\w+|[^\w\s]+", text))
    assert {word.decode(): count for word, count in count_words(texts, "whitespace")} == want


@SETTLED
@given(
    texts=st.lists(TEXTS, max_size=4),
    more=st.integers(0, 60),
    prefix=st.sampled_from(["", "#", "##"]),
    suffix=st.sampled_from(["", "_", "</w>"]),
    least=st.integers(0, 3),
    longest=st.sampled_from([0, 0, 3, 5]),
)
def test_truth_rule_written_out(
    texts: list[str], more: int, prefix: str, suffix: str, least: int, longest: int
) -> None:
    words = count_words(texts, "whitespace", threads=1)
    want = naive(words, 40 + more, prefix, suffix, least, longest)
    got = learn_characters(
        words, 40 + more, prefix=prefix, suffix=suffix, min_frequency=least, max_token_length=longest or None
    )
    assert shown(got) == want


@SETTLED
@given(
    texts=st.lists(TEXTS, max_size=4),
    more=st.integers(0, 100),
    min_frequency=st.integers(0, 4),
    max_token_length=st.none() | st.integers(1, 6),
    special_tokens=st.lists(st.sampled_from(["<s>", "a", "aa", "aab", "é", "क", "<s>"]), max_size=5),
    initial=st.sets(st.sampled_from("abcxyz")),
)
def test_peer_tokenizers(
    texts: list[str],
    more: int,
    min_frequency: int,
    max_token_length: int | None,
    special_tokens: list[str],
    initial: set[str],
) -> None:
    options: dict[str, Any] = {"min_frequency": min_frequency, "special_tokens": special_tokens}
    options |= {"initial_alphabet": sorted(initial)} | (
        {"max_token_length": max_token_length} if max_token_length else {}
    )
    want = tokenizers_model(texts, 20 + more, **options)
    assert shown(learn_characters(count_words(texts, "whitespace", threads=1), 20 + more, **options)) == want


@SETTLED
@given(texts=st.lists(TEXTS, max_size=4), more=st.integers(0, 60), affix=st.sampled_from(["prefix", "suffix"]))
def test_peer_tokenizers_affixes(texts: list[str], more: int, affix: str) -> None:
    """With the ids of all symbols fixed by special tokens, tokenizers has no choice."""
    texts = [text.replace("#", "") for text in texts]  # or a pair makes a symbol that there is
    words = count_words(texts, "whitespace", threads=1)
    text = "".join(sorted({c for word, _ in words for c in word.decode()}))
    specials = [f"##{c}" for c in text] if affix == "prefix" else [f"{c}</w>" for c in text]
    name = {"prefix": "continuing_subword_prefix", "suffix": "end_of_word_suffix"}[affix]
    value = {"prefix": "##", "suffix": "</w>"}[affix]
    want = tokenizers_model(texts, 40 + more, special_tokens=specials, **{name: value})
    got = learn_characters(words, 40 + more, special_tokens=specials, **{affix: value})  # type: ignore[arg-type]
    assert shown(got) == want


@given(texts=st.lists(TEXTS, max_size=4), limit=st.integers(1, 6))
def test_peer_tokenizers_limit(texts: list[str], limit: int) -> None:
    words = count_words(texts, "whitespace", threads=1)
    counts: Counter[str] = Counter()
    for word, count in words:
        counts.update({c: n * count for c, n in Counter(word.decode()).items()})
    falling = sorted(counts.values(), reverse=True)
    if limit < len(falling) and falling[limit - 1] == falling[limit]:
        return  # tokenizers drops any one of equally frequent characters
    assert shown(learn_characters(words, 60, limit_alphabet=limit)) == tokenizers_model(texts, 60, limit_alphabet=limit)


@pytest.mark.corpus
@pytest.mark.parametrize("name", CORPORA)
def test_peer_tokenizers_corpus(name: str, data_dir: Path) -> None:
    with (data_dir / "corpus" / f"{name}.txt").open("rb") as file:
        texts = file.read(CORPUS_BYTES).decode("utf-8", "ignore").split("<|endoftext|>")
    words = count_words(texts, "whitespace")
    assert shown(learn_characters(words, CORPUS_IDS)) == tokenizers_model(texts, CORPUS_IDS)


def test_unit_word_pieces() -> None:
    words = count_words(["hug hug hug pug pun bun bun hugs"], "whitespace")
    learnt = learn_characters(words, 20, special_tokens=["[UNK]"], prefix="##")
    spec = spec_of_word_pieces(learnt, "whitespace", "##", "[UNK]")
    assert isinstance(spec.model, WordPiece)
    assert (spec.model.unk_id, spec.model.vocab.id_of(b"[UNK]")) == (0, 0)
    assert spec.model.vocab.id_of(b"##ug") is not None
    assert spec.model.vocab.id_of(b"hug") is not None


def test_peer_tokenizers_loads(tmp_path: Path) -> None:
    """What is trained is a tokenizer; its tokenizer.json is one for tokenizers, with the same ids."""
    tokenizers = pytest.importorskip("tokenizers")
    texts = ["the cat sat on the mat.", "hugs, hug; bun pun 12 été"] * 5
    common: dict[str, Any] = {"special_tokens": ["[UNK]", "<s>"], "unk_token": "[UNK]"}
    options = {"byte_level": False, "pattern": "whitespace", **common}
    for made in (
        train_bpe(texts, 60, **options),
        train_bpe(texts, 80, end_of_word_suffix="</w>", ties="first", **options),
        train_bpe(texts, 80, continuing_subword_prefix="@@", **options),
        train_wordpiece(texts, 80, **common),
    ):
        made.save(tmp_path / "tokenizer.json")
        peer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        assert peer.get_vocab_size() == made.vocab_size
        for text in [*texts, "unseen Zebra cathugs", ""]:
            ids = peer.encode(text, add_special_tokens=False).ids
            assert made.encode_list(text) == ids
            assert made.decode(ids) == peer.decode(ids, skip_special_tokens=False)
        assert Tokenizer.from_file(tmp_path / "tokenizer.json") == made


def test_property_snapshots() -> None:
    texts = ["the cat sat on the mat.", "hugs, hug; bun pun 12 été"] * 5
    options: dict[str, Any] = {"byte_level": False, "pattern": "whitespace", "end_of_word_suffix": "|"}
    got = train_bpe(texts, 80, snapshots=[60, 70], special_tokens=["<s>"], **options)
    assert got == {size: train_bpe(texts, size, special_tokens=["<s>"], **options) for size in (60, 70, 80)}


def test_unit_interrupted() -> None:
    words = WordCounts.from_items([(b"%d" % i, i + 1) for i in range(3000)], "whitespace")

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted) as caught:
        train_bpe(words, 900, byte_level=False, progress=stop)
    assert caught.value.tokenizer == train_bpe(words, 10 + 256, byte_level=False)
    with pytest.raises(TrainingInterrupted) as caught:
        train_wordpiece(words, 900, progress=stop)
    assert caught.value.tokenizer == train_wordpiece(words, 20 + 5 + 256)


def test_unit_text_that_is_not_utf8() -> None:
    """A byte that is no part of a character is U+FFFD, whatever stands beside it."""
    learnt = learn_characters(WordCounts.from_items([(b"a\xff", 2), (b"\xc3", 1), (b"\xa9", 1)], "whitespace"), 10)
    assert shown(learnt) == ({"a": 0, "\ufffd": 1, "a\ufffd": 2}, [("a", "\ufffd")])


def test_safety_characters() -> None:
    words = WordCounts.from_items([(b"ab", 1)], "whitespace")
    with pytest.raises(ValueError, match="vocab_size 1 is too small"):
        learn_characters(words, 1)
    with pytest.raises(ValueError, match="initial_alphabet"):
        learn_characters(words, 10, initial_alphabet=["ab"])
    for options in ({"ties": "bytes"}, {"seed_merges": [(b"a", b"b")]}, {"unk_token": "?"}, {"ties": "sentencepiece"}):
        with pytest.raises(ValueError, match=r"byte_level=False|unk_token"):
            train_bpe(words, 300, byte_level=False, **options)  # type: ignore[call-overload]
    for options in ({"unk_token": "?", "special_tokens": "?"}, {"end_of_word_suffix": "?"}):
        with pytest.raises(ValueError, match="byte_level=False"):
            train_bpe(words, 300, **options)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="unk_token"):
        train_wordpiece(words, 300, unk_token="?")
    assert shown(learn_characters(WordCounts.from_items([]), 10)) == ({}, [])
