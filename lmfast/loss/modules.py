"""Losses as `torch.nn.Module`s."""

from __future__ import annotations

from typing import Any

import torch

from lmfast.loss.cross_entropy import REDUCTIONS, cross_entropy

__all__ = ["CrossEntropyLoss"]


class CrossEntropyLoss(torch.nn.Module):
    """`torch.nn.CrossEntropyLoss` with its constructor, and the further options of `lmfast.loss.cross_entropy` by name.

    >>> criterion = CrossEntropyLoss(ignore_index=0, z_loss=1e-4)
    >>> loss = criterion(torch.zeros(2, 5), torch.tensor([3, 0]))
    """

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        if size_average is not None or reduce is not None:
            reduction = torch.nn._reduction.legacy_get_string(size_average, reduce)
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction = {reduction!r}: allowed are {', '.join(REDUCTIONS)}")
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing
        self.options = options
        known = cross_entropy.__kwdefaults__ or {}
        for name in options:
            if name not in known:
                raise TypeError(f"CrossEntropyLoss has no option {name!r}; it has {', '.join(known)}")

    def forward(self, logits: Any, target: Any) -> Any:
        """The loss of logits and targets; see `lmfast.loss.cross_entropy` for shapes and errors."""
        return cross_entropy(
            logits,
            target,
            self.weight,
            self.ignore_index,
            self.reduction,
            self.label_smoothing,
            **self.options,
        )

    def extra_repr(self) -> str:
        """The arguments that are not torch's defaults."""
        parts = {
            "ignore_index": self.ignore_index,
            "reduction": self.reduction,
            "label_smoothing": self.label_smoothing,
        }
        return ", ".join(f"{name}={value!r}" for name, value in {**parts, **self.options}.items())
