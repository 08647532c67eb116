"""sentencepiece models that are wrong: each is refused by a TokenizerFileError, or loads, in bounded memory."""

import os
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converted import charsmap_of

import lmfast
from lmfast.text import formats
from lmfast.text.formats.protobuf import encode
from lmfast.text.spec import Kind, TokenizerFileError, Unigram

MAX_PEAK_BYTES = 40 << 20
CHARSMAP = struct.pack("<I", 8) + struct.pack("<2I", 1 << 10, 0) + b"x\0"


def piece(text: bytes, score: float = 0.0, kind: int = Kind.NORMAL) -> bytes:
    return encode(1, encode(1, text) + encode(2, score) + encode(3, int(kind)))


UNK = piece(b"<unk>", 0.0, Kind.UNKNOWN)
BYTES = b"".join(piece(b"<0x%02X>" % byte, 0.0, Kind.BYTE) for byte in range(256))
A = piece(b"a", -1.0)
GOOD = UNK + piece(b"<s>", 0.0, Kind.CONTROL) + A + piece(b"\xe2\x96\x81a", -2.0)
TRAINER = encode(2, encode(3, 2) + encode(35, 1) + encode(41, 1))
NORMALIZER = encode(3, encode(1, b"custom") + encode(2, CHARSMAP) + encode(3, 1))
WHOLE = GOOD + BYTES + TRAINER + NORMALIZER

RULES = {"a": "X", "e\u0301": "E", "\u00ad": "--", "\u00a9": "(c)", "f": "ffi", "\u0628\u0301": "", " ": "  "}

WRONG: dict[str, tuple[bytes, str]] = {
    "no-unknown": (A, "0 pieces of type UNKNOWN; want one"),
    "two-unknowns": (UNK + piece(b"x", 0.0, Kind.UNKNOWN), "2 pieces of type UNKNOWN"),
    "empty-piece": (UNK + piece(b""), "piece 1 is empty"),
    "no-piece": (UNK + encode(1, encode(2, 1.0)), "piece 1 is empty"),
    "twice": (UNK + A + A, "piece 2 is the same as piece 1: b'a'"),
    "nan": (UNK + piece(b"b", float("nan")), "the score of piece 1 is nan"),
    "infinity": (UNK + piece(b"b", float("-inf")), "the score of piece 1 is -inf"),
    "kind-0": (UNK + piece(b"b", 0.0, 0), "the type of piece 1 is 0; want 1 to 6"),
    "kind-7": (UNK + piece(b"b", 0.0, 7), "the type of piece 1 is 7"),
    "kind-large": (UNK + piece(b"b", 0.0, 2**63), "the type of piece 1 is 9223372036854775808"),
    "byte-without-fallback": (UNK + piece(b"<0x00>", 0.0, Kind.BYTE), "byte_fallback is false"),
    "bytes-missing": (UNK + TRAINER, "byte_fallback needs the 256 pieces <0x00> to <0xFF>"),
    "byte-no-byte": (UNK + BYTES + piece(b"<0xZZ>", 0.0, Kind.BYTE) + TRAINER, "byte_fallback needs the 256 pieces"),
    "word-model": (UNK + encode(2, encode(3, 3)), "trainer_spec.model_type WORD is not supported"),
    "char-model": (UNK + encode(2, encode(3, 4)), "trainer_spec.model_type CHAR is not supported"),
    "no-model": (UNK + encode(2, encode(3, 99)), "trainer_spec.model_type 99 is not supported"),
    "two-trainers": (UNK + TRAINER + TRAINER, "a second field 2"),
    "piece-a-number": (UNK + encode(1, 3), "field 1 has wire type 0; want 2"),
    "text-no-utf8": (UNK + encode(2, encode(2, b"\xff")), "model_prefix is not UTF-8"),
    "coverage-nan": (UNK + encode(2, encode(10, float("nan"))), "character_coverage is nan"),
    "piece-field": (UNK + encode(1, encode(9, b"x")), "field 9 of wire type 2 in a piece is not supported"),
    "charsmap-short": (UNK + encode(3, encode(2, b"\0")), "precompiled_charsmap: 1 bytes; want at least 4"),
    "charsmap-size": (UNK + encode(3, encode(2, b"\xff" * 12)), "precompiled_charsmap: a trie of 4294967295 bytes"),
    "charsmap-odd": (UNK + encode(3, encode(2, struct.pack("<I", 3) + b"abcde\0")), "a trie of 3 bytes"),
    "charsmap-no-end": (UNK + encode(3, encode(2, CHARSMAP[:-1])), "the last string has no end"),
    "group": (UNK + b"\x0b\x0c", "wire type 3 is not supported"),
    "field-0": (UNK + b"\x00\x00", "field number 0 is not allowed"),
    "long-number": (UNK + b"\x10" + b"\xff" * 10 + b"\x01", "a number of more than 64 bits"),
    "huge-length": (UNK + b"\x0a\xff\xff\xff\xff\x0f", "field 1 has 4294967295 bytes, and 0 are left"),
    "self-test-field": (UNK + encode(4, encode(2, b"x")), "field 2 in self_test_data is not supported"),
}


