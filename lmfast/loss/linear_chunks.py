"""The driver of `linear_cross_entropy`: rows in chunks, three matrix products and one reading of the logits each.

    logits = hidden @ weight.T + bias        [chunk, V], in a buffer that all chunks share
    losses, and logits become their gradient in place
    d_hidden = logits @ weight               d_weight += logits.T @ hidden               d_bias += sum of logits

The products are torch's. The first chunk writes d_weight, the others add to it, in float32 whatever the dtype is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from lmfast.loss import _device
from lmfast.loss.autograd import formula, new_like
from lmfast.loss.rows import Options, Rows

__all__ = ["Head", "Results", "Upstream"]

CPU_BUDGET, GPU_BUDGET = 64 << 20, 1 << 30
FEWEST_ROWS = 16
"""Of a chunk, however small the budget: with fewer the products would only move the weight through the processor."""
CLASSES_AT_ONCE = 8192
"""Of a 16-bit gradient of the weight, before it is added to the float32 sum: small enough to stay in a cache."""


class Upstream(NamedTuple):
    """The gradient that comes from above. `scale` is one number, float64; the others are float64 [N] or None."""

    scale: torch.Tensor | None = None
    row_scale: torch.Tensor | None = None
    d_lse: torch.Tensor | None = None
    d_logprob: torch.Tensor | None = None


class Results(NamedTuple):
    """float64 [N], 0 for rows that were dropped; gradients, or None where nobody needs them."""

    loss: torch.Tensor
    lse: torch.Tensor
    logprob: torch.Tensor
    d_hidden: torch.Tensor | None
    d_weight: torch.Tensor | None
    d_bias: torch.Tensor | None


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
        if self.class_weight is None:
            return self._counts().sum().to(torch.float64)
        inside = (self.target >= 0) & (self.target < self.weight.shape[0])
        each = self.class_weight.to(torch.float64)[torch.where(inside, self.target, 0)]
        return torch.where(self._counts(), torch.where(inside, each, 1.0), 0.0).sum()

    def run(
        self,
        want: tuple[str, ...],
        upstream: Upstream | None = None,
        with_hidden: bool = False,
        with_weight: bool = False,
        with_bias: bool = False,
    ) -> Results:
        """What is wanted of "loss", "lse", "logprob", and with `upstream` the gradients that are asked for.

        Rows whose label is ignored take no part, unless their lse or its gradient does.
        """
        n, n_classes = self.target.shape[0], self.weight.shape[0]
        found = {name: self.hidden.new_zeros(n, dtype=torch.float64) for name in ("loss", "lse", "logprob")}
        d_hidden = torch.zeros_like(self.hidden) if with_hidden else None
        wide = torch.promote_types(self.weight.dtype, torch.float32)
        d_bias = self.hidden.new_zeros(n_classes, dtype=wide) if with_bias else None
        keeps_all = "lse" in want or (upstream is not None and upstream.d_lse is not None)
        kept = None if keeps_all else self._kept()
        n_rows = n if kept is None else len(kept)
        size = self._chunk_size(n_rows)
        d_weight = _WeightGradient(self.weight, -(-n_rows // size)) if with_weight else None
        buffer = self.hidden.new_empty(min(size, n_rows), n_classes)
        buffer = buffer if buffer.is_cuda else new_like(buffer)

        for start in range(0, n_rows, size):
            chunk = slice(start, min(start + size, n_rows))
            part: Any = chunk if kept is None else kept[chunk]
            hidden, logits = self.hidden[part], buffer[: chunk.stop - start]
            self._product(hidden, logits)
            results = self._rows(logits, part, want, upstream)
            for name in want:
                found[name][part] = results[name].to(torch.float64)
            if upstream is None:
                continue
            if d_weight is not None:
                d_weight.add(logits, hidden)
            if d_bias is not None:
                d_bias += logits.sum(0, dtype=wide)
            if d_hidden is not None and kept is None:
                torch.mm(logits, self.weight, out=d_hidden[part])
            elif d_hidden is not None:
                d_hidden[part] = torch.mm(logits, self.weight)
        return Results(
            **found,
            d_hidden=d_hidden,
            d_weight=None if d_weight is None else d_weight.total(),
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
        counts = self.target != self.options.ignore_index
        if self.options.on_bad_label == "ignore":
            counts &= (self.target >= 0) & (self.target < self.weight.shape[0])
        return counts

    def _chunk_size(self, n_rows: int) -> int:
        """How many rows at once, so that the logits keep to the budget and the chunks are about as long."""
        most = max(FEWEST_ROWS, self.budget // max(1, self.weight.shape[0] * self.hidden.element_size()))
        n_chunks: int = max(1, -(-n_rows // most))
        return max(1, -(-n_rows // n_chunks))

    def _product(self, hidden: torch.Tensor, logits: torch.Tensor) -> None:
        if self.bias is None:
            torch.mm(hidden, self.weight.T, out=logits)
        else:
            torch.addmm(self.bias, hidden, self.weight.T, out=logits)

    def _rows(
        self, logits: torch.Tensor, part: Any, want: tuple[str, ...], upstream: Upstream | None
    ) -> dict[str, Any]:
        """Results of the rows of a chunk; with `upstream` the logits are overwritten by their gradient."""
        labels, gradient = self.target[part], None if upstream is None else logits
        scale, *each = (None,) * 4 if upstream is None else upstream
        row_scale, d_lse, d_logprob = (None if d is None else d[part] for d in each)
        if self.on_gpu:
            given: dict[str, Any] = {"upstream": scale, "row_scale": row_scale}
            given |= {"d_lse": d_lse, "d_logprob": d_logprob}
            quiet = {"raise": "nan"}.get(self.options.on_bad_label, self.options.on_bad_label)  # it has been looked for
            words: dict[str, Any] = {**vars(self.options), "on_bad_label": quiet}
            return _device.rows(logits, labels, self.class_weight, **words, want=want, gradient=gradient, **given)
        if logits.is_cuda:
            return _by_formula(
                logits, labels, self.class_weight, self.options, gradient, (scale, row_scale, d_lse, d_logprob)
            )
        rows = Rows(logits, labels, self.class_weight, self.options)
        arrays = (
            None if d is None else np.ascontiguousarray(d.numpy(), np.float64) for d in (row_scale, d_lse, d_logprob)
        )
        names = ("row_scale", "d_lse", "d_logprob")
        factors: dict[str, Any] = dict(zip(names, arrays, strict=True))
        factors["scale"] = 1.0 if scale is None else float(scale)
        results = rows.run(want, gradient=gradient, **factors)
        return {name: torch.from_numpy(getattr(results, name)) for name in want}


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
        if self.sum.dtype == hidden.dtype:
            if first:
                torch.mm(d_logits.T, hidden, out=self.sum)
            else:
                self.sum.addmm_(d_logits.T, hidden)
            return
        for start in range(0, self.sum.shape[0], self.sum.shape[0] if self.sum.is_cuda else CLASSES_AT_ONCE):
            rows = slice(start, None if self.sum.is_cuda else start + CLASSES_AT_ONCE)
            product = _product_of_halves(d_logits[:, rows].T, hidden)
            if first:
                self.sum[rows] = product
            else:
                self.sum[rows] += product

    def total(self) -> torch.Tensor:
        return self.sum.zero_().to(self.dtype) if self.empty else self.sum.to(self.dtype)


def _product_of_halves(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The product a @ b of 16-bit matrices, in float32 where torch offers it (2.8 and newer, on CUDA)."""
    if a.is_cuda and torch.__version__ >= (2, 8):
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a, b)


def _by_formula(
    logits: torch.Tensor, labels: torch.Tensor, class_weight: Any, options: Options, gradient: Any, upstream: Any
) -> dict[str, Any]:
    """What no kernel takes: float64 on a GPU."""
    with torch.enable_grad():
        x = logits.detach().clone().requires_grad_()
        loss, lse, logprob = formula(x, labels, class_weight, options)[:3]
        if gradient is not None:
            scale, row_scale, d_lse, d_logprob = upstream
            d_loss = torch.ones_like(loss) if row_scale is None else row_scale
            pairs = [(loss, d_loss if scale is None else d_loss * scale), (lse, d_lse), (logprob, d_logprob)]
            given = [(value, d) for value, d in pairs if d is not None]
            gradient.copy_(torch.autograd.grad([v for v, _ in given], x, [d for _, d in given])[0])
    return {"loss": loss.detach(), "lse": lse.detach(), "logprob": logprob.detach()}
