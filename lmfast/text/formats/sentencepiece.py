"""sentencepiece's `.model`: a serialized `ModelProto` with the pieces, the normalizer and how both were trained.

What decides about ids and text goes into the spec; everything else, fields of no known number too, is kept in
`TokenizerSpec.options` and written back. The pieces of `Kind.CONTROL` are the special tokens: sentencepiece never finds
them in text, and here they are plain text unless the caller allows them.

Refused, as sentencepiece 0.2.3 refuses them: an empty piece, no or two unknown pieces, byte pieces that are not exactly
`<0x00>`...`<0xFF>` where `byte_fallback` is true, byte pieces where it is not. Refused besides: a piece that stands
twice, a score that is not finite, the model types WORD and CHAR.

Source: sentencepiece 0.2.3, src/sentencepiece_model.proto and src/model_interface.cc.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

import numpy as np

from lmfast.text.formats.charsmap import charsmap_problem
from lmfast.text.formats.protobuf import BYTES, FIXED32, VARINT, Field, encode, fields, signed
from lmfast.text.spec import (
    AddedToken,
    Kind,
    ScoredBPE,
    SentencePieceDecoder,
    SentencePieceNormalizer,
    TokenizerFileError,
    TokenizerSpec,
    Unigram,
    Vocab,
)

__all__ = ["read_bytes", "to_bytes"]

_PIECES, _TRAINER, _NORMALIZER, _SELF_TEST, _DENORMALIZER = 1, 2, 3, 4, 5
_UNIGRAM, _BPE = 1, 2
_MODEL_TYPES = {_UNIGRAM: "UNIGRAM", _BPE: "BPE", 3: "WORD", 4: "CHAR"}
_BYTE_PIECES = {b"<0x%02X>" % byte for byte in range(256)}


class _Type(NamedTuple):
    """A type of the schema: its kind on the wire, and the Python type of its values."""

    kind: int
    python: type


_STRING, _INT, _BOOL, _FLOAT = _Type(BYTES, str), _Type(VARINT, int), _Type(VARINT, bool), _Type(FIXED32, float)

_TRAINER_FIELDS: dict[int, tuple[str, _Type]] = {
    1: ("input", _STRING),
    2: ("model_prefix", _STRING),
    3: ("model_type", _INT),
    4: ("vocab_size", _INT),
    5: ("accept_language", _STRING),
    6: ("self_test_sample_size", _INT),
    7: ("input_format", _STRING),
    10: ("character_coverage", _FLOAT),
    11: ("input_sentence_size", _INT),
    12: ("mining_sentence_size", _INT),
    13: ("training_sentence_size", _INT),
    14: ("seed_sentencepiece_size", _INT),
    15: ("shrinking_factor", _FLOAT),
    16: ("num_threads", _INT),
    17: ("num_sub_iterations", _INT),
    18: ("max_sentence_length", _INT),
    19: ("shuffle_input_sentence", _BOOL),
    20: ("max_sentencepiece_length", _INT),
    21: ("split_by_unicode_script", _BOOL),
    22: ("split_by_whitespace", _BOOL),
    23: ("split_by_number", _BOOL),
    24: ("treat_whitespace_as_suffix", _BOOL),
    25: ("split_digits", _BOOL),
    26: ("allow_whitespace_only_pieces", _BOOL),
    30: ("control_symbols", _STRING),
    31: ("user_defined_symbols", _STRING),
    32: ("vocabulary_output_piece_score", _BOOL),
    33: ("hard_vocab_limit", _BOOL),
    34: ("use_all_vocab", _BOOL),
    35: ("byte_fallback", _BOOL),
    36: ("required_chars", _STRING),
    40: ("unk_id", _INT),
    41: ("bos_id", _INT),
    42: ("eos_id", _INT),
    43: ("pad_id", _INT),
    44: ("unk_surface", _STRING),
    45: ("unk_piece", _STRING),
    46: ("bos_piece", _STRING),
    47: ("eos_piece", _STRING),
    48: ("pad_piece", _STRING),
    49: ("train_extremely_large_corpus", _BOOL),
    50: ("enable_differential_privacy", _BOOL),
    51: ("differential_privacy_noise_level", _FLOAT),
    52: ("differential_privacy_clipping_threshold", _INT),
    53: ("pretokenization_delimiter", _STRING),
    54: ("seed_sentencepieces_file", _STRING),
}
_REPEATED = frozenset({"input", "accept_language", "control_symbols", "user_defined_symbols"})

_CHARSMAP = _Type(BYTES, bytes)
_NORMALIZER_FIELDS: dict[int, tuple[str, _Type]] = {
    1: ("name", _STRING),
    2: ("precompiled_charsmap", _CHARSMAP),
    3: ("add_dummy_prefix", _BOOL),
    4: ("remove_extra_whitespaces", _BOOL),
    5: ("escape_whitespaces", _BOOL),
    6: ("normalization_rule_tsv", _STRING),
}
_SAMPLE_FIELDS: dict[int, tuple[str, _Type]] = {1: ("input", _STRING), 2: ("expected", _STRING)}
_FLAGS = ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces")
_UNKNOWN = "unknown"
"""The name under which fields of no known number are kept, in hexadecimal digits."""


def read_bytes(data: bytes, *, where: str, name: str | None = None) -> TokenizerSpec:
    """The tokenizer in the contents of a `.model` file. `where` is the name of the file, for messages.

    Errors: TokenizerFileError for everything that is wrong with the file or not supported.
    """
    pieces = _Pieces(where)
    messages: dict[int, Field] = {}
    rest = b""
    for field in fields(data, where):
        if field.number == _PIECES:
            pieces.add(field)
        elif field.number in (_TRAINER, _NORMALIZER, _SELF_TEST, _DENORMALIZER):
            if field.number in messages:
                _fail(where, field.at, f"a second field {field.number}")
            _bytes_of(field, where)
            messages[field.number] = field
        else:
            rest += data[field.at : field.stop]
    trainer = _message(messages.get(_TRAINER), _TRAINER_FIELDS, where)
    suffix = trainer.pop("treat_whitespace_as_suffix", False)
    normalizer, normalizer_options = _read_normalizer(messages.get(_NORMALIZER), where)
    denormalizer, denormalizer_options = _read_normalizer(messages.get(_DENORMALIZER), where)
    decoder = SentencePieceDecoder(
        trainer.pop("unk_surface", " \u2047 "),
        normalizer.add_dummy_prefix,
        normalizer.remove_extra_whitespaces,
        suffix,
        denormalizer if _DENORMALIZER in messages else None,
    )
    model = pieces.model(trainer.pop("model_type", _UNIGRAM), trainer.pop("byte_fallback", False))
    trainer.pop("unk_id", None)
    if trainer.get("vocab_size") == len(model.vocab):
        del trainer["vocab_size"]
    options = {
        "trainer_spec": trainer,
        "normalizer_spec": normalizer_options,
        "denormalizer_spec": denormalizer_options,
        "self_test_data": _read_self_test(messages.get(_SELF_TEST), where),
        _UNKNOWN: rest.hex(),
    }
    return TokenizerSpec(
        model,
        normalizer=(replace(normalizer, treat_whitespace_as_suffix=suffix),),
        added_tokens=_control_tokens(model),
        name=name,
        options=tuple((f"sentencepiece.{key}", json.dumps(value)) for key, value in sorted(options.items()) if value),
        decoder=(decoder,),
    )


def _fail(where: str, at: int, problem: str) -> NoReturn:
    raise TokenizerFileError(f"{where}: byte offset {at}: {problem}")


def _bytes_of(field: Field, where: str) -> bytes:
    if not isinstance(field.value, bytes) or field.kind != BYTES:
        _fail(where, field.at, f"field {field.number} has wire type {field.kind}; want {BYTES}")
    return field.value


class _Pieces:
    """The pieces of a file as they are read."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.pieces: list[bytes] = []
        self.scores: list[float] = []
        self.kinds: list[int] = []
        self.at: list[int] = []

    def add(self, field: Field) -> None:
        piece, score, kind = b"", 0.0, int(Kind.NORMAL)
        for inner in fields(_bytes_of(field, self.where), self.where, field.inside):
            number, wire, value = inner.number, inner.kind, inner.value
            if number == 1 and wire == BYTES and isinstance(value, bytes):
                piece = value
            elif number == 2 and wire == FIXED32 and isinstance(value, bytes):
                (score,) = struct.unpack("<f", value)
                if not math.isfinite(score):
                    _fail(self.where, inner.at, f"the score of piece {len(self.pieces)} is {score}")
            elif number == 3 and wire == VARINT and isinstance(value, int):
                kind = value
                if not Kind.NORMAL <= kind <= Kind.BYTE:
                    _fail(self.where, inner.at, f"the type of piece {len(self.pieces)} is {kind}; want 1 to 6")
            else:
                _fail(self.where, inner.at, f"field {number} of wire type {wire} in a piece is not supported")
        if not piece:
            _fail(self.where, field.at, f"piece {len(self.pieces)} is empty")
        self.pieces.append(piece)
        self.scores.append(score)
        self.kinds.append(kind)
        self.at.append(field.at)

    def model(self, model_type: int, byte_fallback: bool) -> ScoredBPE | Unigram:
        """The model that the pieces make."""
        if model_type not in (_UNIGRAM, _BPE):
            raise TokenizerFileError(
                f"{self.where}: trainer_spec.model_type {_MODEL_TYPES.get(model_type, model_type)} is not supported; "
                "supported: UNIGRAM, BPE"
            )
        self._check_unique()
        unknown = [i for i, kind in enumerate(self.kinds) if kind == Kind.UNKNOWN]
        if len(unknown) != 1:
            raise TokenizerFileError(f"{self.where}: {len(unknown)} pieces of type UNKNOWN; want one")
        self._check_bytes(byte_fallback)
        lengths = np.fromiter(map(len, self.pieces), np.int64, len(self.pieces))
        vocab = Vocab(
            np.arange(len(self.pieces), dtype=np.uint32), np.append(0, np.cumsum(lengths)), b"".join(self.pieces)
        )
        kinds = np.array(self.kinds, np.uint8)
        scores = np.array(self.scores, np.float32)
        if model_type == _BPE:
            return ScoredBPE(vocab, scores, kinds, unknown[0], byte_fallback)
        return Unigram(vocab, scores.astype(np.float64), kinds, unknown[0], byte_fallback)

    def _check_unique(self) -> None:
        first: dict[bytes, int] = {}
        for i, piece in enumerate(self.pieces):
            if first.setdefault(piece, i) != i:
                _fail(self.where, self.at[i], f"piece {i} is the same as piece {first[piece]}: {piece[:60]!r}")

    def _check_bytes(self, byte_fallback: bool) -> None:
        found = {piece for piece, kind in zip(self.pieces, self.kinds, strict=True) if kind == Kind.BYTE}
        if byte_fallback and found != _BYTE_PIECES:
            raise TokenizerFileError(f"{self.where}: byte_fallback needs the 256 pieces <0x00> to <0xFF> of type BYTE")
        if found and not byte_fallback:
            i = self.kinds.index(Kind.BYTE)
            _fail(self.where, self.at[i], f"piece {i} is of type BYTE, and byte_fallback is false")


