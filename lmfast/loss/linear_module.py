"""A language model's head and its loss as one module."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lmfast.loss.linear import linear_cross_entropy

__all__ = ["LinearCrossEntropyLoss"]


class LinearCrossEntropyLoss(nn.Module):
    """`linear_cross_entropy` with a layer of its own, as torch 2.13 has it, or with the head of a model.

    in_features   H, of each hidden state
    num_classes   V
    bias          whether the layer has one
    weight        a factor for each class [V], or None
    linear        a layer to use instead of a new one, such as `model.lm_head`; it stays the model's, tied weights stay
                  tied

    Everything else is as for `lmfast.loss.linear_cross_entropy`.

    >>> import torch
    >>> loss = LinearCrossEntropyLoss(8, 5, ignore_index=0)
    >>> loss(torch.zeros(2, 3, 8), torch.tensor([[0, 1, 2], [3, 4, 0]])).item() == torch.tensor(5.0).log().item()
    True
    """

    weight: torch.Tensor | None

    def __init__(
        self,
        in_features: int | None = None,
        num_classes: int | None = None,
        *,
        bias: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        weight: torch.Tensor | None = None,
        linear: nn.Linear | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if linear is None:
            if in_features is None or num_classes is None:
                raise TypeError("want in_features and num_classes, or linear")
            linear = nn.Linear(in_features, num_classes, bias=bias, device=device, dtype=dtype)
        elif in_features is not None or num_classes is not None:
            raise TypeError("want either in_features and num_classes or linear, got both")
        self.linear = linear
        self.register_buffer("weight", weight)
        unknown = set(options) - set(_OPTIONS)
        if unknown:
            raise TypeError(f"unknown: {', '.join(sorted(unknown))}; allowed are {', '.join(_OPTIONS)}")
        self.options = options

    def forward(self, hidden: torch.Tensor, target: torch.Tensor) -> Any:
        """The loss of hidden states [..., H] and labels [...]."""
        return linear_cross_entropy(
            hidden, self.linear.weight, target, self.linear.bias, class_weight=self.weight, **self.options
        )

    def extra_repr(self) -> str:
        """The options that were given."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


_OPTIONS = (
    "ignore_index",
    "reduction",
    "label_smoothing",
    "z_loss",
    "softcap",
    "logit_scale",
    "return_lse",
    "return_logprobs",
    "empty",
    "on_bad_label",
    "budget_bytes",
)
