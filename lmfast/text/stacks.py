"""Stacks of components that have no engine of their own: CLIP, GPT-1, BPE, WordPiece and WordLevel behind any words.

Each pre-tokenizer becomes a table of what goes on with a match (`lmfast.text.automata`), and normalizers, tables and
the model are compiled together (csrc/text/stack.h). What is left to the steps in Python: patterns without a table, a
ByteLevel before another step, Unigram, and a Metaspace that asks where a text begins that normalizers may have cut.

Exactness: tokenizers 0.23.3 (tests/text/test_stacks.py, test_components.py).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmfast.text import automata
from lmfast.text._stacks import MOST_STAGES, MOST_STEPS, Splitter, StackEngine
from lmfast.text.automata import Alternatives, Automaton, Node, OneOf, Repeat, Row, members
from lmfast.text.patterns import GPT2_PATTERN
from lmfast.text.pipeline import character_data
from lmfast.text.pipeline.bytes_alphabet import BYTE_OF
from lmfast.text.spec import (
    BPE,
    NFC,
    NFD,
    NFKC,
    NFKD,
    BertNormalizer,
    BertPreTokenizer,
    ByteLevel,
    CharDelimiterSplit,
    Digits,
    FixedLength,
    Lowercase,
    Metaspace,
    Nmt,
    Normalizer,
    Precompiled,
    PrefixSpace,
    Prepend,
    PreTokenizer,
    Punctuation,
    Replace,
    Split,
    Strip,
    StripAccents,
    TokenizerSpec,
    UnicodeScripts,
    Vocab,
    Whitespace,
    WhitespaceSplit,
    WordLevel,
    WordPiece,
)

__all__ = ["engine_for", "splitter_for"]

Step: TypeAlias = "tuple[str, str, bytes | Automaton, bytes]"
Stage: TypeAlias = "tuple[Automaton, str, bool] | tuple[bytes, str]"

_NO_ID = 0xFFFFFFFF
_MOST_IDS = (1 << 28) - 1
_NO_LIMIT = 2**63 - 1
_MOST_FIXED = 1000


def engine_for(spec: TokenizerSpec, *, cache_bytes: int, isa: str) -> StackEngine | None:
    """The engine of a spec whose model takes one word at a time; None where some part of it has no compiled form. Its
    code is the same for every `isa`.
    """
    model = spec.model
    if not isinstance(model, BPE | WordPiece | WordLevel) or (isinstance(model, BPE) and model.byte_level):
        return None
    if not len(model.vocab) or int(model.vocab.ids[-1]) >= _MOST_IDS:
        return None
    steps, stages = _steps(spec.normalizer), _stages(spec.pre_tokenizer)
    if steps is None or stages is None or len(steps) > MOST_STEPS or len(stages) > MOST_STAGES:
        return None
    if any(stage[1] == "first" for stage in stages) and not _starts_are_known(spec, stages):
        return None
    by_bytes = spec.pre_tokenizer[-1:] != () and isinstance(spec.pre_tokenizer[-1], ByteLevel)
    compiled = _bpe(model, by_bytes) if isinstance(model, BPE) else _words(model, by_bytes)
    if compiled is None:
        return None
    try:
        return StackEngine(compiled, int(model.vocab.ids[-1]) + 1, steps, stages, cache_bytes)
    except ValueError:
        return None  # a damaged map of characters; step by step what it says is followed within its bounds


def splitter_for(pre_tokenizers: tuple[PreTokenizer, ...]) -> Splitter | None:
    """The pre-tokenizers of a byte-level BPE compiled; None where some pattern has no table."""
    stages = _stages(pre_tokenizers)
    return None if stages is None or len(stages) > MOST_STAGES else Splitter(stages)


# Normalizers.


def _steps(normalizers: tuple[Normalizer, ...]) -> list[Step] | None:
    found: list[Step] = []
    for normalizer in normalizers:
        steps = _steps_of(normalizer)
        if steps is None:
            return None
        found += steps
    return found


def _steps_of(normalizer: Normalizer) -> list[Step] | None:
    match normalizer:
        case Precompiled(charsmap):
            return [("precompiled", "", charsmap, b"")]
        case Replace(pattern, content, literal):
            if literal:
                return [("replace", "", pattern.encode(), content.encode())] if pattern else []
            automaton = _pattern(pattern)
            return None if automaton is None else [("pattern", "", automaton, content.encode())]
        case Strip(left, right):
            ends = {(True, True): "both", (True, False): "left", (False, True): "right"}
            return [("strip", ends.get((left, right), ""), b"", b"")]
        case Prepend(prepend):
            return [("prepend", "", b"", prepend.encode())]
        case Lowercase():
            return [_rewrite("lowercase")]
        case StripAccents():
            return [_rewrite("strip_accents")]
        case Nmt():
            return [_rewrite("nmt")]
        case NFC() | NFD() | NFKC() | NFKD():
            return [("form", type(normalizer).__name__, b"", b"")]
        case BertNormalizer(clean, spaced, strip, lowercase):
            strip = lowercase if strip is None else strip
            accents: list[Step] = [("form", "NFD", b"", b""), _rewrite("strip_nonspacing")]
            return [
                *([_rewrite("clean")] if clean else []),
                *([_rewrite("space_ideographs")] if spaced else []),
                *(accents if strip else []),
                *([_rewrite("lowercase")] if lowercase else []),
            ]
        case _:
            return None


def _rewrite(name: str) -> Step:
    return "rewrite", name, b"", b""


def _starts_are_known(spec: TokenizerSpec, stages: list[Stage]) -> bool:
    """Whether the one piece from the place where the input begins is the one at the beginning of the text. What a
    normalizer puts there has the place of what it was put before, and so may several pieces of it.
    """
    if spec.normalizer:
        return stages[0][1] == "first" and not any(map(_may_move_the_start, spec.normalizer))
    return all(len(stage) == 3 for stage in stages[: [stage[1] for stage in stages].index("first")])


def _may_move_the_start(normalizer: Normalizer) -> bool:
    """Whether a text may begin further on in the input afterwards: then nothing is put before it as before a first."""
    match normalizer:
        case Lowercase() | Prepend():
            return False
        case Replace(pattern, content, literal):
            return not literal or len(pattern) != 1 or not content
        case _:
            return True


# Pre-tokenizers.


def _stages(pre_tokenizers: tuple[PreTokenizer, ...]) -> list[Stage] | None:
    found: list[Stage] = []
    for i, step in enumerate(pre_tokenizers):
        if isinstance(step, ByteLevel) and i + 1 < len(pre_tokenizers):
            return None
        stages = _stages_of(step)
        if stages is None:
            return None
        found += stages
    return found


def _stages_of(step: PreTokenizer) -> list[Stage] | None:
    match step:
        case Split(pattern, behavior, invert, literal):
            if literal and not pattern:
                return None
            automaton = _literal(pattern) if literal else _pattern(pattern)
            return None if automaton is None else [(automaton, behavior, invert)]
        case PrefixSpace():
            return [(b" ", "always")]
        case ByteLevel(add_prefix_space, use_regex):
            gpt2 = _pattern(GPT2_PATTERN)
            assert gpt2 is not None
            prefix: list[Stage] = [(b" ", "always")] if add_prefix_space else []
            return prefix + ([(gpt2, "isolated", False)] if use_regex else [])
        case Metaspace(replacement, scheme, split):
            mark: list[Stage] = [(replacement.encode(), scheme)]
            return mark + ([(_literal(replacement), "merged_with_next", False)] if split else [])
        case BertPreTokenizer():
            return [(_words_of_bert(), "removed", True)]
        case Whitespace():
            return [(_words_of_classes(), "removed", True)]
        case WhitespaceSplit():
            return [(_some(r"\S"), "removed", True)]
        case Punctuation(behavior):
            return [(_punctuation(), behavior, False)]
        case Digits(individual):
            return [(_digits(), "isolated" if individual else "contiguous", False)]
        case CharDelimiterSplit(delimiter):
            return [(_literal(delimiter), "removed", False)]
        case UnicodeScripts():
            return [(_scripts(), "removed", True)]
        case FixedLength(length) if length <= _MOST_FIXED:
            return [(_fixed(length), "isolated", False)]
        case _:
            return None


def _table(node: Node) -> Automaton:
    automaton = automata.compiled(node)
    assert automaton is not None
    return automaton


@lru_cache(16)
def _pattern(pattern: str) -> Automaton | None:
    return automata.compiled(automata.parse(pattern))


@lru_cache(16)
def _literal(text: str) -> Automaton:
    return _table(Row(tuple(OneOf(_only(character)) for character in text)))


@lru_cache(16)
def _only(character: str) -> NDArray[np.bool_]:
    found = np.zeros(0x110000, np.bool_)
    found[ord(character)] = True
    return found


@lru_cache(1)
def _some(atom: str) -> Automaton:
    return _table(Repeat(OneOf(members(atom)), 1, None))


@lru_cache(1)
def _words_of_bert() -> Automaton:
    marks = automata.runs(character_data.PUNCTUATION)
    return _table(Alternatives((OneOf(marks), Repeat(OneOf(~marks & ~members(r"\s")), 1, None))))


@lru_cache(1)
def _words_of_classes() -> Automaton:
    word, space = members(r"\w"), members(r"\s")
    return _table(Alternatives((Repeat(OneOf(word), 1, None), Repeat(OneOf(~word & ~space), 1, None))))


@lru_cache(1)
def _punctuation() -> Automaton:
    return _table(OneOf(automata.runs(character_data.PUNCTUATION)))


@lru_cache(1)
def _digits() -> Automaton:
    return _table(OneOf(automata.runs(character_data.NUMERIC)))


@lru_cache(4)
def _fixed(length: int) -> Automaton:
    return _table(Repeat(OneOf(np.ones(0x110000, np.bool_)), 1, length))


@lru_cache(1)
def _scripts() -> Automaton:
    """Runs of one script, which begin with a character that has it and go on with those that have none."""
    scripts = [automata.runs(found) for found in character_data.SCRIPTS.split(";") if found.strip()]
    classes = np.zeros(0x110000, np.uint8)
    for i, found in reversed(list(enumerate(scripts, 1))):
        classes[found] = i
    classes[ord(" ")] = 0
    n = len(scripts)
    table = np.full((n + 2, n + 2), automata.MATCH, np.uint16)
    table[0] = 0
    table[1] = [0, *range(2, n + 2), 0]
    for i in range(1, n + 1):
        table[i + 1, [0, i]] = i + 1
    return automata.from_table(classes, table)


# Models. Behind a ByteLevel tokens are what their characters stand for.


def _raw(token: bytes, by_bytes: bool) -> bytes | None:
    """A token as a word has it; None for one that no word has."""
    if not by_bytes:
        return token
    try:
        return bytes([BYTE_OF[character] for character in token.decode()])
    except (KeyError, UnicodeDecodeError):
        return None


def _raw_vocab(vocab: Vocab, by_bytes: bool) -> tuple[bytes, NDArray[np.int64], NDArray[np.uint32]]:
    if not by_bytes:
        return vocab.blob, vocab.offsets, vocab.ids
    found = [(raw, token_id) for token, token_id in vocab if (raw := _raw(token, True)) is not None]
    offsets = np.cumsum([0, *(len(raw) for raw, _ in found)], dtype=np.int64)
    return b"".join(raw for raw, _ in found), offsets, np.array([token_id for _, token_id in found], np.uint32)


def _words(model: WordPiece | WordLevel, by_bytes: bool) -> tuple[object, ...] | None:
    pieces = isinstance(model, WordPiece)
    prefix = _raw(model.continuing_subword_prefix.encode(), by_bytes) if isinstance(model, WordPiece) else b""
    if prefix is None or (by_bytes and pieces):
        return None  # a prefix stands before characters, and these are bytes
    most = min(model.max_input_chars_per_word, _NO_LIMIT) if isinstance(model, WordPiece) else _NO_LIMIT
    unk_id = -1 if model.unk_id is None else model.unk_id
    return "words", *_raw_vocab(model.vocab, by_bytes), prefix, unk_id, most, not pieces


def _bpe(model: BPE, by_bytes: bool) -> tuple[object, ...] | None:
    if by_bytes and model.byte_fallback:
        return None
    ids = dict(model.vocab)
    prefix, suffix = model.continuing_subword_prefix.encode(), model.end_of_word_suffix.encode()
    names = dict(zip(ids.values(), ids, strict=True))
    assert model.merges is not None
    merges = [(left, right, ids[names[left] + names[right][len(prefix) :]]) for left, right in model.merges.tolist()]
    fallback = None
    if model.byte_fallback:
        fallback = np.array([ids.get(b"<0x%02X>" % byte, _NO_ID) for byte in range(256)], np.uint32)
    return (
        "bpe",
        _symbols(ids, prefix, suffix, by_bytes),
        np.array(merges, np.uint32).reshape(-1, 3),
        fallback,
        prefix,
        suffix,
        -1 if model.unk_id is None else model.unk_id,
        model.fuse_unk,
        by_bytes,
        _raw_vocab(model.vocab, by_bytes) if model.ignore_merges else None,
    )


def _symbols(ids: dict[bytes, int], prefix: bytes, suffix: bytes, by_bytes: bool) -> NDArray[np.uint32]:
    """What each character is to begin with, where it is the first of a word or not, and the last one or not."""
    found: list[tuple[int, int]] = []
    for is_first in (True, False):
        for is_last in (True, False):
            before, behind = b"" if is_first else prefix, suffix if is_last else b""
            for token, token_id in ids.items():
                n = len(token) - len(before) - len(behind)
                if not 1 <= n <= 4 or not token.startswith(before) or not token.endswith(behind):
                    continue
                try:
                    character = token[len(before) : len(before) + n].decode()
                except UnicodeDecodeError:
                    continue
                number = BYTE_OF.get(character) if by_bytes else ord(character) if len(character) == 1 else None
                if number is not None:
                    found.append((number << 2 | is_first << 1 | is_last, token_id))
    return np.array(found, np.uint32).reshape(-1, 2)