def _message(field: Field | None, known: dict[int, tuple[str, _Type]], where: str) -> dict[str, Any]:
    """The fields of a message by name; what has no known number or type is kept as hexadecimal digits."""
    values: dict[str, Any] = {}
    if field is None:
        return values
    data, rest = _bytes_of(field, where), b""
    for inner in fields(data, where, field.inside):
        name, kind = known.get(inner.number, ("", _STRING))
        if not name or inner.kind != kind.kind:
            rest += data[inner.at - field.inside : inner.stop - field.inside]
            continue
        value: Any = inner.value
        if kind is _STRING:
            try:
                value = value.decode()
            except UnicodeDecodeError:
                _fail(where, inner.inside, f"{name} is not UTF-8")
        elif kind is _FLOAT:
            (value,) = struct.unpack("<f", value)
            if not math.isfinite(value):
                _fail(where, inner.inside, f"{name} is {value}")
        elif kind is not _CHARSMAP:
            value = bool(value) if kind is _BOOL else signed(value)
        if name in _REPEATED:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    if rest:
        values[_UNKNOWN] = rest.hex()
    return values


def _read_normalizer(field: Field | None, where: str) -> tuple[SentencePieceNormalizer, dict[str, Any]]:
    """The normalizer in a NormalizerSpec, and what else stands there."""
    values = _message(field, _NORMALIZER_FIELDS, where)
    flags = {name: values.pop(name) for name in _FLAGS if name in values}
    charsmap = values.pop("precompiled_charsmap", b"")
    if charsmap and field and (problem := charsmap_problem(charsmap)):
        _fail(where, field.at, f"precompiled_charsmap: {problem}")
    return SentencePieceNormalizer(charsmap, **flags), values


