"""Losses: entropy, cross-entropy and their gradients, for torch tensors and numpy arrays alike.

Everything is reached from here by name and imported on first use; torch is imported only by what is given tensors.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmfast.loss.cross_entropy import CrossEntropyOutput as CrossEntropyOutput
    from lmfast.loss.cross_entropy import cross_entropy as cross_entropy
    from lmfast.loss.cross_entropy import cross_entropy_with_grad as cross_entropy_with_grad
    from lmfast.loss.modules import CrossEntropyLoss as CrossEntropyLoss
    from lmfast.loss.softmax import log_softmax as log_softmax
    from lmfast.loss.softmax import log_softmax_backward as log_softmax_backward
    from lmfast.loss.softmax import nll_loss as nll_loss
    from lmfast.loss.softmax import softmax as softmax
    from lmfast.loss.softmax import softmax_backward as softmax_backward
    from lmfast.loss.softmax import softmax_jacobian as softmax_jacobian

_WHERE = {
    "CrossEntropyLoss": "lmfast.loss.modules",
    "CrossEntropyOutput": "lmfast.loss.cross_entropy",
    "cross_entropy": "lmfast.loss.cross_entropy",
    "cross_entropy_with_grad": "lmfast.loss.cross_entropy",
    "log_softmax": "lmfast.loss.softmax",
    "log_softmax_backward": "lmfast.loss.softmax",
    "nll_loss": "lmfast.loss.softmax",
    "softmax": "lmfast.loss.softmax",
    "softmax_backward": "lmfast.loss.softmax",
    "softmax_jacobian": "lmfast.loss.softmax",
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
