"""The class table: every scalar value against the two peers and against the reference's own copy of the data."""

import random

import pytest
from scalars import ALL, SCALARS

from lmfast.reference import unicode
from lmfast.text import _text

UPPER, LOWER, OTHER_LETTER, MARK, NUMBER, SPACE, WORD = (1 << i for i in range(7))
LETTER = UPPER | LOWER | OTHER_LETTER
CLASSES = {
    r"\p{Lu}": UPPER,
    r"\p{Lt}": UPPER,
    r"\p{Ll}": LOWER,
    r"\p{Lm}": OTHER_LETTER,
    r"\p{Lo}": OTHER_LETTER,
    r"\p{M}": MARK,
    r"\p{N}": NUMBER,
    r"\s": SPACE,
    r"\w": WORD,
}
WHITE_SPACE = [*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
ONIGURUMA_WORDS = {0xB2, 0xB3, 0xB9, 0xBC, 0xBD, 0xBE} | {0x200C, 0x200D}


@pytest.fixture(scope="module")
def classes() -> list[int]:
    return [_text.unicode_class(c) for c in range(0x110000)]


def members(classes: list[int], bits: int, among: list[int] = ALL) -> set[int]:
    return {c for c in among if classes[c] & bits}


def union(found: dict[str, set[int]], bits: int) -> set[int]:
    return set().union(*(found[pattern] for pattern, bit in CLASSES.items() if bit & bits))


def test_unit_classes() -> None:
    want = {
        "A": UPPER | WORD,
        "\u01c5": UPPER | WORD,  # Dž, title case
        "z": LOWER | WORD,
        "ª": OTHER_LETTER | WORD,
        "中": OTHER_LETTER | WORD,
        "\u0301": MARK | WORD,
        "7": NUMBER | WORD,
        "²": NUMBER,
        "Ⅷ": NUMBER | WORD,
        "_": WORD,
        "\u200d": WORD,
        " ": SPACE,
        "\x85": SPACE,
        "\u180e": 0,
        "\u200b": 0,
        "\ufeff": 0,
        "!": 0,
        "\U0010ffff": 0,
        "\u1c89": UPPER | WORD,  # new in Unicode 16
        "\U000323b0": 0,  # a letter from Unicode 17 on
    }
    assert {c: _text.unicode_class(ord(c)) for c in want} == want
    with pytest.raises(ValueError, match="1114112"):
        _text.unicode_class(0x110000)
    with pytest.raises(ValueError, match="Unicode 9"):
        _text.unicode_class(65, 9)


def test_unit_white_space(classes: list[int]) -> None:
    assert sorted(members(classes, SPACE)) == WHITE_SPACE


@pytest.mark.corpus
def test_truth_every_code_point(classes: list[int]) -> None:
    bits = {"Lu": UPPER, "Lt": UPPER, "Ll": LOWER, "Lm": OTHER_LETTER, "Lo": OTHER_LETTER}
    bits |= {"Mn": MARK, "Mc": MARK, "Me": MARK, "Nd": NUMBER, "Nl": NUMBER, "No": NUMBER}
    want = [
        bits.get(unicode.category(c), 0) | SPACE * unicode.is_space(c) | WORD * unicode.is_word(c)
        for c in map(chr, range(0x110000))
    ]
    assert classes == want


@pytest.mark.corpus
def test_peer_tiktoken_every_scalar(classes: list[int]) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([b]): b for b in range(256)}

    def matched(pattern: str) -> set[int]:
        # What a pattern does not match is dropped.
        encoding = tiktoken.Encoding("scan", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        return set(map(ord, encoding.decode(encoding.encode_ordinary("".join(map(chr, ALL))))))

    found = {pattern: matched(pattern) for pattern in CLASSES}
    for bits in {*CLASSES.values(), LETTER}:
        assert members(classes, bits) == union(found, bits), bits
    assert matched(r"[^\s\p{L}\p{N}]") == set(ALL) - members(classes, SPACE | LETTER | NUMBER)


@pytest.mark.corpus
def test_peer_tokenizers_split_every_scalar(classes: list[int]) -> None:
    tokenizers = pytest.importorskip("tokenizers")

    def matched(pattern: str) -> set[int]:
        split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "removed")
        return set(SCALARS).difference(
            *(map(ord, piece) for piece, _ in split.pre_tokenize_str("".join(map(chr, SCALARS))))
        )

    found = {pattern: matched(pattern) for pattern in CLASSES}
    found[r"\w"] ^= ONIGURUMA_WORDS
    for bits in {*CLASSES.values(), LETTER}:
        assert members(classes, bits, SCALARS) == union(found, bits), bits


@pytest.mark.corpus
@pytest.mark.slow
def test_peer_tokenizers_byte_level_every_scalar(classes: list[int]) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    pieces = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    kinds = [(LETTER, "a"), (NUMBER, "1"), (0, "!")]
    for c in SCALARS:
        # It joins the letter, the number or the symbol before it; white space joins none of them.
        kind = next((bits for bits, before in kinds if len(pieces(before + chr(c))) == 1), SPACE)
        mine = classes[c] & (LETTER | NUMBER | SPACE)
        assert bool(mine & kind) if kind else not mine, hex(c)


@pytest.mark.corpus
@pytest.mark.slow
def test_peer_tokenizers_added_tokens_every_scalar(classes: list[int]) -> None:
    tokenizers = pytest.importorskip("tokenizers")

    def beside(**flags: bool) -> list[list[int]]:
        tok = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"?": 0}, merges=[], unk_token="?"))
        tok.add_tokens([tokenizers.AddedToken("QQ", normalized=False, **flags)])
        before = tok.encode_batch_fast([chr(c) + "QQ" for c in SCALARS])
        after = tok.encode_batch_fast(["QQ" + chr(c) for c in SCALARS])
        return [[encoding.ids == [1] for encoding in side] for side in (before, after)] + [
            [1 in encoding.ids for encoding in side] for side in (before, after)
        ]

    *_, found_before, found_after = beside(single_word=True)
    alone = [not classes[c] & WORD for c in SCALARS]
    assert found_before == found_after == alone
    taken_before, taken_after, *_ = beside(lstrip=True, rstrip=True)
    assert taken_before == taken_after == [bool(classes[c] & SPACE) for c in SCALARS]


def test_truth_stand_ins_make_regex_see_the_stated_version() -> None:
    regex = pytest.importorskip("regex")
    sample = [*random.Random(1).sample(ALL, 20_000), *range(0x1C80, 0x1C90), *range(0x16D40, 0x16D80)]
    seen = "".join(map(chr, sample)).translate(unicode.stand_ins())
    for pattern, bit in CLASSES.items():
        if pattern not in (r"\p{Lu}", r"\p{Lt}", r"\p{Lm}", r"\p{Lo}"):
            got = {sample[m.start()] for m in regex.finditer(pattern, seen)}
            assert got == {c for c in sample if _text.unicode_class(c) & bit}, pattern
