"""The truth of sentencepiece models: normalizer, BPE by scores, Unigram, the lattice, decoding.

Arrays are indexed by id: `pieces` (bytes, empty where an id has none), `scores`, `kinds` in the numbers of the file
format (1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte). Text is bytes. Sources: sentencepiece 0.2.3
(normalizer.cc, bpe_model.cc, unigram_model.cc, sentencepiece_processor.cc) and tokenizers 0.23.3 (models/unigram).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np

from lmfast.text.spec import ScoredBPE, SentencePieceDecoder, SentencePieceNormalizer, TokenizerSpec, Unigram

__all__ = [
    "Model",
    "best_path",
    "decode",
    "encode",
    "entropy",
    "log_partition",
    "marginals",
    "merge",
    "model_of",
    "normalize",
    "parse_charsmap",
    "segmentations",
]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
MARKER, REPLACEMENT = "\u2581".encode(), "\ufffd".encode()
RESET = 100000.0

Segment = tuple[int, int, int]
"""A piece of a text: where it begins and ends, and its id; -1: unknown characters."""


@dataclass(frozen=True)
class Model:
    """A model and the options of its normalizer and decoder."""

    pieces: Sequence[bytes]
    scores: Sequence[float]
    kinds: Sequence[int]
    unigram: bool
    rule: str = "sentencepiece"
    unk_id: int | None = 0
    byte_fallback: bool = False
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True
    treat_whitespace_as_suffix: bool = False
    unk_surface: str = " \u2047 "
    ids: dict[bytes, int] = field(init=False)
    """The ids of the pieces that text is segmented into."""

    def __post_init__(self) -> None:
        wanted = {NORMAL, USER_DEFINED} | (set() if self.unigram else {UNUSED})
        if self.rule == "tokenizers":
            wanted = set(range(1, 7))
        kinds = zip(self.pieces, self.kinds, strict=True)
        object.__setattr__(self, "ids", {p: i for i, (p, kind) in enumerate(kinds) if p and kind in wanted})

    @property
    def marker(self) -> bytes:
        """What a space becomes."""
        return MARKER if self.escape_whitespaces else b" "

    @property
    def symbols(self) -> list[bytes]:
        """User-defined pieces, the longest first."""
        mine = [p for p, kind in zip(self.pieces, self.kinds, strict=True) if kind == USER_DEFINED]
        return sorted(mine, key=len, reverse=True) if self.rule == "sentencepiece" else []


@lru_cache(maxsize=16)
def model_of(spec: TokenizerSpec) -> Model:
    """The model of a spec that a `.model` is read into.

    A piece of a single NUL is none of a text where it is unused or bytes are pieces.
    """
    model, normalizer = spec.model, spec.normalizer[0]
    decoder = spec.decoder[0] if spec.decoder else SentencePieceDecoder()
    assert isinstance(model, ScoredBPE | Unigram)
    assert isinstance(normalizer, SentencePieceNormalizer)
    assert isinstance(decoder, SentencePieceDecoder)
    n = int(model.vocab.ids[-1]) + 1 if len(model.vocab) else 0
    pieces, scores, kinds = [b""] * n, [0.0] * n, [CONTROL] * n
    for at, (piece, i) in enumerate(model.vocab):
        pieces[i], scores[i] = piece, float(model.scores[at])
        kinds[i] = NORMAL if model.kinds is None else int(model.kinds[at])
        if model.kinds is None and i == model.unk_id:
            kinds[i] = UNKNOWN
        if piece == b"\0" and (model.byte_fallback or kinds[i] == UNUSED):
            kinds[i] = CONTROL
    return Model(
        pieces,
        scores,
        kinds,
        isinstance(model, Unigram),
        unk_id=model.unk_id,
        byte_fallback=model.byte_fallback,
        charsmap=normalizer.charsmap,
        add_dummy_prefix=normalizer.add_dummy_prefix,
        remove_extra_whitespaces=normalizer.remove_extra_whitespaces,
        escape_whitespaces=normalizer.escape_whitespaces,
        treat_whitespace_as_suffix=normalizer.treat_whitespace_as_suffix,
        unk_surface=decoder.unk_surface,
    )


# Normalizing.


@lru_cache(maxsize=16)
def parse_charsmap(blob: bytes) -> dict[bytes, bytes]:
    """The rules of a precompiled map of characters: a walk over all paths of its double array."""
    if not blob:
        return {}
    (size,) = struct.unpack_from("<I", blob)
    units, strings = struct.unpack_from(f"<{size // 4}I", blob, 4), blob[4 + size :]

    labels, alphabet = np.array(units, np.uint32) & np.uint32(0x800000FF), np.arange(256)

    def base(at: int) -> int:
        offset: int = units[at] >> 10 << ((units[at] & 512) >> 6)
        return at ^ offset

    rules = {}
    stack = [(0, b"")]
    while stack:
        at, key = stack.pop()
        if units[at] & 256:
            start = units[base(at)] & 0x7FFFFFFF
            rules[key] = strings[start : strings.index(b"\0", start)]
        below = base(at) ^ alphabet
        for byte in np.flatnonzero((labels[below] == alphabet) & (below != 0)).tolist():
            stack.append((base(at) ^ byte, key + bytes([byte])))
    return rules


def _character(text: bytes, at: int) -> int:
    """The bytes of the well-formed character at a place, 0 where there is none."""
    for n in range(1, 5):
        try:
            if len(text[at : at + n].decode()) == 1 and at + n <= len(text):
                return n
        except UnicodeDecodeError:
            continue
    return 0


def _width(text: bytes, at: int) -> int:
    """The bytes of a character by its first byte alone."""
    return min(_WIDTHS[text[at] >> 4], len(text) - at)


_WIDTHS = (1,) * 12 + (2, 2, 3, 4)


def normalize(model: Model, text: bytes, rules: dict[bytes, bytes] | None = None) -> tuple[bytes, list[int]]:
    """The normalized text, and where in the text each of its bytes and its end come from."""
    rules = parse_charsmap(model.charsmap) if rules is None else rules
    longest = max(map(len, rules), default=0)
    symbols = model.symbols

    def step(at: int) -> tuple[bytes, int]:
        for symbol in symbols:
            if text.startswith(symbol, at):
                return symbol, len(symbol)
        for n in range(min(longest, len(text) - at), 0, -1):
            if text[at : at + n] in rules:
                return rules[text[at : at + n]], n
        n = _character(text, at)
        return (text[at : at + n], n) if n else (REPLACEMENT, 1)

    at, trim = 0, model.remove_extra_whitespaces
    while trim and at < len(text) and step(at)[0] == b" ":
        at += step(at)[1]
    if at == len(text):
        return b"", [0]
    out, origins, after_space = bytearray(), [], trim

    def append(data: bytes) -> None:
        out.extend(data)
        origins.extend([at] * len(data))

    if model.add_dummy_prefix and not model.treat_whitespace_as_suffix:
        append(model.marker)
    while at < len(text):
        to, n = step(at)
        if after_space:
            to = to.lstrip(b" ")
        for byte in to:
            append(model.marker if byte == ord(" ") else bytes([byte]))
        if to:
            after_space = to.endswith(b" ")
        after_space = after_space and trim
        at += n
    while trim and out.endswith(model.marker):
        del out[-len(model.marker) :]
        at = origins[len(out)]
        del origins[len(out) :]
    if model.add_dummy_prefix and model.treat_whitespace_as_suffix:
        append(model.marker)
    return bytes(out), [*origins, at]


# BPE.


def merge(model: Model, text: bytes, skip: Callable[[], bool] = lambda: False) -> list[Segment]:
    """BPE by scores of normalized text. `skip` is asked whether to pass a merge over."""
    symbols: list[list[int]] = []  # begin, end, frozen
    user = model.symbols
    at = 0
    while at < len(text):
        symbol = next((s for s in user if text.startswith(s, at)), None)
        n = len(symbol) if symbol else _width(text, at)
        symbols.append([at, at + n, int(symbol is not None)])
        at += n
    parts: dict[bytes, tuple[bytes, bytes]] = {}
    passed = set()

    def joined(left: list[int], right: list[int]) -> int | None:
        if left[2] or right[2] or (left[0], left[1], right[1]) in passed:
            return None
        word = text[left[0] : right[1]]
        found = model.ids.get(word)
        return found

    def note(left: list[int], right: list[int]) -> None:
        found = joined(left, right)
        if found is not None and model.kinds[found] == UNUSED:
            parts[text[left[0] : right[1]]] = text[left[0] : left[1]], text[right[0] : right[1]]

    for left, right in pairwise(symbols):
        note(left, right)
    while True:
        pairs = [(joined(a, b), i) for i, (a, b) in enumerate(pairwise(symbols))]
        ranked = [(-_order(model.scores[p]), i) for p, i in pairs if p is not None]
        if not ranked:
            break
        i = min(ranked)[1]
        left, right = symbols[i], symbols[i + 1]
        if skip():
            passed.add((left[0], left[1], right[1]))
            continue
        symbols[i : i + 2] = [[left[0], right[1], 0]]
        for k in (i - 1, i):
            if k >= 0 and k + 1 < len(symbols):
                note(symbols[k], symbols[k + 1])
    return [s for begin, end, _ in symbols for s in _taken_apart(model, text, begin, end, parts)]


def _order(score: float) -> int:
    """A number that orders as sentencepiece orders scores: by the bits of float32."""
    bits = int.from_bytes(struct.pack("<f", score), "little")
    return ~bits & 0xFFFFFFFF if bits >> 31 else bits | 0x80000000


def _taken_apart(
    model: Model, text: bytes, begin: int, end: int, parts: dict[bytes, tuple[bytes, bytes]], depth: int = 0
) -> Iterator[Segment]:
    word = text[begin:end]
    found = model.ids.get(word, -1)
    if found < 0 or model.kinds[found] != UNUSED or depth > 100:
        yield begin, end, found
    elif word not in parts:
        yield begin, end, -1
    else:
        middle = begin + len(parts[word][0])
        yield from _taken_apart(model, text, begin, middle, parts, depth + 1)
        yield from _taken_apart(model, text, middle, end, parts, depth + 1)


# Unigram.


def _piece_score(model: Model, piece_id: int, length: int) -> float:
    if model.rule == "tokenizers":
        return float(model.scores[piece_id])
    if model.kinds[piece_id] == USER_DEFINED:
        return float(np.float32(0.1 * (length - 1)))
    return float(np.float32(model.scores[piece_id]))


def _unknown_score(model: Model) -> float:
    if model.rule == "tokenizers":
        return min(model.scores) - 10.0
    normal = [np.float32(s) for s, kind in zip(model.scores, model.kinds, strict=True) if kind == NORMAL]
    return float(min(normal, default=np.finfo(np.float32).max) - np.float32(10))


def _pieces_at(model: Model, text: bytes, at: int, longest: int) -> Iterator[tuple[int, int]]:
    """The pieces that begin at a place, the shortest first: (end, id); the unknown character last if it is needed."""
    alone, width = False, _width(text, at)
    for end in range(at + 1, min(at + longest, len(text)) + 1):
        found = model.ids.get(text[at:end])
        if found is not None:
            yield end, found
            alone |= end - at == width
    if not alone:
        yield at + width, -1


def best_path(model: Model, text: bytes) -> list[Segment]:
    """The segmentation with the largest sum of scores, in the arithmetic of the model's rule."""
    narrow = model.rule == "sentencepiece"
    round_off: Callable[[float], float] = (lambda x: float(np.float32(x))) if narrow else float
    longest = max(map(len, model.ids), default=0)
    unknown = _unknown_score(model)
    best: list[tuple[float, int, int] | None] = [None] * (len(text) + 1)  # sum, begin of the last piece, its id
    best[0] = 0.0, 0, -1
    at = 0
    while at < len(text):
        here = best[at]
        assert here is not None
        if narrow and abs(here[0]) > RESET:
            best[at:] = [b and (round_off(b[0] - here[0]), b[1], b[2]) for b in best[at:]]
            here = 0.0, here[1], here[2]
        for end, found in _pieces_at(model, text, at, longest):
            score = unknown if found < 0 else _piece_score(model, found, end - at)
            total, target = round_off(here[0] + score), best[end]
            if target is None or total > target[0]:
                best[end] = total, at, found
        at += _width(text, at)
    path = []
    end = len(text)
    while end:
        node = best[end]
        assert node is not None
        path.append((node[1], end, node[2]))
        end = node[1]
    return path[::-1]


