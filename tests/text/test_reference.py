"""The reference itself, held to literals and to the libraries that it claims to equal."""

import base64
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmfast.reference.text import byte_level as reference
from lmfast.text.patterns import PATTERNS
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

WORDS = [b"ab", b"bc", b"abc", b"aa", b"aaaa", b" a", "é".encode(), "中".encode()]


def byte_model(*more: bytes, merges: list[tuple[bytes, bytes]] | None = None) -> BPE:
    """All single bytes, numbered by value, then the given tokens; a rank file unless merges are given."""
    ids = {bytes([b]): b for b in range(256)} | {token: 256 + i for i, token in enumerate(more)}
    if merges is None:
        return BPE(Vocab.from_items(ids))
    return BPE(Vocab.from_items(ids), np.array([(ids[a], ids[b]) for a, b in merges], np.uint32), ignore_merges=False)


def stand_in_bytes() -> dict[str, int]:
    """The alphabet of ByteLevel: a printable byte shows itself, the others the characters from U+0100 on."""
    rest = iter(range(0x100, 0x200))
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    return {chr(byte if byte in printable else next(rest)): byte for byte in range(256)}


def model_of(text: str) -> BPE:
    """The model in the contents of a tokenizer.json."""
    top = json.loads(text)
    byte_of = stand_in_bytes()
    specials = {token["content"] for token in top["added_tokens"] if token["special"]}
    ids = top["model"]["vocab"]
    items = {
        token.encode() if token in specials else bytes(byte_of[c] for c in token): token_id
        for token, token_id in ids.items()
    }
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in top["model"]["merges"]]
    merges = np.array([(ids[a], ids[b]) for a, b in pairs], np.uint32).reshape(-1, 2)
    return BPE(Vocab.from_items(items), merges, ignore_merges=bool(top["model"].get("ignore_merges")))


def added_of(text: str) -> tuple[AddedToken, ...]:
    return tuple(AddedToken(**token) for token in json.loads(text)["added_tokens"])


def mixed(rng: random.Random, n: int) -> str:
    """Text of common and of any characters."""
    common = "aaabcdeST  \n\t\r.,'!0123456789éßñ中文мир\u0301\u200d😀<|>[]"
    return "".join(
        rng.choice(common)
        if rng.random() < 0.7
        else chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))
        for _ in range(n)
    )


def of_data(data_dir: Path, name: str) -> Path:
    path = data_dir / "vocab" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path


# Characters.


def test_unit_characters() -> None:
    assert reference.characters("aé😀") == "aé😀"
    assert reference.characters("\ud83d\ude00") == "😀"
    assert reference.characters("\ude00\ud83da") == "\ufffd\ufffda"
    assert reference.characters(b"a\xff\xc3\xa9\xe4\xb8") == "a\udcffé\udce4\udcb8"
    assert reference.characters(b"\xed\xa0\x80\xc0\x80\xf4\x90\x80\x80") == "".join(
        chr(0xDC00 + b) for b in b"\xed\xa0\x80\xc0\x80\xf4\x90\x80\x80"
    )


def test_unit_strict_names_the_first_lone_surrogate() -> None:
    assert reference.characters("a\ud83d\ude00", "strict") == "a😀"
    for text, at in (("ab\ud800", 2), ("\ud83d\ude00\ude00", 2), ("\ud800\ud83d\ude00", 0)):
        with pytest.raises(UnicodeEncodeError) as caught:
            reference.characters(text, "strict")
        assert (caught.value.start, caught.value.end) == (at, at + 1)


# Splitting.


def test_unit_behaviors() -> None:
    want = {
        "isolated": ["The", "-", "final", "-", "-", "countdown"],
        "removed": ["The", "final", "countdown"],
        "merged_with_previous": ["The-", "final-", "-", "countdown"],
        "merged_with_next": ["The", "-final", "-", "-countdown"],
        "contiguous": ["The", "-", "final", "--", "countdown"],
    }
    for behavior, pieces in want.items():
        spec = TokenizerSpec(byte_model(), (Split("-", behavior, literal=True),))
        assert [piece.decode() for piece in reference.split("The-final--countdown", spec)] == pieces


def test_unit_prefix_space_before_every_piece() -> None:
    spec = TokenizerSpec(byte_model(), (Split(",", "removed", literal=True), PrefixSpace()))
    assert reference.split("a, b,c", spec) == [b" a", b" b", b" c"]
    assert reference.split("", spec) == []