TEXTS = ["a b\u00e9 \u4f60", "", "\0", "a" * 50, "ab" * 30 + " " * 9, "\ud800x", b"\xff\xe2\x96a\xf0\x9f", "\u2581" * 9]


def use(tokenizer: lmfast.Tokenizer, path: Path) -> None:
    """What loads works in every way, whatever it says."""
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert tokenizer.encode_with_offsets(text).ids.tolist() == ids.tolist()
        assert tokenizer.count(text) == len(ids)
        decoder = tokenizer.decoder()
        assert "".join([decoder.push(i) for i in ids.tolist()]) + decoder.finish() == tokenizer.decode(ids)
        tokenizer.truncate(text, 2)
        if isinstance(tokenizer.spec.model, Unigram):
            tokenizer.nbest(text, 3)
            tokenizer.sample(text, seed=1, alpha=0.5)
            tokenizer.sample_and_score(text, 3, seed=1, replacement=False)
            tokenizer.entropy(text)
        else:
            tokenizer.sample(text, seed=1, dropout=0.5)
    tokenizer.decode(np.arange(tokenizer.vocab_size)[:300])
    tokenizer.save(path.with_name("again.model"))
    assert lmfast.Tokenizer.from_file(path.with_name("again.model")) == tokenizer


def read(path: Path, data: bytes) -> Any:
    path.write_bytes(data)
    tracemalloc.start()
    try:
        tokenizer = lmfast.Tokenizer.from_file(path)
        use(tokenizer, path)
        return tokenizer.spec
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MAX_PEAK_BYTES + 8 * len(data)


@pytest.mark.parametrize("name", WRONG)
def test_safety_model(name: str, tmp_path: Path) -> None:
    data, place = WRONG[name]
    path = tmp_path / "damaged.model"
    with pytest.raises(TokenizerFileError) as caught:
        read(path, data)
    assert str(caught.value).startswith(f"{path}: ")
    assert place in str(caught.value)


def test_safety_truncated_at_every_byte(tmp_path: Path) -> None:
    """A file cut short is refused, or is the good file up to there."""
    path = tmp_path / "short.model"
    data = GOOD + TRAINER[:0] + NORMALIZER
    for n in range(1, len(data)):
        try:
            spec = read(path, data[:n])
        except TokenizerFileError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
        else:
            assert len(spec.model.vocab) <= 4


