"""Post-processors: the special tokens that `add_special_tokens=True` puts around one sequence, or around two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["BertProcessing", "PostProcessor", "RobertaProcessing", "TemplatePiece", "TemplateProcessing"]


@dataclass(frozen=True, slots=True)
class TemplatePiece:
    """One element of a template: a sequence ("A" or "B") or a special token with its ids."""

    kind: Literal["sequence", "special"]
    name: str
    type_id: int = 0
    ids: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TemplateProcessing:
    """What `add_special_tokens=True` puts around one sequence, or around two."""

    single: tuple[TemplatePiece, ...]
    pair: tuple[TemplatePiece, ...] = ()


@dataclass(frozen=True, slots=True)
class BertProcessing:
    """`cls A sep`, and `cls A sep B sep` with type 1 from B on. Each token is its string and its id."""

    sep: tuple[str, int]
    cls: tuple[str, int]

    @property
    def template(self) -> TemplateProcessing:
        """The same as a template."""
        cls, sep, sep_b = _special(self.cls), _special(self.sep), _special(self.sep, 1)
        a, b = TemplatePiece("sequence", "A"), TemplatePiece("sequence", "B", 1)
        return TemplateProcessing((cls, a, sep), (cls, a, sep, b, sep_b))


@dataclass(frozen=True, slots=True)
class RobertaProcessing:
    """`cls A sep`, and `cls A sep sep B sep`, all of type 0.

    trim_offsets and add_prefix_space change the offsets of `Tokenizer.encoding`, and no ids.
    """

    sep: tuple[str, int]
    cls: tuple[str, int]
    trim_offsets: bool = True
    add_prefix_space: bool = True

    @property
    def template(self) -> TemplateProcessing:
        """The same as a template."""
        cls, sep = _special(self.cls), _special(self.sep)
        a, b = TemplatePiece("sequence", "A"), TemplatePiece("sequence", "B")
        return TemplateProcessing((cls, a, sep), (cls, a, sep, sep, b, sep))


def _special(token: tuple[str, int], type_id: int = 0) -> TemplatePiece:
    name, token_id = token
    return TemplatePiece("special", name, type_id, (token_id,), (name,))


PostProcessor: TypeAlias = TemplateProcessing | BertProcessing | RobertaProcessing
