from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

_Rows: TypeAlias = tuple[bytes, NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]

@final
class Words:
    def __new__(cls, splitter: str, isa: str | None = None) -> Words: ...
    def count(self, text: bytes | memoryview, spans: NDArray[np.int64], position: int) -> None: ...
    def add(
        self, blob: bytes, offsets: NDArray[np.int64], counts: NDArray[np.int64], firsts: NDArray[np.uint64]
    ) -> None: ...
    def merge(self, other: Words) -> None: ...
    def clear(self) -> None: ...
    def export(self) -> _Rows: ...
    def export_parts(self) -> tuple[_Rows, NDArray[np.int64]]: ...
    def memory(self) -> int: ...
    def __len__(self) -> int: ...

@final
class Sentences:
    def __new__(
        cls,
        charsmap: bytes,
        marks: list[bytes],
        *,
        add_dummy_prefix: bool,
        remove_extra_whitespaces: bool,
        treat_whitespace_as_suffix: bool,
        max_bytes: int,
        split_by_whitespace: bool,
        allow_whitespace_only_pieces: bool,
        behind: str = "nothing",
    ) -> Sentences: ...
    def count(
        self,
        words: Words,
        text: bytes | memoryview,
        spans: NDArray[np.int64],
        position: int,
        counts: NDArray[np.int64] | None = None,
    ) -> tuple[bytes, NDArray[np.int64]] | None: ...

@final
class Trainer:
    def __new__(
        cls,
        blob: bytes | NDArray[np.uint8],
        offsets: NDArray[np.int64],
        counts: NDArray[np.int64],
        symbols: NDArray[np.uint32] | None,
        *,
        strings: list[tuple[bytes, int]],
        n_symbols: int,
        first_id: int,
        n_ids: int,
        ties: str,
        min_count: int,
        max_length: int,
        seeds: NDArray[np.uint32],
        prefix: bytes = b"",
        repeats: bool = False,
        pieces: tuple[int, bool, bool, bool] | None = None,
        flags: NDArray[np.uint8] | None = None,
        scripts: NDArray[np.uint8] | None = None,
        keeps: bool = False,
    ) -> Trainer: ...
    def run(self, n_merges: int) -> int: ...
    def merges(self, start: int = 0) -> tuple[NDArray[np.uint32], NDArray[np.int64]]: ...
    def last(self) -> bytes: ...
    def vocab(self) -> tuple[NDArray[np.uint32], NDArray[np.int64], bytes]: ...
    def born(self) -> NDArray[np.uint64]: ...

PARTS: int
NOT_A_SYMBOL: int
A_BREAK: int
SPACE: int
ALONE: int
SCRIPT_ANY: int
SCRIPT_NONE: int

def count_whitespace(words: Words, text: bytes | memoryview, spans: NDArray[np.int64], position: int) -> None: ...
def gather(blob: bytes, offsets: NDArray[np.int64], order: NDArray[np.int64]) -> tuple[bytes, NDArray[np.int64]]: ...
def cut(splitter: str, text: bytes | memoryview) -> int: ...
def spans(text: bytes | memoryview, separator: bytes) -> NDArray[np.int64]: ...
