import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self, disjoint_base

from lmfast.text import _engine

RULES: tuple[str, ...]

@disjoint_base
class BertEngine(_engine.Engine):
    def __new__(
        cls,
        blob: bytes,
        offsets: NDArray[np.int64],
        ids: NDArray[np.uint32],
        *,
        whole: bool,
        prefix: bytes,
        unk_id: int,
        max_chars: int,
        rule: str,
        clean: bool,
        space_ideographs: bool,
        strip_accents: bool,
        lowercase: bool,
        cache_bytes: int,
        isa: str,
    ) -> Self: ...
    def encode_with_offsets(self, data: bytes, first: bool = True) -> tuple[NDArray[np.uint32], NDArray[np.int64]]: ...
