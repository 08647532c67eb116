import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

KINDS: dict[str, int]
OPTIONS: dict[str, int]
SCHEMES: dict[str, int]

@disjoint_base
class Workspace: ...

@disjoint_base
class Engine:
    def __init__(
        self,
        pieces: tuple[bytes, NDArray[np.int64], NDArray[np.float64], NDArray[np.uint8]],
        unknown_id: int,
        byte_fallback: bool,
        steps: list[tuple[str, str, bytes, bytes]],
        metaspace: tuple[bytes, str, bool, bool],
        cache_bytes: int,
    ) -> None: ...
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