def test_unit_bytes_that_are_not_utf8_are_symbols() -> None:
    spec = TokenizerSpec(byte_model(), (Split(PATTERNS["gpt2"]),))
    assert reference.split(b"a\xffb \xe4\xb8 1\x80", spec) == [b"a", b"\xff", b"b", b" \xe4\xb8", b" 1", b"\x80"]


PATTERNS_TO_SPLIT = [
    r"\s+",
    r"\p{Lu}",
    r"(?=\p{Lu})",
    r"\p{N}{1,3}",
    r"[^\s\p{L}]+",
    r"\w+|[^\w\s]+",
    r"\b",
    r"(?i:'s|th)",
]


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS_TO_SPLIT)
def test_peer_tokenizers_split(pattern: str, invert: bool) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    rng = random.Random(1)
    letters = "aaBbC1 2'sSThéÉ中 \n\t.-_"
    texts = ["".join(rng.choices(letters, k=rng.randrange(1, 20))) for _ in range(300)]
    for behavior in ("isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"):
        peer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), behavior, invert)
        spec = TokenizerSpec(byte_model(), (Split(pattern, behavior, invert),))
        for text in texts:
            want = [piece for piece, _ in peer.pre_tokenize_str(text)]
            assert [p.decode() for p in reference.split(text, spec)] == want, (behavior, text)


# Merging.


def test_unit_merges_strongest_first_then_leftmost() -> None:
    ranks = TokenizerSpec(byte_model(b"bc", b"ab", b"aa"))
    assert reference.merge(b"abc", ranks) == [ord("a"), 256]
    assert reference.merge(b"aaa", ranks) == [258, ord("a")]
    listed = TokenizerSpec(byte_model(b"ab", b"bc", b"abc", merges=[(b"ab", b"c"), (b"b", b"c"), (b"a", b"b")]))
    assert reference.merge(b"abc", listed) == [ord("a"), 257]
    assert reference.merge(b"ab", listed) == [256]


def test_unit_a_piece_that_is_a_token_where_merges_are_ignored() -> None:
    model = byte_model(b"ab", b"abc", merges=[(b"a", b"b")])
    assert reference.merge(b"abc", TokenizerSpec(model)) == [256, ord("c")]
    assert reference.merge(b"abc", TokenizerSpec(BPE(model.vocab, model.merges, ignore_merges=True))) == [257]


@given(st.lists(st.sampled_from(WORDS), max_size=30).map(b"".join), st.permutations(WORDS))
def test_property_long_merge_is_the_textbook_one(piece: bytes, order: list[bytes]) -> None:
    spec = TokenizerSpec(byte_model(*order))
    want = reference.merge(piece, TokenizerSpec(BPE(spec.model.vocab))) if piece else []
    tables = reference._tables(spec)
    got = reference.merge_long([tables.ids[bytes([b])] for b in piece], tables.join)
    if piece not in tables.ids:
        assert got == want
    assert b"".join(tables.tokens[i] for i in got) == piece


# Whole texts, against the peers.


@pytest.mark.parametrize("name", ["cl100k_base", "o200k_base"])
def test_peer_tiktoken(name: str, data_dir: Path) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    lines = of_data(data_dir, f"{name}.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    specials = {"<|endoftext|>": 300_000, "<|fim_prefix|>": 300_001}
    peer = tiktoken.Encoding("peer", pat_str=PATTERNS[name], mergeable_ranks=ranks, special_tokens=specials)
    added = tuple(AddedToken(content, token_id) for content, token_id in specials.items())
    spec = TokenizerSpec(BPE(Vocab.from_items(ranks)), (Split(PATTERNS[name]),), added_tokens=added)
    rng = random.Random(2)
    for _ in range(150):
        text = mixed(rng, rng.randrange(1, 40)) + rng.choice(["", "<|endoftext|>", "<|fim_prefix|>x"])
        ids = peer.encode(text, disallowed_special=())
        assert reference.encode(text, spec) == ids, text
        assert reference.decode(ids, spec) == text
        assert reference.encode(text, spec, allowed_special="all") == peer.encode(text, allowed_special="all"), text
        one = {"<|fim_prefix|>"}
        want = peer.encode(text, allowed_special=one, disallowed_special=())
        assert reference.encode(text, spec, allowed_special=one) == want, text


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox-20b"])
def test_peer_tokenizers(name: str, data_dir: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    text = of_data(data_dir, f"{name}.tokenizer.json").read_text(encoding="utf-8")
    peer = tokenizers.Tokenizer.from_str(text)
    normalizer = (NFC(),) if json.loads(text)["normalizer"] else ()
    spec = TokenizerSpec(model_of(text), (Split(PATTERNS["gpt2"]),), normalizer=normalizer, added_tokens=added_of(text))
    rng = random.Random(3)
    for _ in range(150):
        sample = mixed(rng, rng.randrange(1, 40)) + rng.choice(["", "<|endoftext|>", "  \n  <|padding|>", " " * 30])
        assert (
            reference.encode(sample, spec, allowed_special="all") == peer.encode(sample, add_special_tokens=False).ids
        )


def small_peer(normalizer: bool, tokens: list[AddedToken]) -> tuple["tokenizers.Tokenizer", TokenizerSpec]:  # noqa: F821
    """One tokenizer twice: as the library builds it, and as a spec."""
    tokenizers = pytest.importorskip("tokenizers")
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=stand_in_bytes(), merges=[]))
    peer.pre_tokenizer = level
    if normalizer:
        peer.normalizer = tokenizers.normalizers.NFC()
    flags = ("special", "single_word", "lstrip", "rstrip", "normalized")
    for token in tokens:
        peer.add_tokens([tokenizers.AddedToken(token.content, **{flag: getattr(token, flag) for flag in flags})])
    added = added_of(peer.to_str())
    spec = TokenizerSpec(byte_model(), (Split(PATTERNS["gpt2"]),), (NFC(),) if normalizer else (), added_tokens=added)
    return peer, spec


