"""Cross-entropy for tensors and arrays, all of its options; the kernel behind it is csrc/loss/cross_entropy.h."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lmfast.loss.rows import Options, Rows, is_tensor
from lmfast.loss.shapes import class_axis, to_rows

__all__ = ["CrossEntropyOutput", "cross_entropy", "cross_entropy_with_grad"]

REDUCTIONS = ("mean", "sum", "none")


class CrossEntropyOutput(NamedTuple):
    """What `cross_entropy` returns when more than the loss is asked for; None for what was not.

    loss       as `cross_entropy` alone returns it
    lse        log(sum(exp(z))) of each row, of ignored rows too
    logprobs   log(p[label]) of each row, 0 of an ignored one and of soft targets
    accuracy   which rows have their largest logit at the label, reduced as the loss is: the share of the rows that are
               not ignored, their number, or 1 and 0 for each
    entropy    -sum(p * log(p)) of each row in nats, of ignored rows too
    """

    loss: Any
    lse: Any = None
    logprobs: Any = None
    accuracy: Any = None
    entropy: Any = None


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    dim: int | None = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    return_lse: bool = False,
    return_logprobs: bool = False,
    return_accuracy: bool = False,
    return_entropy: bool = False,
    inplace: bool = False,
    empty: str = "nan",
    on_bad_label: str = "raise",
) -> Any:
    """The cross-entropy of logits and labels: `torch.nn.functional.cross_entropy` 2.13, same defaults, and more.

    logits           [C], [N, C], [N, C, d1, ...] or [..., C]; float32, float64, bfloat16 or float16; rows may be any
                     distance apart
    target           labels, any integers, of the shape of the logits without C; or distributions over the classes, of
                     the shape of the logits. Where the shape of labels fits both axis 1 and the last one, axis 1 holds
                     the classes, as in torch
    weight           [C], a factor for each class
    ignore_index     the label of rows that count nothing: their loss and gradient are 0
    reduction        "mean" (divided by the sum of the weights of the labels), "sum" or "none"
    label_smoothing  what part of each target is spread evenly over all classes
    dim              the axis that holds the classes
    z_loss           adds z_loss * lse**2 to each row's loss
    softcap          logits become softcap * tanh(logits / softcap)
    logit_scale      then they are multiplied by this; 1 / temperature
    return_*         makes the result a `CrossEntropyOutput`
    inplace          lets the gradient take the memory of the logits, whose values are lost: the fastest way and no more
                     memory. Only where a gradient is needed; whoever else saved the logits for a backward pass gets
                     torch's error about it
    empty            the mean over no rows: "nan" as in torch, or "zero". The gradient is 0 either way
    on_bad_label     of a label out of range: "raise" IndexError, make the row's loss and gradient "nan", or "ignore" it

    Returns a tensor or a numpy scalar (an array for "none") in float32, or float64 for float64 logits.

    Exactness: for |logits| <= 100 each row's loss is within the larger of 1e-6 and 2 ulp of the float64 one (4e-6 with
    a softcap; on a GPU 3 ulp of lse with label_smoothing, times the largest weight) and keeps its digits as the label's
    probability goes to 1. The gradient of bfloat16 and float16 logits is rounded once. The same bits for any number of
    threads and at any place in a batch.

    Gradients: of the loss, lse, logprobs and entropy by the logits, twice differentiable; soft targets and weights that
    need a gradient get it from a slower way. With a scalar loss and no more results the gradient is made in the forward
    pass while the row is at hand, so forward and backward together read the logits once.

    On a GPU the kernels take float32, bfloat16 and float16 with labels; float64 and soft targets take the composite
    formula in torch operations, in float64 and with several tensors of the size of the logits.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction = {reduction!r}: allowed are {', '.join(REDUCTIONS)}")
    if empty not in ("nan", "zero"):
        raise ValueError(f"empty = {empty!r}: allowed are nan, zero")
    options = Options(ignore_index, label_smoothing, z_loss, softcap or 0.0, logit_scale, on_bad_label)
    want = tuple(
        name
        for name, asked in (
            ("lse", return_lse),
            ("logprobs", return_logprobs),
            ("accuracy", return_accuracy),
            ("entropy", return_entropy),
        )
        if asked
    )
    if is_tensor(logits):
        from lmfast.loss import autograd

        return autograd.cross_entropy(logits, target, weight, options, reduction, dim, want, inplace, empty)
    logits, target, _, shape = _arrays(logits, target, dim)
    kind = np.float64 if logits.dtype == np.float64 else np.float32
    return results_of(Rows(logits, target, weight, options), reduction, want, empty, shape, kind)


