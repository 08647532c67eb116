import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

@disjoint_base
class Engine:
    def bound(self, n_bytes: int) -> int: ...
    def encode_spans(
        self,
        data: bytes,
        spans: NDArray[np.int64],
        ids: NDArray[np.uint32] | None,
        at: int,
        counts: NDArray[np.int64],
        first: NDArray[np.uint8] | None = None,
    ) -> int: ...
    def encode_with_offsets(self, data: bytes, first: bool = True) -> tuple[NDArray[np.uint32], NDArray[np.int64]]: ...
