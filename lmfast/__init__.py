"""Compiled kernels for language-model work in Python: exact, fast tokenizers and what goes with them.

Everything is reached from here by name and imported on first use; `import lmfast` loads neither torch nor any other
optional package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lmfast._neighbour import refuse_unrelated_lmfast

refuse_unrelated_lmfast()

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lmfast._checking import KernelMismatchError as KernelMismatchError
    from lmfast._checking import checking as checking
    from lmfast.text.pretrained import get_encoding as get_encoding
    from lmfast.text.pretrained import list_encoding_names as list_encoding_names
    from lmfast.text.ragged import Ragged as Ragged
    from lmfast.text.spec import TokenizerFileError as TokenizerFileError
    from lmfast.text.spec import TokenizerSpec as TokenizerSpec
    from lmfast.text.tokenizer import Tokenizer as Tokenizer
    from lmfast.text.train import TrainingInterrupted as TrainingInterrupted
    from lmfast.text.train import train_bpe as train_bpe
    from lmfast.text.train import train_wordpiece as train_wordpiece
    from lmfast.text.train_unigram import train_unigram as train_unigram
    from lmfast.text.words import WordCounts as WordCounts
    from lmfast.text.words import count_words as count_words

_WHERE = {
    "KernelMismatchError": "lmfast._checking",
    "Ragged": "lmfast.text.ragged",
    "Tokenizer": "lmfast.text.tokenizer",
    "TokenizerFileError": "lmfast.text.spec",
    "TokenizerSpec": "lmfast.text.spec",
    "TrainingInterrupted": "lmfast.text.train",
    "WordCounts": "lmfast.text.words",
    "checking": "lmfast._checking",
    "count_words": "lmfast.text.words",
    "get_encoding": "lmfast.text.pretrained",
    "list_encoding_names": "lmfast.text.pretrained",
    "train_bpe": "lmfast.text.train",
    "train_unigram": "lmfast.text.train_unigram",
    "train_wordpiece": "lmfast.text.train",
}

__all__ = [*_WHERE, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'lmfast' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
