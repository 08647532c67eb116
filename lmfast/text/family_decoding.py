"""Ids to text where a token's text depends on the tokens beside it.

`Names` knows what each id is called and what the decoders of a spec make of names. Where each token's text depends on
nothing but its place, it is looked up in a table (`lmfast.text.token_texts`); else the decoders run step by step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lmfast.text.pipeline import Pipeline, decoding
from lmfast.text.spec import (
    ByteFallback,
    Fuse,
    Kind,
    Metaspace,
    Replace,
    SentencePieceDecoder,
    StripDecoder,
    TokenizerSpec,
    WordPieceDecoder,
)
from lmfast.text.token_texts import table_of

__all__ = ["Names", "StreamDecoder"]


class Names:
    """What ids are called, and what their names become.

    lengths  uint32[n] the bytes of each id's token; 0 for an id that has none
    """

    def __init__(self, spec: TokenizerSpec, pipeline: Pipeline | None) -> None:
        vocab = spec.model.vocab
        added = [(token.content.encode(), token.id) for token in spec.added_tokens]
        size = max([int(vocab.ids[-1]) if len(vocab) else -1, *(token_id for _, token_id in added)]) + 1
        most = 2 * (len(vocab) + len(added)) + 2**17  # tables are as long as the largest id
        if size > most:
            raise ValueError(f"id {size - 1} is too large for {len(vocab)} tokens: at most {most} is allowed")
        self.lengths = np.zeros(size, np.uint32)
        self.lengths[vocab.ids] = np.diff(vocab.offsets)
        self._added = {token_id: content for content, token_id in added}
        for token_id, content in self._added.items():
            self.lengths[token_id] = len(content)
        self._called = dict(self._added)
        if pipeline is not None:
            self._called = {token.id: pipeline.name_of(token).encode() for token in spec.added_tokens}
        self._spec = spec
        sentencepiece = any(isinstance(decoder, SentencePieceDecoder) for decoder in spec.decoder)
        self._steps = None if sentencepiece else [decoding.step_of(decoder) for decoder in spec.decoder]
        self._table = None if sentencepiece else table_of(spec.decoder, self)
        self.is_local = all(type(decoder) in _LOCAL for decoder in spec.decoder) and _strips_at_most_the_start(spec)

    def check(self, ids: NDArray[np.uint32]) -> None:
        """Errors: IndexError names the first id that no token has."""
        wrong = ids >= len(self.lengths)
        wrong[~wrong] = self.lengths[ids[~wrong]] == 0
        if wrong.any():
            at = int(np.argmax(wrong))
            raise IndexError(f"ids[{at}] = {ids[at]} is no token; ids are in [0, {len(self.lengths)})")

    def bytes_of(self, token_id: int) -> bytes:
        """The token of an id, as the vocabulary has it."""
        content = self._added.get(token_id)
        return self._spec.model.vocab.find(token_id) or b"" if content is None else content

    def name_of(self, token_id: int) -> str | None:
        """What the decoders see of an id; None where it has no token."""
        name = self._called.get(token_id)
        name = self._spec.model.vocab.find(token_id) if name is None else name
        return None if name is None else name.decode("utf-8", "replace")

    def names(self) -> list[str | None]:
        """The same of all ids."""
        found: list[str | None] = [None] * len(self.lengths)
        for name, token_id in [*self._spec.model.vocab, *((name, token_id) for token_id, name in self._called.items())]:
            found[token_id] = name.decode("utf-8", "replace")
        return found

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The UTF-8 of the text of ids. Errors: IndexError for an id that no token has."""
        if self._table is not None:
            try:
                return self._table.decode(ids)
            except IndexError:
                self.check(ids)
                raise
            except LookupError:
                pass
        if self._steps is None:
            raise ValueError("this decoder is only compiled")
        self.check(ids)
        return decoding.decode([self.name_of(token_id) or "" for token_id in ids.tolist()], self._steps).encode()

    def is_partial(self, token_id: int) -> bool:
        """Whether an id is a byte of a character, or a piece with parts of characters: its text is not known before the
        next token.
        """
        token = self.bytes_of(token_id)
        if self._steps is not None:
            return len(token) == 6 and token.startswith(b"<0x") and token.endswith(b">")
        if self._kind(token_id) == Kind.BYTE:
            return True
        try:
            token.decode()
        except UnicodeDecodeError:
            return True
        return False

    def is_silent(self, token_id: int) -> bool:
        """Whether an id has no text wherever it stands, and only keeps its neighbours apart."""
        return self._steps is None and self._kind(token_id) == Kind.CONTROL

    @property
    def drops_leading_spaces(self) -> bool:
        """Whether tokens without text at the beginning leave the next one the first."""
        decoder = self._spec.decoder[0] if self._steps is None else None
        return isinstance(decoder, SentencePieceDecoder) and decoder.remove_extra_whitespaces

    def _kind(self, token_id: int) -> int:
        kinds = getattr(self._spec.model, "kinds", None)
        at = int(np.searchsorted(self._spec.model.vocab.ids, token_id))
        return int(kinds[at]) if kinds is not None and at < len(kinds) else Kind.NORMAL


_LOCAL = {Replace, Metaspace, WordPieceDecoder, ByteFallback, Fuse, StripDecoder, SentencePieceDecoder}


def _strips_at_most_the_start(spec: TokenizerSpec) -> bool:
    """Whether a text's beginning never depends on what follows it."""
    fused = False
    for decoder in spec.decoder:
        if isinstance(decoder, StripDecoder) and (decoder.stop or not fused):
            return False
        if isinstance(decoder, Replace) and (fused or not decoder.literal):
            return False
        if isinstance(decoder, SentencePieceDecoder) and decoder.denormalizer is not None:
            return False
        fused = fused or isinstance(decoder, Fuse)
    return bool(spec.decoder)


_LONG = 16
"""Ids that are decoded again with each new one."""


class StreamDecoder:
    """Text from ids one at a time. What the next token could still change is held back.

    The texts of `push` and `finish` joined are what `decode` gives for all ids together. Decoders that look at the
    whole text give it at `finish`.
    """

    def __init__(self, decode: Callable[[NDArray[np.uint32]], bytes], names: Names, errors: str) -> None:
        self._decode = decode
        self._names = names
        self._errors = errors
        self._window: list[int] = []
        self._given = ""

    def push(self, token_id: int) -> str:
        """The text that an id completes, possibly none. Errors: IndexError for an id that no token has."""
        self._names.check(np.array([token_id], np.uint32))
        if self._names.is_silent(token_id) and not (self._window and self._names.is_partial(self._window[-1])):
            return ""
        self._window.append(token_id)
        if not self._names.is_local or self._names.is_partial(token_id):
            return ""
        text = self._text(self._window)
        new, self._given = text[len(self._given) :], text
        if len(self._window) > _LONG:
            self._forget()
        return new

    def _forget(self) -> None:
        """Makes the window short: what comes depends on its last token, and on whether there has been any text."""
        last = self._window[-1:]
        if alone := self._text(last):
            self._window, self._given = last, alone
        elif self._given:
            n = next(n for n in range(1, len(self._window) + 1) if self._text(self._window[:n]))
            self._window = self._window[:n] + last
            self._given = self._text(self._window)
        elif self._names.drops_leading_spaces:
            self._window = []

    def finish(self) -> str:
        """The text still held back; the decoder can be used anew."""
        text = self._text(self._window)[len(self._given) :]
        self._window, self._given = [], ""
        return text

    def _text(self, ids: list[int]) -> str:
        return self._decode(np.array(ids, np.uint32)).decode("utf-8", self._errors)
