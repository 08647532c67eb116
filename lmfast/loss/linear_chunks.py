"""The driver of `linear_cross_entropy`: rows in chunks, three matrix products and one reading of the logits each.

    logits = hidden @ weight.T + bias        [chunk, V], in a buffer that all chunks share
    losses, and logits become their gradient in place
    d_hidden = logits @ weight               d_weight += logits.T @ hidden               d_bias += sum of logits

The products are torch's. The first chunk writes d_weight, the others add to it, in float32 or better.

A 16-bit d_weight on the CPU would need a float32 sum of twice its size beside it. There the chunks leave it out, and a
second pass takes the classes in parts instead, all rows at once: it makes the part's logits anew, turns them into
their gradient by the log-sum-exp that is known by now, and writes the part of d_weight once. It is a fourth product
instead of a float32 sum that passes through memory for each chunk: less memory, and no more time.

What the first pass has made of as many rows as there are hidden features is not made anew: the memory of d_weight,
which is not written before the second pass, has room for the gradient of just so many rows of logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from lmfast.loss import _device
from lmfast.loss.autograd import counted, divisor_of, formula, new_like
from lmfast.loss.rows import Options, Rows
from lmfast.loss.shards import Shard

__all__ = ["Head", "Results", "Upstream"]

CPU_BUDGET, GPU_BUDGET = 64 << 20, 1 << 30
FEWEST_ROWS = 16
"""Of a chunk, however small the budget: with fewer the products would only move the weight through the processor."""
FEWEST_CLASSES = 256
"""Of a part, however many rows there are."""


class Upstream(NamedTuple):
    """The gradient that comes from above. `scale` is one number, float64; the others are float64 [N] or None."""

    scale: torch.Tensor | None = None
    row_scale: torch.Tensor | None = None
    d_lse: torch.Tensor | None = None
    d_logprob: torch.Tensor | None = None
    d_entropy: torch.Tensor | None = None


class Results(NamedTuple):
    """float64 [N], 0 for rows that were dropped; gradients, or None where nobody needs them."""

    loss: torch.Tensor
    lse: torch.Tensor
    logprob: torch.Tensor
    entropy: torch.Tensor
    correct: torch.Tensor
    d_hidden: torch.Tensor | None
    d_weight: torch.Tensor | None
    d_bias: torch.Tensor | None


OF_ROWS = Results._fields[:5]
"""Those that are a number for each row."""


class Head:
    """Hidden states [N, H], the weight [V, H] that makes logits of them, their labels and the options of the loss."""

    def __init__(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        target: torch.Tensor,
        bias: torch.Tensor | None,
        class_weight: torch.Tensor | None,
        options: Options,
        budget_bytes: int = 0,
    ):
        self.hidden, self.weight, self.target, self.bias = hidden, weight, target, bias
        self.class_weight, self.options = class_weight, options
        self.on_gpu = _device.supports(hidden)
        self.budget = budget_bytes or (GPU_BUDGET if hidden.is_cuda else CPU_BUDGET)
        self._refuse_bad_labels()

    def divisor(self) -> torch.Tensor:
        """By what a mean divides, float64 []: the sum of the weights of the labels that are not ignored."""
        return divisor_of(self.target, self.weight.shape[0], self.class_weight, self.options)[1]

    def run(
        self,
        want: tuple[str, ...],
        upstream: Upstream | None = None,
        with_hidden: bool = False,
        with_weight: bool = False,
        with_bias: bool = False,
    ) -> Results:
        """What is wanted of OF_ROWS, and with `upstream` the gradients that are asked for.

        Rows whose label is ignored take no part, unless their lse or entropy or its gradient does.
        """
        n, n_classes = self.target.shape[0], self.weight.shape[0]
        found = {name: self.hidden.new_zeros(n, dtype=torch.float64) for name in OF_ROWS}
        d_hidden = torch.zeros_like(self.hidden) if with_hidden else None
        wide = torch.promote_types(self.weight.dtype, torch.float32)
        d_bias = self.hidden.new_zeros(n_classes, dtype=wide) if with_bias else None
        keeps_all = "lse" in want or "entropy" in want
        keeps_all |= upstream is not None and (upstream.d_lse is not None or upstream.d_entropy is not None)
        kept = None if keeps_all else self._kept()
        n_rows = n if kept is None else len(kept)
        size = self._chunk_size(n_rows)
        in_parts = with_weight and size < n_rows and self.weight.element_size() == 2 and not self.hidden.is_cuda
        in_parts &= upstream is None or upstream.d_entropy is None
        d_weight = _WeightGradient(self.weight, -(-n_rows // size)) if with_weight and not in_parts else None
        own_logits = self.hidden.new_zeros(n_rows) if in_parts else None
        parts = _Parts(self.weight, n_rows, self.budget) if in_parts else None
        names = ("lse", *want) if in_parts and "lse" not in want else want
        buffer = self.hidden.new_empty(min(size, n_rows), n_classes)
        buffer = buffer if buffer.is_cuda else new_like(buffer)

        for start in range(0, n_rows, size):
            chunk = slice(start, min(start + size, n_rows))
            part: Any = chunk if kept is None else kept[chunk]
            hidden, logits = self.hidden[part], buffer[: chunk.stop - start]
            self._product(hidden, logits)
            if own_logits is not None:
                own_logits[chunk] = logits.gather(1, self._inside(self.target[part])[:, None])[:, 0]
            results = self._rows(logits, part, names, upstream)
            for name in names:
                found[name][part] = results[name].to(torch.float64)
            if upstream is None:
                continue
            if d_weight is not None:
                d_weight.add(logits, hidden)
            if parts is not None:
                parts.keep(logits, start)
            if d_bias is not None:
                d_bias += logits.sum(0, dtype=wide)
            if d_hidden is not None and kept is None:
                torch.mm(logits, self.weight, out=d_hidden[part])
            elif d_hidden is not None:
                d_hidden[part] = torch.mm(logits, self.weight)
        if parts is not None:
            assert upstream is not None
            assert own_logits is not None
            del buffer, logits
            whole_weight = self._in_parts(parts, kept, own_logits, found["lse"], upstream)
        else:
            whole_weight = None if d_weight is None else d_weight.total()
        return Results(
            **found,
            d_hidden=d_hidden,
            d_weight=whole_weight,
            d_bias=None if d_bias is None else d_bias.to(self.weight.dtype),
        )

    def _refuse_bad_labels(self) -> None:
        """Here, because a chunk no longer knows which rows it has. On a GPU this waits; "nan" and "ignore" do not."""
        if self.options.on_bad_label != "raise":
            return
        n_classes, ignore_index = self.weight.shape[0], self.options.ignore_index
        bad = ((self.target < 0) | (self.target >= n_classes)) & (self.target != ignore_index)
        if bool(bad.any()):
            at = int(bad.nonzero()[0])
            raise IndexError(
                f"target[{at}] = {int(self.target[at])} is outside [0, {n_classes}) and is not "
                f"ignore_index = {ignore_index}"
            )

    def _kept(self) -> torch.Tensor | None:
        """The rows that are not ignored, or None for all. A CUDA graph cannot wait for the answer, so it takes all."""
        if self.target.is_cuda and torch.cuda.is_current_stream_capturing():
            return None
        keep = self._counts()
        rows = keep.nonzero()[:, 0]
        return None if len(rows) == len(keep) else rows

    def _counts(self) -> torch.Tensor:
        """Which rows are not ignored."""
        return counted(self.target, self.weight.shape[0], self.options)

    def _chunk_size(self, n_rows: int) -> int:
        """How many rows at once, so that the logits keep to the budget and the chunks are about as long."""
        most = max(FEWEST_ROWS, self.budget // max(1, self.weight.shape[0] * self.hidden.element_size()))
        n_chunks: int = max(1, -(-n_rows // most))
        return max(1, -(-n_rows // n_chunks))

    def _product(self, hidden: torch.Tensor, logits: torch.Tensor, classes: slice = slice(None)) -> None:
        weight = self.weight[classes].T
        if self.bias is None:
            torch.mm(hidden, weight, out=logits)
        else:
            torch.addmm(self.bias[classes], hidden, weight, out=logits)

    def _inside(self, target: torch.Tensor) -> torch.Tensor:
        """Labels, and 0 for what is no class."""
        return torch.where((target >= 0) & (target < self.weight.shape[0]), target, 0)

    def _in_parts(
        self,
        parts: _Parts,
        kept: torch.Tensor | None,
        own_logits: torch.Tensor,
        lse: torch.Tensor,
        upstream: Upstream,
    ) -> torch.Tensor:
        """d_weight, some classes at once of all rows that are kept, whose log-sum-exp is `lse`.

        A product of another shape may round a logit the other way. The label's is put in as it was: where p -> 1, a
        unit of bfloat16 would be more than all that is left of its gradient.
        """
        all_hidden = self.hidden if kept is None else self.hidden[kept]
        rows: Any = slice(parts.n_kept, None) if kept is None else kept[parts.n_kept :]
        hidden, target, lse, own_logits = self.hidden[rows], self.target[rows], lse[rows], own_logits[parts.n_kept :]
        scale, row_scale, d_lse, d_logprob, _ = (d if d is None or not d.dim() else d[rows] for d in upstream)
        counts = self._counts()[rows]
        bad = counts & (self._inside(target) != target)
        d_loss = torch.where(counts, (1.0 if scale is None else scale) * torch.ones_like(lse), 0.0)
        d_loss = d_loss if row_scale is None else d_loss * row_scale
        d_loss = torch.where(bad, torch.nan, d_loss)
        d_lse = lse.new_zeros(()) if d_lse is None else d_lse
        d_logprob = lse.new_zeros(()) if d_logprob is None else torch.where(counts, d_logprob, 0.0)
        n_classes = self.weight.shape[0]
        weights = None if self.class_weight is None else self.class_weight.to(torch.float64)

        for classes, gradient in parts.each():
            shard = Shard(classes.start, classes.stop - classes.start, n_classes, weights)
            logits = gradient[parts.n_kept :]
            if len(logits):
                self._product(hidden, logits, classes)
                labels, mine = shard.labels(target, counts)
                here = mine.nonzero()[:, 0]
                logits[here, labels[here]] = own_logits[here]
                # Rows that do not count are here for their lse alone; a label that is ignored would take that away.
                labels = torch.where(counts, labels, 0)
                smooth = self.options.label_smoothing > 0.0
                part = Rows(logits, labels, shard.own_weight if smooth else None, shard.options(self.options))
                own_lse = torch.from_numpy(part.run(("lse",)).lse)
                label_weight = shard.label_weight(target)
                factors = shard.factors(self.options, mine, label_weight, own_lse, lse, d_loss, d_lse, d_logprob)
                given = (f.contiguous().numpy() for f in factors)
                names = ("row_scale", "d_lse", "d_logprob")
                part.run((), gradient=logits, **dict(zip(names, given, strict=True)))
            torch.mm(gradient.T, all_hidden, out=parts.d_weight[classes])
        return parts.d_weight

    def _rows(
        self, logits: torch.Tensor, part: Any, want: tuple[str, ...], upstream: Upstream | None
    ) -> dict[str, Any]:
        """Results of the rows of a chunk; with `upstream` the logits are overwritten by their gradient."""
        labels, gradient = self.target[part], None if upstream is None else logits
        scale, *each = (None,) * 5 if upstream is None else upstream
        names = ("row_scale", "d_lse", "d_logprob", "d_entropy")
        by_row = {name: None if d is None else d[part] for name, d in zip(names, each, strict=True)}
        if self.on_gpu:
            given: dict[str, Any] = {"upstream": scale, **by_row}
            quiet = {"raise": "nan"}.get(self.options.on_bad_label, self.options.on_bad_label)  # it has been looked for
            words: dict[str, Any] = {**vars(self.options), "on_bad_label": quiet}
            return _device.rows(logits, labels, self.class_weight, **words, want=want, gradient=gradient, **given)
        if logits.is_cuda:
            return _by_formula(logits, labels, self.class_weight, self.options, gradient, scale, **by_row)
        rows = Rows(logits, labels, self.class_weight, self.options)
        factors: dict[str, Any] = {
            name: None if d is None else np.ascontiguousarray(d.numpy(), np.float64) for name, d in by_row.items()
        }
        factors["scale"] = 1.0 if scale is None else float(scale)
        results = rows.run(want, gradient=gradient, **factors)
        return {name: torch.from_numpy(getattr(results, name)) for name in want}


class _Parts:
    """d_weight [V, H] as it is made, some classes at once of all rows; until then it keeps the gradient of some rows.

    The part of classes a to b has room for (b - a) * H numbers, which are the gradient of H rows by those classes.
    """

    def __init__(self, weight: torch.Tensor, n_rows: int, budget: int):
        n_classes, n_features = weight.shape
        width = max(FEWEST_CLASSES, budget // max(1, n_rows * weight.element_size()) // 64 * 64)
        self.d_weight = new_like(weight)
        self.n_rows, self.n_kept = n_rows, min(n_rows, n_features)
        self.classes = [slice(a, min(a + width, n_classes)) for a in range(0, n_classes, width)]

    def _room(self, classes: slice) -> torch.Tensor:
        """Where the gradient of the rows that are kept stands."""
        width = classes.stop - classes.start
        return self.d_weight[classes].view(-1)[: self.n_kept * width].view(self.n_kept, width)

    def keep(self, gradient: torch.Tensor, start: int) -> None:
        """The gradient [chunk, V] of the rows from `start` on, of those that there is room for."""
        n = min(len(gradient), self.n_kept - start)
        for classes in self.classes if n > 0 else ():
            self._room(classes)[start : start + n] = gradient[:n, classes]

    def each(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """The classes of each part, and [N, width] for the gradient of all rows by them, of which some have theirs."""
        widest = self.classes[0].stop
        buffer = new_like(self.d_weight.new_empty(self.n_rows * widest))
        for classes in self.classes:
            width = classes.stop - classes.start
            gradient = buffer[: self.n_rows * width].view(self.n_rows, width)
            gradient[: self.n_kept] = self._room(classes)
            yield classes, gradient


class _WeightGradient:
    """d_weight [V, H] of several chunks: in its own dtype if one chunk is all, else summed in float32 or better."""

    def __init__(self, weight: torch.Tensor, n_chunks: int):
        self.dtype = weight.dtype
        wide = self.dtype if n_chunks <= 1 else torch.promote_types(self.dtype, torch.float32)
        self.sum = torch.empty(weight.shape, dtype=wide, device=weight.device)
        self.sum = self.sum if self.sum.is_cuda else new_like(self.sum)
        self.empty = True

    def add(self, d_logits: torch.Tensor, hidden: torch.Tensor) -> None:
        first, self.empty = self.empty, False
        if self.sum.dtype != hidden.dtype:
            product = _product_of_halves(d_logits.T, hidden)
            if first:
                self.sum.copy_(product)
            else:
                self.sum += product
        elif first:
            torch.mm(d_logits.T, hidden, out=self.sum)
        else:
            self.sum.addmm_(d_logits.T, hidden)

    def total(self) -> torch.Tensor:
        return self.sum.zero_().to(self.dtype) if self.empty else self.sum.to(self.dtype)


def _product_of_halves(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The product a @ b of 16-bit matrices, in float32 where torch offers it (2.8 and newer, on CUDA)."""
    if a.is_cuda and torch.__version__ >= (2, 8):
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a, b)


def _by_formula(
    logits: torch.Tensor,
    labels: torch.Tensor,
    class_weight: Any,
    options: Options,
    gradient: Any,
    scale: Any,
    row_scale: Any,
    d_lse: Any,
    d_logprob: Any,
    d_entropy: Any,
) -> dict[str, Any]:
    """What no kernel takes: float64 on a GPU."""
    with torch.enable_grad():
        x = logits.detach().clone().requires_grad_()
        found = formula(x, labels, class_weight, options)
        if gradient is not None:
            d_loss = torch.ones_like(found[0]) if row_scale is None else row_scale
            d_loss = d_loss if scale is None else d_loss * scale
            pairs = zip(found, (d_loss, d_lse, d_logprob, d_entropy), strict=False)
            given = [(value, d) for value, d in pairs if d is not None]
            gradient.copy_(torch.autograd.grad([v for v, _ in given], x, [d for _, d in given])[0])
    return {name: value.detach() for name, value in zip(OF_ROWS, found, strict=True)}