def _lattice(model: Model, text: bytes) -> list[tuple[int, int, int, float]]:
    """All pieces at all places: begin, end, id, score."""
    longest = max(map(len, model.ids), default=0)
    nodes, at = [], 0
    while at < len(text):
        for end, found in _pieces_at(model, text, at, longest):
            n_characters = len(text[at:end].decode(errors="replace"))
            score = _unknown_score(model) if found < 0 else _piece_score(model, found, n_characters)
            nodes.append((at, end, found, score))
        at += _width(text, at)
    return nodes


def segmentations(model: Model, text: bytes) -> list[tuple[list[Segment], float]]:
    """Every segmentation of a short normalized text, with its score."""
    nodes = _lattice(model, text)
    paths: dict[int, list[tuple[list[Segment], float]]] = {0: [([], 0.0)]}
    for begin, end, found, score in nodes:
        grown = [([*path, (begin, end, found)], total + score) for path, total in paths[begin]]
        paths[end] = paths.get(end, []) + grown
    return paths[len(text)]


def log_partition(model: Model, text: bytes, alpha: float) -> float:
    """The log of the sum over all segmentations of exp(alpha score)."""
    return float(np.logaddexp.reduce([alpha * score for _, score in segmentations(model, text)]))


def entropy(model: Model, text: bytes, alpha: float) -> float:
    """The entropy, in nats, of segmentations with probability exp(alpha score - log_partition)."""
    log_z = log_partition(model, text, alpha)
    return -sum(math.exp(alpha * s - log_z) * (alpha * s - log_z) for _, s in segmentations(model, text))


