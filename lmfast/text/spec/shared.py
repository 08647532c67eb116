"""Components that stand in several places of a tokenizer: in more than one of normalizer, pre-tokenizer and decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ByteLevel", "Metaspace", "Replace"]


@dataclass(frozen=True, slots=True)
class Replace:
    """Replaces every match of a regular expression (or of a literal string). As a decoder: in every token."""

    pattern: str
    content: str
    literal: bool = False


@dataclass(frozen=True, slots=True)
class ByteLevel:
    """Bytes become the 256 printable characters that stand for them; as a decoder, the other way round.

    For models over characters only: a `BPE` with `byte_level=True` works on bytes and needs no stand-ins.

    add_prefix_space  (pre-tokenizer) puts a space before every piece that does not begin with one
    use_regex         (pre-tokenizer) splits by GPT-2's pattern first
    """

    add_prefix_space: bool = True
    use_regex: bool = True


@dataclass(frozen=True, slots=True)
class Metaspace:
    """Spaces become `replacement`; as a decoder, the other way round.

    prepend_scheme  where a replacement is put before what does not begin with one: every piece, the one with which the
                    text begins, or none
    split           also splits before every replacement
    """

    replacement: str = "\u2581"
    prepend_scheme: Literal["always", "first", "never"] = "always"
    split: bool = True

    def __post_init__(self) -> None:
        if len(self.replacement) != 1:
            raise ValueError(f"replacement = {self.replacement!r}; want one character")
