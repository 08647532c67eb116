import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from lmfast.text import _engine

@disjoint_base
class Normalizer:
    def __init__(
        self,
        charsmap: bytes,
        add_dummy_prefix: bool,
        remove_extra_whitespaces: bool,
        escape_whitespaces: bool,
        treat_whitespace_as_suffix: bool,
    ) -> None: ...
    def normalize(self, text: bytes) -> bytes: ...

@disjoint_base
class Engine(_engine.Engine):
    def __init__(
        self,
        blob: bytes,
        offsets: NDArray[np.int64],
        scores: NDArray[np.float64],
        kinds: NDArray[np.uint8],
        unknown_id: int | None,
        byte_fallback: bool,
        family: str,
        charsmap: bytes,
        options: tuple[bool, bool, bool, bool],
        surface: tuple[bytes, bool, bool],
        cache_bytes: int,
    ) -> None: ...
    def encode_with_dropout(self, data: bytes, dropout: float, seed: int) -> NDArray[np.uint32]: ...
    def normalize(self, text: bytes) -> tuple[bytes, NDArray[np.int64]]: ...
    def lattice(self, text: bytes) -> Lattice: ...
    def decode(self, ids: NDArray[np.uint32]) -> bytes: ...

@disjoint_base
class Lattice:
    def __init__(self, *args: object) -> None: ...
    @property
    def text(self) -> bytes: ...
    def best(self, k: int) -> list[tuple[NDArray[np.uint32], float]]: ...
    def sample(self, alpha: float, n: int, seed: int) -> list[tuple[NDArray[np.uint32], float]]: ...
    def sample_different(self, alpha: float, n: int, seed: int) -> list[tuple[NDArray[np.uint32], float, float]]: ...
    def entropy(self, alpha: float) -> float: ...
    def log_partition(self, alpha: float) -> float: ...
    def marginals(
        self, alpha: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]: ...