def _read_self_test(field: Field | None, where: str) -> list[dict[str, Any]]:
    samples = []
    for inner in fields(_bytes_of(field, where), where, field.inside) if field else ():
        if inner.number != 1:
            _fail(where, inner.at, f"field {inner.number} in self_test_data is not supported")
        samples.append(_message(inner, _SAMPLE_FIELDS, where))
    return samples


def _control_tokens(model: ScoredBPE | Unigram) -> tuple[AddedToken, ...]:
    assert model.kinds is not None
    tokens = []
    for token_id in np.flatnonzero(model.kinds == Kind.CONTROL).tolist():
        piece = model.vocab.find(token_id) or b""
        try:
            tokens.append(AddedToken(piece.decode(), token_id))
        except UnicodeDecodeError:
            continue
    return tuple(tokens)


def to_bytes(spec: TokenizerSpec) -> bytes:
    """The `.model` of a tokenizer: sentencepiece 0.2.3 loads it and gives the same ids and the same text.

    Options of the names that `read_bytes` gives are written; without them, training parameters are left out.
    Raises ValueError, with the reason, for a tokenizer that this format cannot hold.
    """
    model = spec.model
    if not isinstance(model, (ScoredBPE, Unigram)):
        raise _cannot_hold(f"a {type(model).__name__} model; it holds ScoredBPE and Unigram")
    if isinstance(model, Unigram) and model.rule != "sentencepiece":
        raise _cannot_hold(f"a Unigram model by the rule of {model.rule}")
    if len(spec.normalizer) != 1 or not isinstance(normalizer := spec.normalizer[0], SentencePieceNormalizer):
        raise _cannot_hold("any normalizer but one SentencePieceNormalizer")
    if spec.pre_tokenizer or spec.post_processor:
        raise _cannot_hold("a pre-tokenizer or a post-processor")
    if len(spec.decoder) != 1 or not isinstance(decoder := spec.decoder[0], SentencePieceDecoder):
        raise _cannot_hold("any decoder but one SentencePieceDecoder")
    same = ("add_dummy_prefix", "remove_extra_whitespaces", "treat_whitespace_as_suffix")
    if any(getattr(normalizer, name) != getattr(decoder, name) for name in same):
        raise _cannot_hold(f"a decoder and a normalizer of which {', '.join(same)} differ")
    if set(spec.added_tokens) - set(_control_tokens(model) if model.kinds is not None else ()):
        raise _cannot_hold("added tokens that are no pieces of type CONTROL")
    options = {
        key.removeprefix("sentencepiece."): json.loads(text)
        for key, text in spec.options
        if key.startswith("sentencepiece.")
    }
    trainer = {"vocab_size": len(model.vocab), **options.get("trainer_spec", {})} | {
        "model_type": _BPE if isinstance(model, ScoredBPE) else _UNIGRAM,
        "treat_whitespace_as_suffix": normalizer.treat_whitespace_as_suffix,
        "byte_fallback": model.byte_fallback,
        "unk_id": model.unk_id,
        "unk_surface": decoder.unk_surface,
    }
    out = [_write_pieces(model)]
    out.append(encode(_TRAINER, _write_message(trainer, _TRAINER_FIELDS)))
    out.append(encode(_NORMALIZER, _write_normalizer(normalizer, options.get("normalizer_spec", {}))))
    if samples := options.get("self_test_data"):
        data = b"".join(encode(1, _write_message(sample, _SAMPLE_FIELDS)) for sample in samples)
        out.append(encode(_SELF_TEST, data))
    if decoder.denormalizer:
        denormalizer = _write_normalizer(decoder.denormalizer, options.get("denormalizer_spec", {}))
        out.append(encode(_DENORMALIZER, denormalizer))
    return b"".join(out) + bytes.fromhex(options.get(_UNKNOWN, ""))


