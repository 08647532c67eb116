import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self, disjoint_base

NONE: int
TEXT: int
EMPTY: int
BYTE: int

@disjoint_base
class TokenTexts:
    def __new__(cls, texts: list[bytes], kinds: NDArray[np.uint16]) -> Self: ...
    def join(self, ids: NDArray[np.uint32]) -> bytes: ...
