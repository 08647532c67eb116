from typing import final

import numpy as np
from numpy.typing import NDArray

LONGEST: int
MOST_PIECES: int

@final
class Trainer:
    def __new__(
        cls,
        blob: bytes,
        offsets: NDArray[np.int64],
        counts: NDArray[np.int64],
        characters: NDArray[np.uint32],
        scripts: NDArray[np.uint8],
        *,
        exact: bool,
        n_sums: int,
        seed_size: int,
        max_length: int,
        split_by_script: bool,
        split_by_number: bool,
        split_digits: bool,
        split_by_whitespace: bool,
        whitespace_as_suffix: bool,
        whitespace_only: bool,
        in_order: bool = False,
        last: bytes | None = None,
        least_closed: int = 2,
    ) -> Trainer: ...
    def parts(self, stage: str) -> int: ...
    def run(self, stage: str, part: int) -> None: ...
    def select(self) -> None: ...
    def lay(self) -> None: ...
    def begin(self) -> None: ...
    def add(self) -> float: ...
    def maximize(self) -> None: ...
    def prune(self, target: int) -> None: ...
    def reach(self) -> None: ...
    def alive(self) -> int: ...
    def pieces(
        self,
    ) -> tuple[bytes, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...

def count_characters(blob: bytes, offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]: ...
