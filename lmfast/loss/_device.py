"""The door to the loss kernels of the GPU: torch tensors on a CUDA device in, one launch, tensors out.

Nothing here waits for the device or copies from it, except where `on_bad_label="raise"` asks it whether it found a bad
label, and `bad_labels`. So all of it can be captured in a CUDA graph. What the kernels compute is said in
`csrc/loss/cross_entropy.h`, the way they do it in `csrc/loss/cross_entropy.cu`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lmfast import _cuda

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["bad_labels", "divisor", "empty_gradient", "rows", "scale_gradient", "supports"]

SUFFIXES = {"torch.float32": "f32", "torch.bfloat16": "bf16", "torch.float16": "f16"}
LABELS = {"torch.uint8": 1, "torch.int32": 4, "torch.int64": 8}
RESULTS = ("loss", "lse", "logprob", "entropy", "correct")
ON_BAD_LABEL = ("raise", "nan", "ignore")

_counters: dict[Any, Tensor] = {}
"""device -> int32 tensor with one number: how many labels out of range its kernels have met."""


def supports(logits: Tensor, *, soft: Tensor | None = None) -> bool:
    """Whether the kernels take these logits: float32, bfloat16 or float16 on a CUDA device, with class labels."""
    return bool(logits.is_cuda) and str(logits.dtype) in SUFFIXES and soft is None


def bad_labels(device: Any) -> int:
    """How many labels that were neither a class nor `ignore_index` the kernels have met on `device`. Waits for it."""
    import torch

    return int(_counter(torch.empty(0, device=device).device))


def divisor(
    target: Tensor,
    n_classes: int,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    on_bad_label: str = "nan",
) -> Tensor:
    """By what a mean divides: the sum of the weights of the labels that are not ignored, float32 [] on their device."""
    import torch

    job = _cuda.CrossEntropyJob(n_classes=n_classes, ignore_index=ignore_index)
    keep = _set_labels(job, target, weight, on_bad_label)
    out = torch.empty((), dtype=torch.float32, device=target.device)
    with _on(target) as (library, stream):
        _cuda.check(library.lf_cuda_cross_entropy_divide(ctypes.byref(job), out.data_ptr(), stream))
    del keep
    return out


def empty_gradient(logits: Tensor) -> Tensor:
    """Room for a gradient [N, V] with the rows as far apart as those of `logits`, and as they lie against 16 bytes.

    A kernel stores whole vectors only where both are alike; of logits with an odd number of columns that begin at an
    odd place a plain new tensor would not be.
    """
    import torch

    n_rows, n_columns = logits.shape
    stride = max(logits.stride(0), n_columns)
    shift = logits.data_ptr() % 16 // logits.element_size()
    room = torch.empty(n_rows * stride + shift, dtype=logits.dtype, device=logits.device)
    return room[shift:].as_strided((n_rows, n_columns), (stride, 1))


def rows(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    on_bad_label: str = "nan",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    logit_scale: float = 1.0,
    want: tuple[str, ...] = ("loss",),
    gradient: Tensor | None = None,
    scale: float = 1.0,
    upstream: Tensor | None = None,
    divisor: Tensor | None = None,
    row_scale: Tensor | None = None,
    d_lse: Tensor | None = None,
    d_logprob: Tensor | None = None,
    d_entropy: Tensor | None = None,
    plan: int = 0,
) -> dict[str, Tensor]:
    """What is wanted of each row of logits [N, V], and the gradient, in one launch.

    logits    float32, bfloat16 or float16; columns side by side, rows any distance apart
    target    int64, int32 or uint8 [N]; a label that is neither a class nor `ignore_index` makes its row NaN and is
              counted ("nan"), is ignored and counted ("ignore"), or raises IndexError after the device is done
              ("raise")
    weight    of the classes [V]
    want      of "loss", "lse", "logprob", "entropy": float32 [N], "correct": bool [N]
    gradient  [N, V] of the dtype of the logits, or the logits themselves: filled with the gradient of
              scale * upstream / divisor * row_scale * loss + d_lse * lse + d_logprob * logprob + d_entropy * entropy,
              where `upstream` and `divisor` are one float32 number on the device and the others float32 [N]
    plan      0; tests choose others, see `csrc/lf_cuda.h`
    """
    import torch

    _check_rows("logits", logits)
    if gradient is not None:
        _check_rows("gradient", gradient, logits)
    n_rows, n_classes = logits.shape
    job = _cuda.CrossEntropyJob(
        n_classes=n_classes,
        logits=logits.data_ptr(),
        logits_stride=logits.stride(0),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        logit_scale=logit_scale,
        gradient=None if gradient is None else gradient.data_ptr(),
        gradient_stride=0 if gradient is None else gradient.stride(0),
        scale=scale,
        plan=plan,
    )
    keep: list[Any] = _set_labels(job, target, weight, on_bad_label)
    if job.n_rows != n_rows:
        raise ValueError(f"target: want shape ({n_rows},), got ({job.n_rows},)")
    each = {"row_scale": row_scale, "d_lse": d_lse, "d_logprob": d_logprob, "d_entropy": d_entropy}
    for name, values in (each | {"upstream": upstream, "divisor": divisor}).items():
        if values is not None:
            values = values.detach().to(logits.device, torch.float32).contiguous()
            size = 1 if name in ("upstream", "divisor") else n_rows
            if values.numel() != size:
                raise ValueError(f"{name}: want {size} numbers, got {values.numel()}")
            setattr(job, name, values.data_ptr())
            keep.append(values)
    found = {}
    for name in want:
        if name not in RESULTS:
            raise ValueError(f"want = {name!r}: allowed are {', '.join(RESULTS)}")
        dtype = torch.bool if name == "correct" else torch.float32
        found[name] = torch.empty(n_rows, dtype=dtype, device=logits.device)
        setattr(job, name, found[name].data_ptr())
    counter = _counter(logits.device)
    before = int(counter) if on_bad_label == "raise" else 0
    job.n_bad = counter.data_ptr()
    with _on(logits) as (library, stream):
        entry = getattr(library, f"lf_cuda_cross_entropy_rows_{SUFFIXES[str(logits.dtype)]}")
        _cuda.check(entry(ctypes.byref(job), stream))
    if on_bad_label == "raise" and int(counter) != before:
        _raise_for(target, n_classes, ignore_index)
    del keep
    return found


def scale_gradient(gradient: Tensor, by: Tensor, known: Tensor | None = None) -> None:
    """Multiply a gradient [N, V] by `by / known`, numbers on the device, and read nothing where the two are equal."""
    import torch

    _check_rows("gradient", gradient)
    by, known = (None if x is None else x.detach().to(gradient.device, torch.float32) for x in (by, known))
    n_rows, n_columns = gradient.shape
    with _on(gradient) as (library, stream):
        entry = getattr(library, f"lf_cuda_rows_scale_{SUFFIXES[str(gradient.dtype)]}")
        known_at = None if known is None else known.data_ptr()
        _cuda.check(entry(gradient.data_ptr(), n_rows, n_columns, gradient.stride(0), by.data_ptr(), known_at, stream))


def _set_labels(job: Any, target: Tensor, weight: Tensor | None, on_bad_label: str) -> list[Any]:
    """Fills the fields about labels and weights, and gives what must live as long as the launch is not made."""
    import torch

    if on_bad_label not in ON_BAD_LABEL:
        raise ValueError(f"on_bad_label = {on_bad_label!r}: allowed are {', '.join(ON_BAD_LABEL)}")
    if target.dim() != 1 or str(target.dtype) not in LABELS:
        raise TypeError(f"target: want int64, int32 or uint8 of shape [N], got {target.dtype} {list(target.shape)}")
    target = target.contiguous()
    job.n_rows, job.target = target.shape[0], target.data_ptr()
    job.target_bytes = LABELS[str(target.dtype)]
    job.ignore_bad_labels = on_bad_label == "ignore"
    if weight is not None:
        weight = weight.detach().to(target.device, torch.float32).contiguous()
        if weight.shape != (job.n_classes,):
            raise ValueError(f"weight: want shape ({job.n_classes},), got {tuple(weight.shape)}")
        job.weight = weight.data_ptr()
    return [target, weight]


def _check_rows(name: str, x: Tensor, like: Tensor | None = None) -> None:
    if str(x.dtype) not in SUFFIXES:
        raise TypeError(f"{name}: want float32, bfloat16 or float16, got {x.dtype}")
    if x.dim() != 2 or (x.shape[1] > 1 and x.stride(1) != 1):
        raise ValueError(
            f"{name}: want [N, V] with columns side by side, got {list(x.shape)} with strides {x.stride()}"
        )
    if like is not None and (x.shape != like.shape or x.dtype != like.dtype or x.device != like.device):
        raise ValueError(
            f"{name}: want {list(like.shape)} of {like.dtype} on {like.device}, "
            f"got {list(x.shape)} of {x.dtype} on {x.device}"
        )


def _raise_for(target: Tensor, n_classes: int, ignore_index: int) -> None:
    wrong = (target != ignore_index) & ((target < 0) | (target >= n_classes))
    at = int(wrong.nonzero()[0])
    raise IndexError(
        f"target[{at}] = {int(target[at])} is outside [0, {n_classes}) and is not ignore_index = {ignore_index}"
    )


def _counter(device: Any) -> Tensor:
    import torch

    if device not in _counters:
        _counters[device] = torch.zeros(1, dtype=torch.int32, device=device)
    return _counters[device]


@contextmanager
def _on(x: Tensor) -> Iterator[tuple[ctypes.CDLL, int]]:
    """The library and the stream on which torch works on the device of `x`, which is made the current one."""
    import torch

    library = _cuda.require()
    with torch.cuda.device(x.device):
        yield library, torch.cuda.current_stream(x.device).cuda_stream
