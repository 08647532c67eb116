import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from lmfast.text import _engine

KINDS: dict[str, int]
OPTIONS: dict[str, int]
SCHEMES: dict[str, int]
PREFIXES: dict[str, int]

@disjoint_base
class UnigramEngine(_engine.Engine):
    def __init__(
        self,
        pieces: tuple[bytes, NDArray[np.int64], NDArray[np.float64], NDArray[np.uint8]],
        unknown_id: int,
        byte_fallback: bool,
        steps: list[tuple[str, str, bytes, bytes]],
        metaspace: tuple[bytes, str, bool, bool],
        cache_bytes: int,
    ) -> None: ...

@disjoint_base
class CharacterEngine(_engine.Engine):
    def __init__(
        self,
        blob: bytes,
        offsets: NDArray[np.int64],
        merges: NDArray[np.uint32],
        prefix: str,
        cache_bytes: int,
    ) -> None: ...