@pytest.mark.parametrize("units", [[0], [0xFFFFFFFF] * 2, [1 << 10, 0x1FF], [0, 0, 0], [(1 << 10) ^ 0x100] * 300])
def test_safety_units_lead_nowhere(units: list[int], tmp_path: Path) -> None:
    """Tries whose units point outside or in circles: the file is refused, or replaces nothing it does not say."""
    charsmap = struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + b"x\0"
    try:
        spec = read(tmp_path / "circle.model", GOOD + encode(3, encode(2, charsmap)))
    except TokenizerFileError:
        return
    lmfast.Tokenizer(spec).encode("".join(map(chr, range(1, 0x800))))


def test_unit_pieces_that_are_odd_but_right(tmp_path: Path) -> None:
    """A piece of 2 MB, a NUL, one that is not UTF-8, and fields of no known number."""
    odd = [piece(b"\0"), piece(b"a" * (2 << 20)), piece(b"\xff\xfe"), encode(222, b"ours"), encode(2, encode(201, 7))]
    path = tmp_path / "odd.model"
    spec = read(path, GOOD + b"".join(odd))
    assert [len(token) for token, _ in spec.model.vocab] == [5, 3, 1, 4, 1, 2 << 20, 2]
    again = tmp_path / "again.model"
    formats.write(spec, again)
    assert formats.read(again) == spec
    assert b"ours" in again.read_bytes()
    assert encode(201, 7) in again.read_bytes()


def test_safety_random_damage(tmp_path: Path, rng: Any) -> None:
    """Bytes changed, cut out, doubled: a spec that encodes, or a ValueError, nothing else."""
    draw = random.Random(int(rng.integers(2**32)))
    path = tmp_path / "x.model"
    refused = 0
    for _ in range(120):
        data = bytearray(WHOLE)
        for _ in range(draw.choice([1, 1, 1, 2, 5])):
            at = draw.randrange(len(data))
            end = min(len(data), at + draw.choice([0, 1, 1, 2, 9, 300]))
            data[at:end] = draw.choice([b"", draw.randbytes(1), b"\0", b"\xff", bytes(data[at:end]) * 2])
        try:
            read(path, bytes(data))
        except TokenizerFileError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
            refused += 1
    assert refused > 40


@pytest.mark.skipif(os.environ.get("LMFAST_CHECK") == "1", reason="what a damaged map means has no reference")
def test_safety_random_units(tmp_path: Path, rng: Any) -> None:
    """A map of characters with units changed, in the normalizer and for the text that is decoded."""
    draw = random.Random(int(rng.integers(2**32)))
    good = charsmap_of(RULES)
    n = int.from_bytes(good[:4], "little")
    loaded = 0
    for _ in range(60):
        bad = bytearray(good)
        for _ in range(draw.choice([1, 2, 8])):
            at = 4 + 4 * draw.randrange(n // 4)
            flipped = int.from_bytes(bad[at : at + 4], "little") ^ 1 << draw.randrange(32)
            struct.pack_into(
                "<I", bad, at, draw.choice([draw.getrandbits(32), flipped, 0, 1 << 31 | draw.getrandbits(9)])
            )
        try:
            read(tmp_path / "x.model", GOOD + encode(draw.choice([3, 5]), encode(2, bytes(bad))))
        except TokenizerFileError:
            continue
        loaded += 1
    assert loaded > 0


@pytest.mark.parametrize("model_type", [1, 2])
def test_safety_piece_of_two_megabytes(model_type: int, tmp_path: Path) -> None:
    """Looking for the ways to cut it must not take the square of its length."""
    long = piece(b"ab" * (1 << 20), -1.0) + piece("é".encode() * 300_000, -9.0)
    data = UNK + A + piece(b"b", -1.0) + piece(b"ab", -3.0) + long + encode(2, encode(3, model_type))
    (tmp_path / "long.model").write_bytes(data)
    tokenizer = lmfast.Tokenizer.from_file(tmp_path / "long.model")
    assert tokenizer.decode(tokenizer.encode("ab" * 9 + "éé")) == " \u2047 " + "ab" * 9 + " \u2047 "
