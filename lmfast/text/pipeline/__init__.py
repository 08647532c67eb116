"""Any combination of components, step by step in Python: exact, and slow beside a compiled engine.

What a `TokenizerSpec` says is done in the order in which it says it, on texts that remember where they come from. This
is the path of every spec that no engine serves, and what the compiled ones of Hugging Face's families are held to.

Text that is not UTF-8 has U+FFFD for each byte that belongs to no well-formed sequence.

Exactness: tokenizers 0.23.3.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lmfast.text.pipeline import decoding, modelling, normalizing, splitting
from lmfast.text.pipeline.aligned import Aligned, Place
from lmfast.text.spec import BPE, AddedToken, Metaspace, TokenizerSpec

__all__ = ["Pipeline"]

_MAX_CACHED = 65_536


class Pipeline:
    """A spec as functions: an `lmfast.text.engine.Engine` that also splits its work where added tokens need it.

    Errors: ValueError for a spec with a component that only a compiled engine knows, in a combination it does not know.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        self._normalizers = [normalizing.step_of(n) for n in spec.normalizer]
        self._splitters = [splitting.step_of(p) for p in spec.pre_tokenizer]
        self._decoders = [decoding.step_of(d) for d in spec.decoder]
        self._starts_matter = _starts_matter(spec)
        self._model = spec.model
        self._tokenize = modelling.model_of(spec.model)
        self._tokens: dict[str, list[modelling.Token]] = {}
        names = {token_id: token.decode("utf-8", "replace") for token, token_id in spec.model.vocab}
        self._names = names | {token.id: self.name_of(token) for token in spec.added_tokens}

    def name_of(self, token: AddedToken) -> str:
        """What an added token is called when it is decoded: what is looked for in text, be it normalized or not."""
        return self.normalize(token.content.encode()).text if token.normalized else token.content

    def normalize(self, data: bytes, *, start: int = 0, places: bool = False) -> Aligned:
        """A stretch of input, which begins at `start`, normalized."""
        text = _aligned(data, start, places or self._starts_matter)
        for step in self._normalizers:
            step(text)
        if text.places:
            text.start = text.places[0][0]  # a text whose beginning is removed does not begin the input
        return text

    def encode(
        self, text: Aligned, rng: random.Random | None = None, dropout: float | None = None
    ) -> tuple[list[int], list[Place] | None]:
        """The ids of a normalized text and, where it has places, the place of each.

        rng      draws where the model has dropout; None: no dropout
        dropout  instead of the model's own
        """
        tokenize: modelling.Tokenize = self._cached
        if rng is not None:
            model = self._model
            if dropout is not None and isinstance(model, BPE):
                model = replace(model, dropout=dropout)
            tokenize = modelling.model_of(model, rng)
        ids: list[int] = []
        places: list[Place] | None = None if text.places is None else []
        for piece in splitting.pieces(text, self._splitters):
            tokens = tokenize(piece.text)
            ids += [token.id for token in tokens]
            if places is not None:
                at = piece.byte_places()
                assert at is not None
                places += [(at[token.start][0], at[token.stop - 1][1]) for token in tokens]
        return ids, places

    def _cached(self, piece: str) -> list[modelling.Token]:
        tokens = self._tokens.get(piece)
        if tokens is None:
            tokens = self._tokenize(piece)
            if len(self._tokens) < _MAX_CACHED and len(piece) < 256:
                self._tokens[piece] = tokens
        return tokens

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The UTF-8 of the text of ids. Errors: IndexError for an id that no token has."""
        try:
            tokens = [self._names[token_id] for token_id in ids.tolist()]
        except KeyError:
            at = next(i for i, token_id in enumerate(ids.tolist()) if token_id not in self._names)
            raise IndexError(f"ids[{at}] = {ids[at]} is no token") from None
        return decoding.decode(tokens, self._decoders).encode()


def _starts_matter(spec: TokenizerSpec) -> bool:
    """Whether where a piece begins in the input decides about ids, and only its places tell."""
    first = [isinstance(p, Metaspace) and p.prepend_scheme == "first" for p in spec.pre_tokenizer]
    return any(first) and (bool(spec.normalizer) or any(first[1:]))


def _aligned(data: bytes, start: int, places: bool) -> Aligned:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        odd = data.decode("utf-8", "surrogateescape")
        text = "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in odd)
        sizes = [1 if "\udc80" <= c <= "\udcff" else len(c.encode()) for c in odd]
    else:
        sizes = [len(c.encode()) for c in text] if places and not text.isascii() else []
    if not places:
        return Aligned(text, None, start)
    if not sizes:
        return Aligned(text, [(start + i, start + i + 1) for i in range(len(text))], start)
    found: list[Place] = []
    at = start
    for size in sizes:
        found.append((at, at + size))
        at += size
    return Aligned(text, found, start)
