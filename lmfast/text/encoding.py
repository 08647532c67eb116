"""Ids laid out for a model: special tokens around one sequence or two, cut to a length, filled up to a length.

Everything is an argument of the call that asks for it; a tokenizer has no such state.

Exactness: tokenizers 0.23.3 (`Tokenizer.encode` with `enable_truncation` and `enable_padding`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmfast.text.spec import TemplatePiece, TemplateProcessing

__all__ = ["Encoding", "Layout", "Sequence", "Side", "Strategy", "Trimming", "lay_out", "pad"]

Strategy: TypeAlias = Literal["longest_first", "only_first", "only_second"]
Side: TypeAlias = Literal["right", "left"]
Sequence: TypeAlias = tuple[NDArray[np.uint32], NDArray[np.int64]]
"""The ids of a text, uint32[n], and where each comes from in characters, int64[n, 2]."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """The ids of one text, or of two, as a model takes them."""

    ids: NDArray[np.uint32]
    """uint32[n]"""
    type_ids: NDArray[np.uint32]
    """uint32[n]: which segment each belongs to"""
    attention_mask: NDArray[np.bool_]
    """bool[n]: false for padding"""
    special_tokens_mask: NDArray[np.bool_]
    """bool[n]: true for special tokens that were put there, and for padding"""
    sequence_ids: NDArray[np.int8]
    """int8[n]: 0 for the first text, 1 for the second, -1 for neither"""
    offsets: NDArray[np.int64]
    """int64[n, 2]: the characters of its text that each comes from; (0, 0) for neither"""
    overflowing: tuple[Encoding, ...] = ()
    """What truncation cut off, laid out in the same way"""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Layout:
    """How ids are laid out; each field is an argument of `Tokenizer.encoding`, where it is described."""

    add_special_tokens: bool = True
    max_length: int | None = None
    truncation: Strategy = "longest_first"
    truncation_side: Side = "right"
    stride: int = 0
    pad_id: int = 0
    pad_type_id: int = 0
    padding_side: Side = "right"

    def __post_init__(self) -> None:
        if self.max_length is not None and self.max_length < 0:
            raise ValueError(f"max_length = {self.max_length}; want 0 or more")
        if self.stride < 0:
            raise ValueError(f"stride = {self.stride}; want 0 or more")
        for name, value, allowed in (
            ("truncation", self.truncation, ("longest_first", "only_first", "only_second")),
            ("truncation_side", self.truncation_side, ("right", "left")),
            ("padding_side", self.padding_side, ("right", "left")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} = {value!r}; want one of {', '.join(allowed)}")


_PLAIN = TemplateProcessing(
    (TemplatePiece("sequence", "A"),), (TemplatePiece("sequence", "A"), TemplatePiece("sequence", "B", 1))
)


@dataclass(frozen=True)
class Trimming:
    """Offsets without the spaces of tokens of the byte alphabet: `trim_offsets` of a post-processor."""

    keeps_first: bool
    """Whether one space of the first token was put there, and has no place in the text"""
    name_of: Callable[[int], str]
    """What an id's token is called, in the byte alphabet"""

    def __call__(self, ids: NDArray[np.uint32], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """The offsets of a part of a text."""
        unique, which = np.unique(ids, return_inverse=True)
        blanks = np.array([_blanks(self.name_of(i)) for i in unique.tolist()], np.int64).reshape(-1, 2)[which]
        (before, after), (start, stop) = blanks.T, offsets.T
        put = (before > 0) & ((np.arange(len(ids)) == 0) | (start == 0)) & self.keeps_first
        start = np.where(before > 0, np.minimum(start + before - put, stop), start)
        stop = np.where((after > 0) & (stop >= after), np.maximum(stop - after, start), stop)
        return np.stack([start, stop], axis=1)


def _blanks(token: str) -> tuple[int, int]:
    """How many characters at either end of a token are white space, or stand for a space."""
    from lmfast.text.pipeline.bytes_alphabet import CHARACTER_OF
    from lmfast.text.pipeline.characters import is_space

    solid = [c != CHARACTER_OF[0x20] and not is_space(c) for c in token]
    return (solid.index(True), solid[::-1].index(True)) if any(solid) else (len(token), len(token))


def lay_out(
    sequences: list[Sequence], template: TemplateProcessing | None, layout: Layout, trimmings: list[Trimming]
) -> Encoding:
    """One sequence or two, cut as `layout` says, in the places that the template has for them.

    Errors: ValueError where the sequences cannot be cut to `max_length` in the way that is asked for.
    """
    pieces = (template or _PLAIN).single if len(sequences) == 1 else (template or _PLAIN).pair
    if not layout.add_special_tokens:
        pieces = tuple(piece for piece in pieces if piece.kind == "sequence")
    windows = [[(0, len(ids))] for ids, _ in sequences]
    if layout.max_length is not None:
        room = layout.max_length - sum(len(piece.ids) for piece in pieces)
        windows = _windows([len(ids) for ids, _ in sequences], room, layout)
    first = [parts[0] for parts in windows]
    overflowing = [_fill(sequences, chosen, pieces, trimmings) for chosen in _combinations(windows) if chosen != first]
    return replace(_fill(sequences, first, pieces, trimmings), overflowing=tuple(overflowing))


def _windows(lengths: list[int], room: int, layout: Layout) -> list[list[tuple[int, int]]]:
    """Where each sequence is cut: its parts, each as long as may be, with `stride` ids of the one before."""
    if room < 0:
        raise ValueError(f"max_length = {layout.max_length} has no room for the special tokens")
    whole = [[(0, length)] for length in lengths]
    excess = sum(lengths) - room
    if excess <= 0:
        return whole
    if room == 0:
        return [_cut(length, 0, layout) for length in lengths]
    if layout.truncation == "longest_first":
        kept = _shares(lengths, room) if len(lengths) == 2 else [room]
        return [_cut(length, most, layout) for length, most in zip(lengths, kept, strict=True)]
    at = 0 if layout.truncation == "only_first" else 1
    if at >= len(lengths):
        raise ValueError(f"truncation = {layout.truncation!r}, and there is one text")
    if lengths[at] <= excess:
        raise ValueError(
            f"max_length = {layout.max_length}: {excess} ids are too many, and the text to be cut has {lengths[at]}"
        )
    whole[at] = _cut(lengths[at], lengths[at] - excess, layout)
    return whole


def _shares(lengths: list[int], room: int) -> list[int]:
    """How much of `room` each of two sequences gets: what the shorter needs, or half."""
    shorter = min(lengths)
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter = room // 2
        longer = shorter + room % 2
    return [longer, shorter] if lengths[0] > lengths[1] else [shorter, longer]


def _cut(length: int, most: int, layout: Layout) -> list[tuple[int, int]]:
    if most >= length:
        return [(0, length)]
    if most == 0:
        return [(0, 0), (0, length)]
    if layout.stride >= most:
        raise ValueError(f"stride = {layout.stride} is not less than the {most} ids that a part has")
    step, parts = most - layout.stride, []
    for start in range(0, length, step):
        stop = min(start + most, length)
        parts.append((start, stop) if layout.truncation_side == "right" else (length - stop, length - start))
        if stop == length:
            break
    return parts


def _combinations(windows: list[list[tuple[int, int]]]) -> Iterator[list[tuple[int, int]]]:
    """The parts of sequences together: the later parts of the first with all of the second, then the second's own."""
    if len(windows) == 1:
        yield from ([part] for part in windows[0])
        return
    a, b = windows
    yield from ([left, right] for left in a[1:] for right in b)
    yield from ([a[0], right] for right in b)


def _fill(
    sequences: list[Sequence],
    chosen: list[tuple[int, int]],
    pieces: tuple[TemplatePiece, ...],
    trimmings: list[Trimming],
) -> Encoding:
    ids, types, special, numbers, offsets = [], [], [], [], []
    for piece in pieces:
        if piece.kind == "sequence":
            number = int(piece.name == "B")
            start, stop = chosen[number]
            new, at = sequences[number][0][start:stop], sequences[number][1][start:stop]
            for trim in trimmings:
                at = trim(new, at)
        else:
            number, new, at = -1, np.array(piece.ids, np.uint32), np.zeros((len(piece.ids), 2), np.int64)
        ids.append(new)
        offsets.append(at)
        types.append(np.full(len(new), piece.type_id, np.uint32))
        special.append(np.full(len(new), number < 0))
        numbers.append(np.full(len(new), number, np.int8))
    n = sum(map(len, ids))
    return Encoding(
        np.concatenate([np.empty(0, np.uint32), *ids]),
        np.concatenate([np.empty(0, np.uint32), *types]),
        np.ones(n, np.bool_),
        np.concatenate([np.empty(0, np.bool_), *special]),
        np.concatenate([np.empty(0, np.int8), *numbers]),
        np.concatenate([np.empty((0, 2), np.int64), *offsets]),
    )


def pad(encoding: Encoding, length: int, layout: Layout) -> Encoding:
    """Filled up to a length, and what overflows too."""
    overflowing = tuple(pad(part, length, layout) for part in encoding.overflowing)
    n = length - len(encoding)
    if n <= 0:
        return replace(encoding, overflowing=overflowing)
    before, after = (n, 0) if layout.padding_side == "left" else (0, n)

    def fill(array: NDArray[np.generic], value: int) -> NDArray[np.generic]:
        rest = [(0, 0)] * (array.ndim - 1)
        return np.pad(array, [(before, after), *rest], constant_values=value)

    return Encoding(
        fill(encoding.ids, layout.pad_id),  # type: ignore[arg-type]
        fill(encoding.type_ids, layout.pad_type_id),  # type: ignore[arg-type]
        fill(encoding.attention_mask, 0),  # type: ignore[arg-type]
        fill(encoding.special_tokens_mask, 1),  # type: ignore[arg-type]
        fill(encoding.sequence_ids, -1),  # type: ignore[arg-type]
        fill(encoding.offsets, 0),  # type: ignore[arg-type]
        overflowing,
    )