def _cannot_hold(what: str) -> ValueError:
    return ValueError(f"a sentencepiece model cannot hold {what}")


def _write_pieces(model: ScoredBPE | Unigram) -> bytes:
    vocab = model.vocab
    if not np.array_equal(vocab.ids, np.arange(len(vocab))):
        raise _cannot_hold("ids with holes: they are 0, 1, 2, ...")
    if model.unk_id is None:
        raise _cannot_hold("a model without an unknown piece")
    kinds = np.full(len(vocab), Kind.NORMAL, np.uint8) if model.kinds is None else model.kinds.copy()
    if model.kinds is None:
        kinds[model.unk_id] = Kind.UNKNOWN
    if np.flatnonzero(kinds == Kind.UNKNOWN).tolist() != [model.unk_id]:
        raise _cannot_hold(f"another unknown piece than {model.unk_id}")
    out = []
    for (piece, _), score, kind in zip(vocab, model.scores.tolist(), kinds.tolist(), strict=True):
        message = encode(1, piece) + encode(2, float(score))
        out.append(encode(_PIECES, message if kind == Kind.NORMAL else message + encode(3, kind)))
    return b"".join(out)


def _write_normalizer(normalizer: SentencePieceNormalizer, options: dict[str, Any]) -> bytes:
    values = {**options, "precompiled_charsmap": normalizer.charsmap}
    return _write_message(values | {name: getattr(normalizer, name) for name in _FLAGS}, _NORMALIZER_FIELDS)


def _write_message(values: dict[str, Any], known: dict[int, tuple[str, _Type]]) -> bytes:
    """The fields of a message by increasing number, then what is kept in hexadecimal digits."""
    names = {name for name, _ in known.values()} | {_UNKNOWN}
    if strange := sorted(set(values) - names):
        raise _cannot_hold(f"an option {strange[0]!r}; these are known: {', '.join(sorted(names))}")
    out = []
    for number, (name, kind) in sorted(known.items()):
        if name not in values:
            continue
        for value in values[name] if name in _REPEATED else [values[name]]:
            out.append(encode(number, value.encode() if kind is _STRING else kind.python(value)))
    return b"".join(out) + bytes.fromhex(values.get(_UNKNOWN, ""))
