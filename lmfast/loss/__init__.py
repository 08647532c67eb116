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
    from lmfast.loss.linear import linear_cross_entropy as linear_cross_entropy
    from lmfast.loss.linear_module import LinearCrossEntropyLoss as LinearCrossEntropyLoss

_WHERE = {
    "CrossEntropyOutput": "lmfast.loss.cross_entropy",
    "cross_entropy": "lmfast.loss.cross_entropy",
    "cross_entropy_with_grad": "lmfast.loss.cross_entropy",
    "linear_cross_entropy": "lmfast.loss.linear",
    "LinearCrossEntropyLoss": "lmfast.loss.linear_module",
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