def marginals(model: Model, text: bytes, alpha: float) -> dict[Segment, float]:
    """The probability that a segmentation has a piece."""
    log_z = log_partition(model, text, alpha)
    found: dict[Segment, float] = {}
    for path, score in segmentations(model, text):
        for segment in path:
            found[segment] = found.get(segment, 0.0) + math.exp(alpha * score - log_z)
    return found


# Texts to ids and back.


def encode(model: Model, text: bytes, rules: dict[bytes, bytes] | None = None) -> list[tuple[int, int, int]]:
    """The ids of a text, each with the place in the text that it comes from: (id, begin, end)."""
    normalized, origins = normalize(model, text, rules)
    path = best_path(model, normalized) if model.unigram else merge(model, normalized)
    return [(i, origins[begin], origins[end]) for i, begin, end in ids_of(model, normalized, path)]


def ids_of(model: Model, text: bytes, path: list[Segment]) -> list[tuple[int, int, int]]:
    """The ids of a segmentation: unknown characters become bytes, or a run of them one id."""
    by_name = {p: i for i, p in enumerate(model.pieces) if p}
    out: list[tuple[int, int, int]] = []
    if model.rule == "tokenizers":
        for begin, end, found in _fused(path, model.unk_id):
            names = [b"<0x%02X>" % byte for byte in text[begin:end]]
            if found >= 0 and found != model.unk_id:
                out.append((found, begin, end))
            elif text[begin:end] in by_name:
                out.append((by_name[text[begin:end]], begin, end))
            elif model.byte_fallback and all(name in by_name for name in names):
                out += [(by_name[name], begin, end) for name in names]
            else:
                out.append((_known(model.unk_id), begin, end))
        return out
    after_unknown = False
    for begin, end, found in path:
        if found >= 0:
            out.append((found, begin, end))
        elif model.byte_fallback:
            names = [b"<0x%02X>" % byte for byte in text[begin:end]]
            out += [(by_name[name], begin, begin) for name in names[:-1]] + [(by_name[names[-1]], begin, end)]
        elif after_unknown:
            out[-1] = out[-1][0], out[-1][1], end
        else:
            out.append((_known(model.unk_id), begin, end))
        after_unknown = found < 0
    return out


