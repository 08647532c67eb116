"""The door to the GPU: loads `lmfast_cuda.so` on first use and calls its plain C entries through ctypes.

Nothing happens at import. Without the library (built where nvcc was not found) or without a device, every use raises a
`RuntimeError` that says which of the two it is; the rest of lmfast does not notice.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

__all__ = ["SIGNATURES", "CrossEntropyJob", "available", "check", "device_names", "library", "problem", "require"]

LIBRARY = Path(__file__).with_name("lmfast_cuda.so")

SIGNATURES = {
    "lf_cuda_error_text": "s(i)",
    "lf_cuda_device_count": "i(p)",
    "lf_cuda_device_name": "i(ipl)",
    "lf_cuda_fill_u32": "i(pulp)",
    "lf_cuda_cross_entropy_rows_f32": "i(pp)",
    "lf_cuda_cross_entropy_rows_bf16": "i(pp)",
    "lf_cuda_cross_entropy_rows_f16": "i(pp)",
    "lf_cuda_cross_entropy_divide": "i(ppp)",
    "lf_cuda_rows_scale_f32": "i(plllppp)",
    "lf_cuda_rows_scale_bf16": "i(plllppp)",
    "lf_cuda_rows_scale_f16": "i(plllppp)",
}
"""`csrc/lf_cuda.h` in short: the letter of what an entry returns, then those of its arguments."""

TYPES = {
    "i": ctypes.c_int,
    "u": ctypes.c_uint32,
    "l": ctypes.c_int64,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
    "p": ctypes.c_void_p,
    "s": ctypes.c_char_p,
}

CROSS_ENTROPY_FIELDS = (
    "l:n_rows l:n_classes p:logits l:logits_stride p:target l:target_bytes p:weight l:ignore_index l:ignore_bad_labels "
    "f:label_smoothing f:z_loss f:softcap f:logit_scale p:gradient l:gradient_stride d:scale p:upstream p:divisor "
    "p:row_scale p:d_lse p:d_logprob p:d_entropy p:loss p:lse p:logprob p:entropy p:correct p:n_bad l:plan"
)


class CrossEntropyJob(ctypes.Structure):
    """`lf_cuda_cross_entropy`: what each field means is said in `csrc/lf_cuda.h`."""

    _fields_ = [(field[2:], TYPES[field[0]]) for field in CROSS_ENTROPY_FIELDS.split()]  # type: ignore[misc]


@cache
def library() -> ctypes.CDLL | None:
    """The loaded GPU library with every entry typed, or None where this build has none.

    Raises `RuntimeError` when the file is there but the system cannot load it.
    """
    if not LIBRARY.exists():
        return None
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
        for name, signature in SIGNATURES.items():
            entry = getattr(loaded, name)
            entry.restype = TYPES[signature[0]]
            entry.argtypes = [TYPES[letter] for letter in signature[2:-1]]
    except (OSError, AttributeError) as error:
        raise RuntimeError(f"{LIBRARY} cannot be used: {error}") from error
    return loaded


def check(code: int) -> None:
    """Raise `RuntimeError` with CUDA's own words unless `code`, which an entry returned, is 0."""
    if code:
        loaded = library()
        text = loaded.lf_cuda_error_text(code).decode() if loaded else "the GPU library is absent"
        raise RuntimeError(f"CUDA error {code}: {text}")


def device_names() -> list[str]:
    """The names of the devices that this process can use, in CUDA's order; without any, `RuntimeError` says why."""
    loaded = library()
    if loaded is None:
        raise RuntimeError("this build of lmfast has no GPU library: it was built without nvcc or with LMFAST_CUDA=0")
    count = ctypes.c_int()
    check(loaded.lf_cuda_device_count(ctypes.byref(count)))
    names = []
    for device in range(count.value):
        name = ctypes.create_string_buffer(256)
        check(loaded.lf_cuda_device_name(device, name, len(name)))
        names.append(name.value.decode(errors="replace"))
    if not names:
        raise RuntimeError("CUDA finds no device")
    return names


@cache
def problem() -> str | None:
    """Why the GPU cannot be used, in words, or None when it can. Looked up once for the life of the process."""
    try:
        device_names()
    except RuntimeError as error:
        return str(error)
    return None


def available() -> bool:
    """Whether both the GPU library and a device are there."""
    return problem() is None


def require() -> ctypes.CDLL:
    """The GPU library; raises `RuntimeError` without it or without a device."""
    loaded = None if problem() else library()
    if loaded is None:
        raise RuntimeError(problem())
    return loaded