contents = st.text("ab<> \n\u0301é", min_size=1, max_size=3)
flag = st.booleans()
added_tokens = st.lists(
    st.builds(AddedToken, contents, st.just(0), flag, flag, flag, flag, flag), max_size=4, unique_by=lambda t: t.content
)


@given(flag, added_tokens, st.text("ab<> \n\t\u3000é\u0301_1ß", max_size=30))
def test_peer_tokenizers_added_tokens(normalizer: bool, tokens: list[AddedToken], text: str) -> None:
    pytest.importorskip("tokenizers")
    # Two contents that NFC makes one are refused by the library; single characters of the model keep its ids.
    if len({reference.unicode.nfc(token.content) for token in tokens}) < len(tokens):
        return
    peer, spec = small_peer(normalizer, tokens)
    want = peer.encode(text, add_special_tokens=False).ids
    assert reference.encode(text, spec, allowed_special="all") == want


def test_unit_added_tokens() -> None:
    def spec(*tokens: AddedToken) -> TokenizerSpec:
        return TokenizerSpec(byte_model(), added_tokens=tokens)

    a, b = ord("a"), ord("b")
    special, plain = AddedToken("<s>", 300), AddedToken("<p>", 301, special=False)
    assert reference.encode("a<p><s>", spec(special, plain)) == [a, 301, *b"<s>"]
    assert reference.encode("a<p><s>", spec(special, plain), allowed_special={"<s>"}) == [a, 301, 300]
    longer = AddedToken("<s>b", 302, special=False)
    assert reference.encode("<s>b<s>", spec(special, longer), allowed_special="all") == [302, 300]
    word = AddedToken("a", 303, special=False, single_word=True)
    assert reference.encode("a ab.a", spec(word)) == [303, ord(" "), a, b, ord("."), 303]
    strips = AddedToken("<s>", 304, special=False, lstrip=True, rstrip=True)
    assert reference.encode("a \n<s>\u3000b", spec(strips)) == [a, 304, b]


def test_unit_template() -> None:
    template = TemplateProcessing(
        (
            TemplatePiece("special", "<s>", ids=(300,)),
            TemplatePiece("sequence", "A"),
            TemplatePiece("special", "</s>", ids=(301,)),
        )
    )
    spec = TokenizerSpec(byte_model(), post_processor=template)
    assert reference.encode("a", spec, add_special_tokens=True) == [300, ord("a"), 301]
    assert reference.encode("a", spec) == [ord("a")]


def test_unit_offsets() -> None:
    model = byte_model("é".encode(), b" a")
    spec = TokenizerSpec(
        model,
        (PrefixSpace(),),
        (NFC(),),
        (AddedToken("<s>", 300, rstrip=True),),
    )
    ids, byte_offsets, char_offsets = reference.encode_with_offsets("ae\u0301<s> 中", spec, allowed_special="all")
    assert ids == [257, 256, 300, ord(" "), *"中".encode()]
    assert byte_offsets.tolist() == [[0, 1], [1, 4], [4, 8], [8, 11], [8, 9], [9, 10], [10, 11]]
    assert char_offsets.tolist() == [[0, 1], [1, 3], [3, 7], [7, 8], [7, 8], [7, 8], [7, 8]]
    assert reference.encode_with_offsets("", spec)[1].shape == (0, 2)


