"""What a compiled tokenizer of another family than byte-level BPE can do, and who compiles which spec.

An engine does in one call, without the GIL, what lies between added tokens and ids: normalization, splitting, caching
and the model. `lmfast.Tokenizer` does the rest: text that is str, added tokens, threads, post-processing, checking.
A spec that no engine serves goes step by step through `lmfast.text.pipeline`, exact and slower.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lmfast.text.spec import TokenizerSpec

__all__ = ["Engine", "GrowsTooMuch", "engine_for"]

_COMPILERS = (
    "lmfast.text.sentencepiece",
    "lmfast.text.bert",
    "lmfast.text.character_bpe",
    "lmfast.text.converted_unigram",
    "lmfast.text.stacks",
)
"""Modules with a function `engine_for(spec, *, cache_bytes, isa)`, which gives an Engine for a spec that it serves
exactly, all of it but added tokens and post-processing, and None for any other."""


class GrowsTooMuch(ValueError):
    """Normalization makes more of a text than an engine has room for. Step by step there is room."""


class Engine(Protocol):
    """Text to ids, compiled.

    Text is UTF-8; a byte that belongs to no well-formed sequence is what the family's own library makes of it. Any
    number of threads may call at the same time: each call takes a workspace, with its cache, from a pool.
    """

    def bound(self, n_bytes: int) -> int:
        """The most ids that a stretch of so many bytes has."""

    def encode_spans(
        self,
        data: bytes,
        spans: NDArray[np.int64],
        ids: NDArray[np.uint32] | None,
        at: int,
        counts: NDArray[np.int64],
        first: NDArray[np.uint8] | None = None,
    ) -> int:
        """Encodes stretches of `data`, each on its own, one after another; how many ids there are in all.

        spans   int64[n, 2] where each begins and ends in `data`
        ids     uint32[:] which gets all ids from `at` on; None only counts. Its room is the sum of the bounds
        counts  int64[n] gets how many ids each has
        first   uint8[n] whether a stretch begins a text (None: all do); the others follow an added token. Only a
                Metaspace with prepend_scheme="first" asks

        Errors: ValueError where the model has no id for a text; GrowsTooMuch; IndexError for a span outside `data`;
        MemoryError.
        """

    def encode_with_offsets(self, data: bytes, first: bool = True) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The ids of one stretch, uint32[n], and where each comes from in `data`, int64[n, 2] in bytes, through
        normalization, as the family's own library says.
        """


def engine_for(spec: TokenizerSpec, *, cache_bytes: int, isa: str) -> Engine | None:
    """The engine of a spec; None where there is none."""
    for name in _COMPILERS:
        engine: Engine | None = import_module(name).engine_for(spec, cache_bytes=cache_bytes, isa=isa)
        if engine is not None:
            return engine
    return None
