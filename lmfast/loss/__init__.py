"""Losses: entropy, cross-entropy and their gradients, for torch tensors and numpy arrays alike.

Everything is reached from here by name and imported on first use; torch is imported only by what is given tensors.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmfast.loss.cross_entropy import CrossEntropyOutput as CrossEntropyOutput
    from lmfast.loss.cross_entropy import cross_entropy as cross_entropy
    from lmfast.loss.cross_entropy import cross_entropy_with_grad as cross_entropy_with_grad
    from lmfast.loss.linear import linear_cross_entropy as linear_cross_entropy
    from lmfast.loss.linear_module import LinearCrossEntropyLoss as LinearCrossEntropyLoss
    from lmfast.loss.measures import cross_entropy_of as cross_entropy_of
    from lmfast.loss.measures import entropy as entropy
    from lmfast.loss.measures import information as information
    from lmfast.loss.measures import js_div as js_div
    from lmfast.loss.measures import kl_div as kl_div
    from lmfast.loss.modules import CrossEntropyLoss as CrossEntropyLoss
    from lmfast.loss.ngrams import NGramModel as NGramModel
    from lmfast.loss.parallel import vocab_parallel_cross_entropy as vocab_parallel_cross_entropy
    from lmfast.loss.perplexities import TextPerplexity as TextPerplexity
    from lmfast.loss.perplexities import bits_per_byte as bits_per_byte
    from lmfast.loss.perplexities import perplexity as perplexity
    from lmfast.loss.perplexities import perplexity_from_logprobs as perplexity_from_logprobs
    from lmfast.loss.perplexities import perplexity_of_text as perplexity_of_text
    from lmfast.loss.softmax import log_softmax as log_softmax
    from lmfast.loss.softmax import log_softmax_backward as log_softmax_backward
    from lmfast.loss.softmax import nll_loss as nll_loss
    from lmfast.loss.softmax import softmax as softmax
    from lmfast.loss.softmax import softmax_backward as softmax_backward
    from lmfast.loss.softmax import softmax_jacobian as softmax_jacobian

_WHERE = {
    "bits_per_byte": "lmfast.loss.perplexities",
    "cross_entropy": "lmfast.loss.cross_entropy",
    "cross_entropy_of": "lmfast.loss.measures",
    "cross_entropy_with_grad": "lmfast.loss.cross_entropy",
    "CrossEntropyLoss": "lmfast.loss.modules",
    "CrossEntropyOutput": "lmfast.loss.cross_entropy",
    "entropy": "lmfast.loss.measures",
    "information": "lmfast.loss.measures",
    "js_div": "lmfast.loss.measures",
    "kl_div": "lmfast.loss.measures",
    "linear_cross_entropy": "lmfast.loss.linear",
    "LinearCrossEntropyLoss": "lmfast.loss.linear_module",
    "log_softmax": "lmfast.loss.softmax",
    "log_softmax_backward": "lmfast.loss.softmax",
    "NGramModel": "lmfast.loss.ngrams",
    "nll_loss": "lmfast.loss.softmax",
    "perplexity": "lmfast.loss.perplexities",
    "perplexity_from_logprobs": "lmfast.loss.perplexities",
    "perplexity_of_text": "lmfast.loss.perplexities",
    "softmax": "lmfast.loss.softmax",
    "softmax_backward": "lmfast.loss.softmax",
    "softmax_jacobian": "lmfast.loss.softmax",
    "TextPerplexity": "lmfast.loss.perplexities",
    "vocab_parallel_cross_entropy": "lmfast.loss.parallel",
}

__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'lmfast.loss' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])


class _Room(ModuleType):
    """Keeps a function its name, which the import of a submodule that is called alike would take."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Room