def test_unit_truncate_keeps_characters_whole() -> None:
    spec = TokenizerSpec(byte_model(b"ab"))
    assert reference.truncate("ab中b", spec, 3) == "ab"
    assert reference.truncate("ab中b", spec, 4) == "ab中"
    assert reference.truncate("ab中b".encode(), spec, 4) == "ab中".encode()
    assert reference.truncate("ab", spec, 0) == ""


def test_unit_decode() -> None:
    spec = TokenizerSpec(byte_model(b"ab"), added_tokens=(AddedToken("<s>", 300),))
    assert reference.decode_bytes([256, 300, 0xE4], spec) == b"ab<s>\xe4"
    assert reference.decode([0xE4, 256], spec) == "\ufffdab"
    with pytest.raises(IndexError, match=r"ids\[1\] = 299"):
        reference.decode_bytes([0, 299], spec)


@given(st.binary(max_size=60))
def test_property_any_bytes_come_back(data: bytes) -> None:
    spec = TokenizerSpec(byte_model(*WORDS), (Split(PATTERNS["o200k_base"]),))
    assert reference.decode_bytes(reference.encode(data, spec), spec) == data


# Training and counting.


def test_unit_train_bpe() -> None:
    spec = reference.train_bpe(["ab ab abc"], 260)
    tokens = [token for token, _ in spec.model.vocab][256:]
    # "ab" three times; then " ab", twice, and "abc" and " abc", once each: fewer than " ab" in front.
    assert tokens == [b"ab", b" ab", b" abc"]
    with pytest.raises(ValueError, match="vocab_size 255"):
        reference.train_bpe([], 255)


@pytest.mark.parametrize("name", ["english", "multilingual", "code"])
def test_peer_tokenizers_trainer(name: str, data_dir: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    path = data_dir / "corpus" / f"{name}.txt"
    with path.open(encoding="utf-8") as stream:
        text = stream.read(100_000)
    peer = tokenizers.Tokenizer(tokenizers.models.BPE())
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False)
    peer.train_from_iterator([text], trainer)
    want = model_of(peer.to_str())
    got = reference.train_bpe([text], 1500)
    assert dict(got.model.vocab) == dict(want.vocab)
    assert got.model.merges is not None
    assert np.array_equal(got.model.merges, want.merges)
    assert got.fingerprint == reference.train_bpe(iter([text.encode()]), 1500, PATTERNS["gpt2"]).fingerprint


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(0, 3), st.integers(0, 3))
def test_property_tensors_say_the_same(ids: list[int], a: int, b: int) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(ids, dtype=torch.int64)
    assert reference.apply_merge(tensor, (a, b), 9).tolist() == reference._merge_all(ids, (a, b), 9)
    pairs, counts = reference.pair_counts(tensor)
    want: dict[tuple[int, int], int] = {}
    for i in range(len(ids) - 1):
        want[ids[i], ids[i + 1]] = want.get((ids[i], ids[i + 1]), 0) + 1
    assert dict(zip(map(tuple, pairs.tolist()), counts.tolist(), strict=True)) == want


def test_truth_training_is_the_naive_one() -> None:
    torch = pytest.importorskip("torch")
    text = "the cat in the hat sat on the mat; banana bandana, aaaaaaa aaaa"
    spec = reference.train_bpe([text], 290)
    ids_of = {token: i for token, i in spec.model.vocab}
    words = [torch.tensor([ids_of[bytes([b])] for b in piece]) for piece in reference.split(text, spec)]
    assert spec.model.merges is not None
    for new, merge in enumerate(spec.model.merges.tolist(), 256):
        totals: dict[tuple[int, int], int] = {}
        for word in words:
            pairs, counts = reference.pair_counts(word)
            for pair, n in zip(pairs.tolist(), counts.tolist(), strict=True):
                totals[tuple(pair)] = totals.get(tuple(pair), 0) + n
        assert tuple(merge) == min(totals, key=lambda pair: (-totals[pair], pair))
        words = [reference.apply_merge(word, tuple(merge), new) for word in words]


def test_unit_bigram_entropy() -> None:
    assert reference.bigram_entropy([]) == 0
    assert reference.bigram_entropy([5]) == 0
    assert reference.bigram_entropy([1, 2] * 50) == 0
    # After 0 come 0 and 1 equally often (1 bit), after 1 always 0: 2/3 of the places are after 0.
    assert reference.bigram_entropy(np.array([0, 0, 1, 0, 0, 1, 0], np.uint32)) == pytest.approx(2 / 3)


def test_unit_the_reference_needs_no_torch() -> None:
    code = "import sys, lmfast.reference.text; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
