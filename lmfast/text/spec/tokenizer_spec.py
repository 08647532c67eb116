"""A whole tokenizer: a model and what stands around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmfast.text.spec.bpe import BPE
from lmfast.text.spec.vocab import Vocab

if TYPE_CHECKING:
    from lmfast.text.spec.decoders import Decoder
    from lmfast.text.spec.models import Model
    from lmfast.text.spec.normalizers import Normalizer
    from lmfast.text.spec.post_processors import PostProcessor, TemplateProcessing
    from lmfast.text.spec.pre_tokenizers import PreTokenizer

__all__ = ["AddedToken", "TokenizerSpec"]


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A string that becomes one id before the model sees the text.

    special       only recognised where the caller allows it (`allowed_special`); other added tokens always are
    single_word   only where no word character stands next to it
    lstrip/rstrip also takes the white space before / after it
    normalized    searched for in the normalized text instead of the original
    """

    content: str
    id: int
    special: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


@dataclass(frozen=True, eq=False)
class TokenizerSpec:
    """A whole tokenizer. Equal, and equally hashed, when the contents are.

    normalizer, pre_tokenizer and decoder apply their steps in order; empty tuples leave the text whole and alone (what
    an empty decoder does is said in `lmfast.text.spec.decoders`).
    unicode is the version of the Unicode character database whose properties the patterns use.
    options keeps settings that change no ids but belong to the file (for example `trim_offsets`), as sorted pairs of a
    name and JSON text.
    """

    model: Model
    pre_tokenizer: tuple[PreTokenizer, ...] = ()
    normalizer: tuple[Normalizer, ...] = ()
    added_tokens: tuple[AddedToken, ...] = ()
    post_processor: PostProcessor | None = None
    unicode: str = "16.0"
    name: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    decoder: tuple[Decoder, ...] = ()
    _fingerprint: list[str] = field(default_factory=list, init=False, repr=False)

    @property
    def is_byte_level(self) -> bool:
        """Whether the model is byte-level BPE."""
        return isinstance(self.model, BPE) and self.model.byte_level

    @property
    def bpe(self) -> BPE:
        """The model of a spec of byte-level BPE. Errors: ValueError for another."""
        if not isinstance(self.model, BPE) or not self.model.byte_level:
            raise ValueError(f"want a spec of byte-level BPE, got one of {type(self.model).__name__}")
        return self.model

    @property
    def template(self) -> TemplateProcessing | None:
        """The post-processor as a template."""
        processor = self.post_processor
        if processor is None:
            return None
        from lmfast.text.spec.post_processors import TemplateProcessing

        return processor if isinstance(processor, TemplateProcessing) else processor.template

    @property
    def trimmings(self) -> tuple[bool, ...]:
        """Each time that post-processing takes the spaces of tokens off their offsets: whether the first keeps one."""
        import json

        from lmfast.text.spec.post_processors import RobertaProcessing

        processor = json.loads(dict(self.options).get("post_processor.byte_level", "null")) or {"trim_offsets": False}
        found = [processor["add_prefix_space"]] if processor["trim_offsets"] else []
        if isinstance(self.post_processor, RobertaProcessing) and self.post_processor.trim_offsets:
            found.append(self.post_processor.add_prefix_space)
        return tuple(found)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the contents (the name excluded) as 64 hexadecimal digits; the same in every process."""
        if not self._fingerprint:
            import hashlib

            digest = hashlib.sha256()
            for f in sorted(fields(self), key=lambda f: f.name):
                if f.name not in ("name", "_fingerprint"):
                    digest.update(f.name.encode())
                    _digest(getattr(self, f.name), digest.update)
            self._fingerprint.append(digest.hexdigest())
        return self._fingerprint[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenizerSpec) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


def _digest(value: Any, update: Callable[[bytes], None]) -> None:
    """Feeds a value to a hash, so that different values are different streams: types and lengths come first."""
    if isinstance(value, Vocab):
        value = (value.ids, value.offsets, value.blob)
    if isinstance(value, np.ndarray):
        value = (str(value.dtype), value.shape, value.tobytes())
    if is_dataclass(value):
        update(f"{type(value).__name__}({len(fields(value))})".encode())
        for f in fields(value):
            _digest(getattr(value, f.name), update)
    elif isinstance(value, tuple):
        update(f"tuple({len(value)})".encode())
        for item in value:
            _digest(item, update)
    else:
        data = value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass")
        update(f"{type(value).__name__}({len(data)})".encode())
        update(data)
