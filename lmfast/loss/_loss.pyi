from typing import Any, final

import numpy as np
from numpy.typing import NDArray

DTYPES: dict[str, int]
BAD_LABEL: dict[str, int]

@final
class CrossEntropy:
    def __init__(
        self,
        logits: NDArray[Any],
        dtype: int,
        target: NDArray[np.int64] | None,
        soft: NDArray[Any] | None = None,
        weight: NDArray[Any] | None = None,
        ignore_index: int = -100,
        on_bad_label: int = 0,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        softcap: float = 0.0,
        logit_scale: float = 1.0,
        isa: str | None = None,
    ) -> None: ...
    def count(self) -> tuple[int, float]: ...
    def run(
        self,
        loss: NDArray[np.float64] | None = None,
        lse: NDArray[np.float64] | None = None,
        logprob: NDArray[np.float64] | None = None,
        entropy: NDArray[np.float64] | None = None,
        correct: NDArray[np.uint8] | None = None,
        gradient: NDArray[Any] | None = None,
        scale: float = 1.0,
        row_scale: NDArray[np.float64] | None = None,
        d_lse: NDArray[np.float64] | None = None,
        d_logprob: NDArray[np.float64] | None = None,
        d_entropy: NDArray[np.float64] | None = None,
        n_threads: int = 1,
    ) -> None: ...

def softmax(
    x: NDArray[Any],
    dtype: int,
    out: NDArray[Any],
    g: NDArray[Any] | None = None,
    log: bool = False,
    n_threads: int = 1,
    isa: str | None = None,
) -> None: ...
def advise_large_pages(rows: NDArray[Any], dtype: int) -> None: ...
