"""What sentencepiece's trainers can be told, by its own names and with its defaults, and the pieces that it implies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from lmfast.text.charsmaps import CHARSMAPS, charsmap
from lmfast.text.spec import Kind

__all__ = ["SentencePieceOptions"]


@dataclass(frozen=True)
class SentencePieceOptions:
    """The options of sentencepiece 0.2.3 that decide what is learnt; its own documentation describes them.

    normalizer  a name in `lmfast.text.charsmaps.CHARSMAPS` (its `normalization_rule_name`), or the bytes of a charsmap
    """

    normalizer: str | bytes = "nmt_nfkc"
    character_coverage: float = 0.9995
    required_chars: str = ""
    control_symbols: tuple[str, ...] = ()
    user_defined_symbols: tuple[str, ...] = ()
    byte_fallback: bool = False
    split_digits: bool = False
    split_by_unicode_script: bool = True
    split_by_number: bool = True
    split_by_whitespace: bool = True
    treat_whitespace_as_suffix: bool = False
    allow_whitespace_only_pieces: bool = False
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    max_sentencepiece_length: int = 16
    max_sentence_length: int = 4192
    hard_vocab_limit: bool = True
    unk_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    pad_id: int = -1
    unk_piece: str = "<unk>"
    bos_piece: str = "<s>"
    eos_piece: str = "</s>"
    pad_piece: str = "<pad>"
    unk_surface: str = " \u2047 "

    def __post_init__(self) -> None:
        for name in ("control_symbols", "user_defined_symbols"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise TypeError(f"{name}: want strings, got one: {value!r}")
            object.__setattr__(self, name, tuple(value))
        for name, least, most in (
            ("character_coverage", 0.98, 1.0),
            ("max_sentencepiece_length", 1, 512),
            ("max_sentence_length", 10, 2**30 - 1),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} = {getattr(self, name)}; want {least} to {most}")
        if isinstance(self.normalizer, str) and self.normalizer not in CHARSMAPS:
            raise ValueError(f"normalizer = {self.normalizer!r}; want one of {', '.join(CHARSMAPS)}")
        pieces = (self.unk_piece, self.bos_piece, self.eos_piece, self.pad_piece)
        if "" in pieces or "" in self.control_symbols or "" in self.user_defined_symbols:
            raise ValueError("a piece is empty; want at least one character")
        if "\u2585" in self.required_chars:
            raise ValueError("required_chars: U+2585 stands for what is unknown; no piece can have it")

    @property
    def charsmap(self) -> bytes:
        """The bytes of the normalizer."""
        return charsmap(self.normalizer) if isinstance(self.normalizer, str) else self.normalizer

    def meta_pieces(self, vocab_size: int) -> dict[int, tuple[str, Kind]]:
        """What is not learnt, as sentencepiece numbers it: id -> (piece, kind)."""
        if self.unk_id < 0:
            raise ValueError(f"unk_id = {self.unk_id}; want 0 or more: every tokenizer has an unknown piece")
        pieces: dict[int, tuple[str, Kind]] = {}
        for name in ("unk", "bos", "eos", "pad"):
            token_id, piece = getattr(self, f"{name}_id"), getattr(self, f"{name}_piece")
            if token_id < 0:
                continue
            if token_id >= vocab_size:
                raise ValueError(f"{name}_id = {token_id}; want below vocab_size = {vocab_size}")
            if token_id in pieces or (name != "unk" and piece == self.unk_piece):
                raise ValueError(f"{name}_id = {token_id}, {name}_piece = {piece!r}: the id or the piece is taken")
            pieces[token_id] = piece, Kind.UNKNOWN if name == "unk" else Kind.CONTROL
        named = {piece: token_id for token_id, (piece, _) in pieces.items()}
        seen: set[str] = set()
        free = 0
        for piece, kind in self._symbols():
            if piece in seen or piece == self.unk_piece:
                raise ValueError(f"{piece!r} is a symbol twice")
            seen.add(piece)
            if piece in named:
                pieces[named[piece]] = piece, kind
                continue
            while free in pieces:
                free += 1
            pieces[free] = piece, kind
        return pieces

    def _symbols(self) -> Iterable[tuple[str, Kind]]:
        yield from ((piece, Kind.CONTROL) for piece in self.control_symbols)
        yield from ((piece, Kind.USER_DEFINED) for piece in self.user_defined_symbols)
        if self.byte_fallback:
            yield from ((f"<0x{byte:02X}>", Kind.BYTE) for byte in range(256))

    def trainer_spec(self) -> dict[str, object]:
        """What a `.model` file says of them."""
        apart = {"normalizer", "add_dummy_prefix", "remove_extra_whitespaces", "treat_whitespace_as_suffix"}
        apart |= {"byte_fallback", "unk_id", "unk_surface"}
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in apart}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
