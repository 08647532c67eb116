"""The shapes that cross-entropy takes: torch's, and those of language models.

torch   logits [C], [N, C] or [N, C, d1, ...]; labels without C, or distributions of the shape of the logits
here    the same, and labels of the shape [...] beside logits [..., C]

Where labels fit both readings torch's counts; `dim` says which axis holds the classes.
"""

from __future__ import annotations

from typing import Any

__all__ = ["class_axis", "to_rows"]


def class_axis(logits: Any, target: Any, dim: int | None) -> int:
    """The axis of the classes, or ValueError where the shapes do not fit."""
    shape, n = tuple(logits.shape), logits.ndim
    wanted = tuple(target.shape)
    if n == 0:
        raise ValueError("logits: want at least 1 dimension, got 0")
    axes = [1 if n > 1 else 0, n - 1] if dim is None else [dim + n if dim < 0 else dim]
    if not 0 <= axes[0] < n:
        raise ValueError(f"dim = {dim}: allowed is -{n} to {n - 1}")
    if wanted == shape:
        return axes[0]
    for axis in axes:
        if wanted == shape[:axis] + shape[axis + 1 :]:
            return axis
    want = " or ".join(str(shape[:axis] + shape[axis + 1 :]) for axis in dict.fromkeys(axes))
    raise ValueError(f"target: want shape {want} for labels or {shape} for distributions, got {wanted}")


def to_rows(x: Any, axis: int) -> Any:
    """`x` [..., C, ...] as rows [N, C] whose columns lie side by side: a view where there is one, else a copy."""
    if axis != x.ndim - 1:
        x = x.movedim(axis, -1) if hasattr(x, "movedim") else _move_axis(x, axis)
    if x.ndim == 2:
        return x
    n_rows = 1
    for size in x.shape[:-1]:
        n_rows *= size
    return x.reshape(n_rows, x.shape[-1])


def _move_axis(x: Any, axis: int) -> Any:
    import numpy as np

    return np.moveaxis(x, axis, -1)