def _fused(path: list[Segment], unk_id: int | None) -> Iterator[Segment]:
    run: Segment | None = None
    for begin, end, found in path:
        if found in (-1, unk_id):
            run = (run[0] if run else begin), end, -1
            continue
        if run:
            yield run
        run = None
        yield begin, end, found
    if run:
        yield run


def _known(unk_id: int | None) -> int:
    if unk_id is None:
        raise ValueError("the text has a character that the model has no id for")
    return unk_id


def decode(model: Model, ids: Sequence[int]) -> bytes:
    """The text of ids."""
    out, run = bytearray(), bytearray()
    at_begin = True
    for i in ids:
        piece, kind = model.pieces[i], model.kinds[i]
        if kind == BYTE:
            run.append(int(piece[3:5], 16))
            continue
        _spell(out, run)
        at_begin = at_begin and not out
        if kind == CONTROL:
            continue
        if kind == UNKNOWN:
            out += model.unk_surface.encode()
            continue
        stripped = piece
        if at_begin and (model.add_dummy_prefix or model.remove_extra_whitespaces):
            stripped = piece.removeprefix(MARKER)
            at_begin = stripped == piece or model.remove_extra_whitespaces
        out += stripped.replace(MARKER, b" ")
    _spell(out, run)
    return bytes(out)


def _spell(out: bytearray, run: bytearray) -> None:
    """Moves a run of bytes to the text: what is no character becomes U+FFFD, a byte at a time."""
    data, at = bytes(run), 0
    run.clear()
    while at < len(data):
        n = _character(data, at)
        out += data[at : at + n] if n else REPLACEMENT
        at += n or 1
