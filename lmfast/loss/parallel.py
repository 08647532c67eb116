"""Cross-entropy of logits whose vocabulary is split over the ranks of a process group (tensor parallelism).

Each rank reads its part of every row once and tells the others three numbers about it: the log-sum-exp of its classes
without the label's, the label's logit where it has it, and what smoothing needs. One all-gather of them is all the
communication; the backward pass needs none. With z_y the label's logit and r_k the log-sum-exp of rank k's others

    -log p(y) = log(1 + exp(logsumexp_k(r_k) - z_y)),

which keeps every digit as p -> 1, and the smoothing is over the whole vocabulary: the result is that of one rank.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch.autograd.function import once_differentiable

from lmfast.loss.autograd import _backward_op, _rows_op, _words
from lmfast.loss.rows import Options
from lmfast.loss.shards import Shard

__all__ = ["vocab_parallel_cross_entropy"]


def vocab_parallel_cross_entropy(
    logits_shard: torch.Tensor,
    target: torch.Tensor,
    group: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    weight: torch.Tensor | None = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    empty: str = "nan",
    vocab_start: int | None = None,
    vocab_size: int | None = None,
) -> torch.Tensor:
    """`cross_entropy(torch.cat(all shards, -1), target, ...)` on every rank of `group`, and the gradient of the own
    shard.

    logits_shard   [..., V_k]: the logits of this rank's classes, float32, float64, bfloat16 or float16
    target         labels [...] in the whole vocabulary, the same on every rank
    group          of torch.distributed; None is the default one
    weight         a factor for each class of the whole vocabulary, [V], the same on every rank, or None
    vocab_start    the first class of this rank, and
    vocab_size     the number of all classes: to be given where the shards are not equally wide. By default rank k has
                   the classes from k * V_k on

    The other options are those of `lmfast.loss.cross_entropy`; soft targets and a second derivative are not offered. A
    label outside the vocabulary raises IndexError, on every rank alike.
    """
    if not dist.is_initialized():
        raise RuntimeError("want a process group: call torch.distributed.init_process_group first")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction = {reduction!r}: allowed are mean, sum, none")
    if empty not in ("nan", "zero"):
        raise ValueError(f"empty = {empty!r}: allowed are nan, zero")
    if target.shape != logits_shard.shape[:-1]:
        raise ValueError(f"target: want shape {tuple(logits_shard.shape[:-1])}, got {tuple(target.shape)}")
    if (vocab_start is None) != (vocab_size is None):
        raise ValueError("want both vocab_start and vocab_size, or neither")
    width = logits_shard.shape[-1]
    if vocab_start is None or vocab_size is None:
        vocab_start, vocab_size = dist.get_rank(group) * width, dist.get_world_size(group) * width
    if weight is not None and weight.shape != (vocab_size,):
        raise ValueError(f"weight: want shape ({vocab_size},), of the whole vocabulary, got {tuple(weight.shape)}")
    options = Options(ignore_index, label_smoothing, z_loss, softcap or 0.0, logit_scale)
    rows, labels = logits_shard.reshape(-1, width), target.reshape(-1).to(torch.int64)
    _refuse_bad_labels(labels, vocab_size, ignore_index)
    shard = Shard(vocab_start, width, vocab_size, None if weight is None else weight.detach().to(torch.float64))
    losses = _VocabParallel.apply(rows, labels, group, options, shard)
    kind = torch.float64 if logits_shard.dtype == torch.float64 else torch.float32
    if reduction == "none":
        return losses.to(kind).reshape(target.shape)
    total = losses.sum()
    if reduction == "mean":
        n = torch.where(labels != ignore_index, shard.label_weight(labels), 0.0).sum()
        nothing = n == 0
        total = torch.where(nothing, float("nan") if empty == "nan" else 0.0, total / torch.where(nothing, 1.0, n))
    return total.to(kind)


class _VocabParallel(torch.autograd.Function):
    """The loss of each row, float64 [N]."""

    @staticmethod
    def forward(ctx: Any, logits: Any, target: Any, group: Any, options: Options, shard: Shard) -> torch.Tensor:
        smoothing = options.label_smoothing
        ignored = target == options.ignore_index
        labels, mine = shard.labels(target, ~ignored)
        own_weight = shard.own_weight if smoothing else None  # the label's is applied here
        spread, lse, logprob, _, _ = _rows_op(logits, labels, own_weight, *_words(shard.options(options)), False)

        label_z = torch.where(mine, lse + logprob, -torch.inf)
        others = torch.where(mine, label_z + torch.log(torch.expm1(-logprob)), lse)
        sum_wz = shard.own_weight_sum * lse - shard.width * spread  # if smoothed, else it is not looked at
        parts = torch.stack([others, label_z, lse, sum_wz])
        gathered = [torch.empty_like(parts) for _ in range(dist.get_world_size(group))]
        dist.all_gather(gathered, parts, group=group)
        others, label_z, every_lse, sums = torch.stack(gathered, 1)
        label_z = label_z.amax(0)
        whole, label_weight = torch.logsumexp(every_lse, 0), shard.label_weight(target)
        nll = torch.nn.functional.softplus(torch.logsumexp(others, 0) - label_z, threshold=700.0)
        loss = (1 - smoothing) * label_weight * nll
        if smoothing:
            loss = loss + smoothing / shard.n_classes * (shard.weight_sum * whole - sums.sum(0))
        if options.z_loss:
            loss = loss + options.z_loss * whole**2
        ctx.options, ctx.shard = options, shard
        ctx.save_for_backward(logits, labels, mine, ignored, label_weight, lse, whole)
        return torch.where(ignored, 0.0, loss)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        logits, labels, mine, ignored, label_weight, lse, whole = ctx.saved_tensors
        shard, options = ctx.shard, ctx.options
        upstream = torch.where(ignored, 0.0, upstream)
        row_scale, d_lse, d_logprob = shard.factors(options, mine, label_weight, lse, whole, upstream)
        d_lse = torch.where(ignored, 0.0, d_lse)
        own_weight, words = shard.own_weight if options.label_smoothing else None, _words(shard.options(options))
        gradient = _backward_op(logits, labels, own_weight, *words, row_scale, d_lse, d_logprob, None)
        return gradient, None, None, None, None


def _refuse_bad_labels(labels: torch.Tensor, vocab_size: int, ignore_index: int) -> None:
    bad = (labels != ignore_index) & ((labels < 0) | (labels >= vocab_size))
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        raise IndexError(
            f"target[{at}] = {int(labels[at])} is outside [0, {vocab_size}) and is not ignore_index = {ignore_index}"
        )