def results_of(
    rows: Rows, reduction: str, want: tuple[str, ...], empty: str, shape: tuple[int, ...], kind: type[np.floating[Any]]
) -> Any:
    """What `cross_entropy` returns, as numpy scalars and arrays of `kind`; `shape` is that of a number for each row."""
    names = {"logprobs": "logprob", "accuracy": "correct"}
    n_valid, divisor = rows.count()
    found = rows.run(("loss", *(names.get(name, name) for name in want)))
    loss = _reduce(found.loss, reduction, divisor, empty, shape, kind)
    if not want:
        return loss
    each = {name: getattr(found, names.get(name, name)) for name in want}
    results = {name: values.astype(kind).reshape(shape) for name, values in each.items()}
    if "accuracy" in want:
        results["accuracy"] = _reduce(found.correct, reduction, n_valid, empty, shape, kind)
    return CrossEntropyOutput(loss, **results)


def cross_entropy_with_grad(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    dim: int | None = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    empty: str = "nan",
    on_bad_label: str = "raise",
    out: Any = None,
) -> tuple[Any, Any]:
    """(loss, its gradient by the logits) in one reading of the logits, without autograd.

    reduction   "mean" or "sum"
    out         where the gradient is put: an array or tensor of the shape and dtype of the logits, or the logits
                themselves, or None for a new one

    All else is as for `cross_entropy`.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction = {reduction!r}: allowed are mean, sum")
    if empty not in ("nan", "zero"):
        raise ValueError(f"empty = {empty!r}: allowed are nan, zero")
    options = Options(ignore_index, label_smoothing, z_loss, softcap or 0.0, logit_scale, on_bad_label)
    tensors = is_tensor(logits)
    if tensors:
        from lmfast.loss import autograd

        axis = class_axis(logits, target, dim)
        source, target = to_rows(logits.detach(), axis), autograd.target_rows(logits, target, axis)
        if source.stride(-1) != 1:
            source = source.contiguous()
    else:
        logits = np.asarray(logits)
        source, target, axis, _ = _arrays(logits, target, dim)
    if out is not None and (tuple(out.shape) != tuple(logits.shape) or out.dtype != logits.dtype):
        raise ValueError(
            f"out: want shape {tuple(logits.shape)} of {logits.dtype}, got {tuple(out.shape)} of {out.dtype}"
        )
    new = out is None
    if new:
        out = autograd.new_like(logits) if tensors else np.empty_like(logits)
    room = to_rows(out.detach() if tensors else out, axis)
    apart = room.data_ptr() != out.data_ptr() if tensors else not np.shares_memory(room, out)
    apart = apart or room.strides[-1] != room.itemsize if not tensors else apart or room.stride(-1) != 1
    if apart:  # no view of `out` has its columns side by side
        room = source.new_empty(source.shape) if tensors else np.empty(source.shape, source.dtype)
    rows = Rows(source, target, weight, options)
    _, divisor = rows.count()
    scale = 1.0 if reduction == "sum" else 1.0 / divisor if divisor else 0.0
    losses = rows.run(("loss",), gradient=room, scale=scale).loss
    if apart:
        wide = (*(out.shape[i] for i in range(out.ndim) if i != axis), out.shape[axis])
        moved = room.reshape(wide)
        out[...] = moved.movedim(-1, axis) if tensors else np.moveaxis(moved, -1, axis)
    kind = np.float64 if str(logits.dtype).endswith("float64") else np.float32
    loss = _reduce(losses, reduction, divisor, empty, (), kind)
    return (autograd.scalar(loss, logits) if tensors else loss), out


def _arrays(logits: Any, target: Any, dim: int | None) -> tuple[Any, Any, int, tuple[int, ...]]:
    """Logits and targets as aligned rows, the axis of the classes, the shape of a result for each row."""
    logits, target = np.asarray(logits), np.asarray(target)
    axis = class_axis(logits, target, dim)
    shape = logits.shape[:axis] + logits.shape[axis + 1 :]
    if target.shape == logits.shape:
        target = _aligned(to_rows(target.astype(logits.dtype, copy=False), axis))
    elif target.dtype.kind not in "iu":
        raise TypeError(f"target: want integers, or distributions of shape {logits.shape}, got {target.dtype}")
    else:
        target = target.reshape(-1)
    return _aligned(to_rows(logits, axis)), target, axis, shape


def _aligned(rows: Any) -> Any:
    """The rows themselves where the kernel can read them in place."""
    good = rows.flags.aligned and (rows.shape[1] < 2 or rows.strides[1] == rows.itemsize)
    good = good and rows.strides[0] % rows.itemsize == 0 and rows.dtype.isnative
    return rows if good else np.array(rows, rows.dtype.newbyteorder("="), order="C")


def _reduce(values: Any, reduction: str, divisor: float, empty: str, shape: tuple[int, ...], kind: Any) -> Any:
    """The rows' values summed in double precision and in order."""
    if reduction == "none":
        return values.astype(kind).reshape(shape)
    total = values.sum(dtype=np.float64)
    if reduction == "mean":
        total = total / divisor if divisor else np.float64("nan" if empty == "nan" else 0.0)
    return kind(total)
