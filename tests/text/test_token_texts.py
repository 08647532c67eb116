"""Decoding as a table: against the steps, which test_components.py holds to tokenizers, and its door by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmfast.text._token_texts import BYTE, EMPTY, NONE, TEXT, TokenTexts
from lmfast.text.family_decoding import Names
from lmfast.text.pipeline import decoding
from lmfast.text.spec import (
    CTC,
    BPEDecoder,
    ByteFallback,
    ByteLevel,
    Decoder,
    Fuse,
    Metaspace,
    Replace,
    StripDecoder,
    TokenizerSpec,
    Vocab,
    WordLevel,
    WordPieceDecoder,
)
from lmfast.text.token_texts import table_of

MARK = "\u2581"
SPACES = Replace(MARK, " ", literal=True)
STACKS: dict[str, tuple[Decoder, ...]] = {
    "none": (),
    "llama": (SPACES, ByteFallback(), Fuse(), StripDecoder(" ", 1, 0)),
    "gemma": (SPACES, ByteFallback(), Fuse()),
    "bytes alone": (ByteFallback(),),
    "t5": (Metaspace(),),
    "never": (Metaspace(prepend_scheme="never"),),
    "made bytes at the begin": (Metaspace(), ByteFallback()),
    "bert": (WordPieceDecoder(),),
    "suffix": (BPEDecoder("</w>"),),
    "suffix of nothing": (BPEDecoder(""),),
    "suffix that makes bytes": (BPEDecoder("a"), ByteFallback()),
    "byte level": (ByteLevel(),),
    "nothing of letters": (Replace("[a-z]+", "", literal=False), Fuse(), Replace("\ufffd", "?", literal=True)),
    "nothing left behind": (Fuse(), CTC("a", "b")),
    "stripped": (StripDecoder("a", 1, 1), Metaspace(), Fuse(), StripDecoder(" ", 2, 1)),
}
WORDS = ["a", "b", MARK, MARK + "a", "##b", "a</w>", "</w>", "aa", "\u0120a", "\u0122", "é", "x" * 15, "x" * 16, "##"]
WORDS += ["<0x41>", "<0xC3>", "<0xA9>", "<0xFF>", "<0xE2>", "<0x96>", "<0x81>", "<0xF0>", "<0x+f>", MARK + "<0x41>"]
WORDS += [" .", "a<0x41>", "<0x41>a", " <0x41>", "\U0001f600"]
GAP = 5  # an id that no token has


def names_of(decoders: tuple[Decoder, ...]) -> Names:
    vocab = Vocab.from_items((word.encode(), i + (i >= GAP)) for i, word in enumerate(WORDS))
    return Names(TokenizerSpec(WordLevel(vocab, 0), decoder=decoders), None)


@pytest.mark.parametrize("stack", STACKS)
@settings(max_examples=300)
@given(st.lists(st.integers(0, len(WORDS) - 1), max_size=12))
@example([])
@example(list(range(len(WORDS))))
@example([WORDS.index(word) for word in ("<0xC3>", "<0xA9>", "a", "<0xC3>", "<0xC3>", "<0xA9>")])
def test_truth_tables_are_the_steps(stack: str, found: list[int]) -> None:
    names, steps = names_of(STACKS[stack]), [decoding.step_of(decoder) for decoder in STACKS[stack]]
    assert table_of(STACKS[stack], names) is not None
    ids = np.array([i + (i >= GAP) for i in found], np.uint32)
    assert names.decode(ids).decode() == decoding.decode([WORDS[i] for i in found], steps)


@pytest.mark.parametrize("stack", STACKS)
def test_unit_ids_of_no_token(stack: str) -> None:
    names = names_of(STACKS[stack])
    allowed = rf"ids are in \[0, {len(WORDS) + 1}\)"
    wrong = [([GAP], 0), ([0, GAP], 1), ([GAP, 0], 0), ([0, 99, 0], 1), ([2**32 - 1, 0], 0), ([0, 1, GAP, 99], 2)]
    for ids, at in wrong:
        with pytest.raises(IndexError, match=rf"ids\[{at}\] = {ids[at]} is no token; {allowed}"):
            names.decode(np.array(ids, np.uint32))


def test_unit_what_has_no_table() -> None:
    for decoders in ((CTC(),), (ByteFallback(), SPACES), (ByteFallback(), ByteLevel()), (SPACES, CTC(), Fuse())):
        assert table_of(decoders, names_of(decoders)) is None


def test_unit_bytes() -> None:
    kinds = np.array([NONE, TEXT, EMPTY, *(BYTE + byte for byte in (0xE2, 0x96, 0x81, 0x41))], np.uint16)
    texts = TokenTexts([b"", b"abc", b"", b"\xe2", b"\x96", b"\x81", b"A"], kinds)

    def join(*ids: int) -> bytes:
        return texts.join(np.array(ids, np.uint32))

    assert join() == join(2) == b""
    assert join(1, 2, 1) == b"abcabc"
    assert join(3, 4, 5) == "\u2581".encode()
    assert join(6, 3, 4, 5, 6) == "A\u2581A".encode()
    assert join(3, 4, 1, 5) == "\ufffd\ufffdabc\ufffd".encode()
    assert join(6, 6, 3) == "\ufffd\ufffd\ufffd".encode()
    assert join(3, 4, 2, 5) == "\ufffd\ufffd\ufffd".encode()  # a token without text ends a run, too
    for ids, at in (([0], 0), ([1, 7], 1), ([3, 4, 0], 2)):
        with pytest.raises(IndexError, match=rf"ids\[{at}\] = {ids[at]} is no token"):
            join(*ids)
    with pytest.raises(ValueError, match=r"kinds: want shape \(1,\)"):
        TokenTexts([b"a"], kinds)
