"""Rows of logits to the kernels of csrc/loss: what the public functions of this room are built on.

`cross_entropy_rows` takes rows [N, V] as they lie in memory, float32, float64, bfloat16 or float16, tensor or array. It
gives what is asked for of each row; where a `gradient` is given, it is written too, into the logits themselves if that
is what `gradient` is. No autograd, no reduction, no reshaping: those are in cross_entropy.py.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmfast import threads
from lmfast.loss import _loss

__all__ = ["Options", "RowResults", "Rows", "cross_entropy_rows", "is_tensor", "n_threads_for"]


@dataclass(frozen=True)
class Options:
    """The options of a row's loss; see `lmfast.loss.cross_entropy`."""

    ignore_index: int = -100
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float = 0.0
    logit_scale: float = 1.0
    on_bad_label: str = "raise"

    def __post_init__(self) -> None:
        if not 0.0 <= self.label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing = {self.label_smoothing}: allowed is 0 to 1")
        if not math.isfinite(self.z_loss):
            raise ValueError(f"z_loss = {self.z_loss}: a finite number is allowed")
        if not 0.0 <= self.softcap < math.inf:
            raise ValueError(f"softcap = {self.softcap}: a positive number is allowed, or 0 for none")
        if not 0.0 < self.logit_scale < math.inf:
            raise ValueError(f"logit_scale = {self.logit_scale}: a positive number is allowed")
        if self.on_bad_label not in _loss.BAD_LABEL:
            raise ValueError(f"on_bad_label = {self.on_bad_label!r}: allowed are {', '.join(_loss.BAD_LABEL)}")


class RowResults(NamedTuple):
    """What was asked for of each row, float64 [N] (`correct`: uint8), else None."""

    loss: Any = None
    lse: Any = None
    logprob: Any = None
    entropy: Any = None
    correct: Any = None


def is_tensor(x: Any) -> bool:
    """Whether `x` is a torch tensor; torch is not imported for the answer."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def n_threads_for(x: Any, n_bytes: int) -> int:
    """How many threads: torch's number for its tensors, else all processors, and one for a job that is soon done."""
    if n_bytes < 1 << 18:
        return 1
    if is_tensor(x):
        return int(sys.modules["torch"].get_num_threads())
    return threads.count(None)


def memory_of(x: Any) -> tuple[NDArray[Any], int]:
    """The numbers of a tensor or array as a numpy array over the same memory, and the door's word for their format."""
    if not is_tensor(x):
        name = str(x.dtype)
        if name not in _loss.DTYPES:
            raise TypeError(f"want float32, float64, bfloat16 or float16, got {name}")
        return (x.view(np.uint16) if name in ("bfloat16", "float16") else x), _loss.DTYPES[name]
    torch = sys.modules["torch"]
    name = str(x.dtype).removeprefix("torch.")
    if name not in _loss.DTYPES:
        raise TypeError(f"want float32, float64, bfloat16 or float16, got {name}")
    x = x.detach()
    return (x.view(torch.uint16) if x.element_size() == 2 else x).numpy(), _loss.DTYPES[name]


class Rows:
    """Logits [N, V], what they are held against, and the options, ready for one or several runs of the kernel.

    target   int64 [N], or soft targets [N, V] of the dtype of the logits
    weight   [V], of any dtype, or None
    """

    def __init__(
        self, logits: Any, target: Any, weight: Any = None, options: Options | None = None, isa: str | None = None
    ) -> None:
        options = options or Options()
        data, dtype = memory_of(logits)
        working = np.float64 if dtype == _loss.DTYPES["float64"] else np.float32
        labels = soft = None
        if target.ndim == 2:
            soft, soft_dtype = memory_of(target)
            if soft_dtype != dtype:
                raise TypeError(f"soft targets: want the dtype of the logits, {logits.dtype}, got {target.dtype}")
        else:
            labels = np.ascontiguousarray(target.detach().numpy() if is_tensor(target) else target, np.int64)
        if weight is not None:
            weight = (weight.detach().double().numpy() if is_tensor(weight) else np.asarray(weight)).astype(working)
        self.n_rows, self.n_classes = data.shape
        self.n_threads = n_threads_for(logits, data.nbytes)
        self._job = _loss.CrossEntropy(
            data,
            dtype,
            labels,
            soft,
            weight,
            options.ignore_index,
            _loss.BAD_LABEL[options.on_bad_label],
            options.label_smoothing,
            options.z_loss,
            options.softcap,
            options.logit_scale,
            isa=isa,
        )

    def count(self) -> tuple[int, float]:
        """(rows that are not ignored, what a mean divides by); IndexError for a label out of range that is to raise."""
        n_valid, divisor = self._job.count()
        return n_valid, divisor

    def run(
        self,
        want: tuple[str, ...] = ("loss",),
        gradient: Any = None,
        scale: float = 1.0,
        row_scale: NDArray[np.float64] | None = None,
        d_lse: NDArray[np.float64] | None = None,
        d_logprob: NDArray[np.float64] | None = None,
        d_entropy: NDArray[np.float64] | None = None,
        n_threads: int | None = None,
    ) -> RowResults:
        """One reading of all rows.

        want       fields of `RowResults`
        gradient   [N, V] of the dtype of the logits, or the logits themselves: filled with the gradient of
                   sum(scale * row_scale * loss + d_lse * lse + d_logprob * logprob + d_entropy * entropy)
        """
        found: dict[str, Any] = {
            name: np.empty(self.n_rows, np.uint8 if name == "correct" else np.float64) for name in want
        }
        self._job.run(
            **found,
            gradient=None if gradient is None else memory_of(gradient)[0],
            scale=scale,
            row_scale=row_scale,
            d_lse=d_lse,
            d_logprob=d_logprob,
            d_entropy=d_entropy,
            n_threads=n_threads or self.n_threads,
        )
        return RowResults(**found)


def cross_entropy_rows(
    logits: Any,
    target: Any,
    weight: Any = None,
    options: Options | None = None,
    *,
    want: tuple[str, ...] = ("loss", "lse"),
    gradient: Any = None,
    scale: float = 1.0,
    row_scale: NDArray[np.float64] | None = None,
) -> RowResults:
    """`Rows(logits, target, weight, options).run(...)`: see there.

    >>> import numpy as np
    >>> logits = np.zeros((1, 4), np.float32)
    >>> cross_entropy_rows(logits, np.array([1]), gradient=logits).loss.round(4), logits.tolist()
    (array([1.3863]), [[0.25, -0.75, 0.25, 0.25]])
    """
    rows = Rows(logits, target, weight, options)
    return rows.run(want, gradient=gradient, scale=scale, row_scale=row_scale)
