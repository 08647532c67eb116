"""A part of the vocabulary at a time: what its logits' gradient is when the other classes are elsewhere.

With p' the softmax over the part's own classes and r its log-sum-exp, the probabilities of the whole vocabulary are
p = exp(r - lse) * p'. So the kernel that takes the gradient of whole rows takes that of a part too, if the factors of
its three terms are chosen right: those of the log-sum-exp, of the label's log-probability and of smoothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from lmfast.loss.rows import Options

__all__ = ["Shard", "ShardFactors"]

NO_LABEL = -1
"""The label within a part of rows that do not count: no class of a part has that number, whatever `ignore_index` is."""


class ShardFactors(NamedTuple):
    """What the kernel is given for a part, float64 [N]; see `Options` and `Rows.run`."""

    row_scale: torch.Tensor
    d_lse: torch.Tensor
    d_logprob: torch.Tensor


class Shard(NamedTuple):
    """Classes `start` to `start + width` of `n_classes`, the class weights of all (float64 [n_classes]) or None."""

    start: int
    width: int
    n_classes: int
    class_weight: torch.Tensor | None = None

    @property
    def own_weight(self) -> torch.Tensor | None:
        """The weights of the part's classes."""
        return None if self.class_weight is None else self.class_weight[self.start : self.start + self.width]

    @property
    def weight_sum(self) -> float:
        """The sum of the weights of all classes; how many there are where they have none."""
        return float(self.n_classes) if self.class_weight is None else float(self.class_weight.sum())

    @property
    def own_weight_sum(self) -> float:
        """The same of the part's classes."""
        return float(self.width) if self.own_weight is None else float(self.own_weight.sum())

    def labels(self, target: torch.Tensor, counts: torch.Tensor) -> tuple[Any, Any]:
        """(the labels within the part, which rows have theirs here).

        Rows that have not get class 0, whose own results are not looked at; those that do not count get NO_LABEL.
        """
        mine = counts & (target >= self.start) & (target < self.start + self.width)
        return torch.where(counts, torch.where(mine, target - self.start, 0), NO_LABEL), mine

    def label_weight(self, target: torch.Tensor) -> torch.Tensor:
        """The weight of each row's label, float64 [N]; 1 of a label that is no class."""
        if self.class_weight is None:
            return torch.ones(target.shape, dtype=torch.float64, device=target.device)
        inside = (target >= 0) & (target < self.n_classes)
        return torch.where(inside, self.class_weight[torch.where(inside, target, 0)], 1.0)

    def options(self, options: Options) -> Options:
        """Those of the part: its loss is the smoothing alone, or nothing."""
        smooth = float(options.label_smoothing > 0.0)
        return Options(NO_LABEL, smooth, 0.0, options.softcap, options.logit_scale, "nan")

    def factors(
        self,
        options: Options,
        mine: torch.Tensor,
        label_weight: torch.Tensor,
        own_lse: torch.Tensor,
        lse: torch.Tensor,
        d_loss: torch.Tensor,
        d_lse: torch.Tensor | float = 0.0,
        d_logprob: torch.Tensor | float = 0.0,
    ) -> ShardFactors:
        """The factors for the gradient of d_loss * loss + d_lse * lse + d_logprob * logprob by the part's logits.

        Terms are ordered so that a row keeps its digits as p -> 1: there own_lse - lse is nearly 0.
        """
        smoothing = options.label_smoothing
        to_label = (1 - smoothing) * label_weight * d_loss - d_logprob
        to_all = d_loss * (smoothing * self.weight_sum / self.n_classes + 2 * options.z_loss * lse) + d_lse
        own_label = torch.where(mine, to_label, 0.0)
        spread = d_loss * (smoothing * self.width / self.n_classes)
        whole = to_label + to_all
        rest = torch.where(mine, to_all, whole) - spread * (self.own_weight_sum / self.width)
        return ShardFactors(spread, whole * torch.expm1(own_lse - lse) + rest, -own_label)
