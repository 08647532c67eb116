from collections.abc import Collection
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

_Bytes: TypeAlias = bytes | bytearray | memoryview | NDArray[np.uint8]
_Special: TypeAlias = Literal["all"] | Collection[str]
_Errors: TypeAlias = Literal["replace", "strict"]
_Added: TypeAlias = tuple[tuple[bytes, int, int], ...]

ISA_NAMES: tuple[str, ...]
SPLITTERS: dict[str, int]

def isas() -> list[str]: ...
def isa_best() -> str: ...
def unicode_class(code_point: int, major: int = 16) -> int: ...
def nfc(text: _Bytes) -> bytes: ...
def nfc_segments(text: _Bytes) -> list[int]: ...
def read_rank_lines(
    text: bytes,
) -> tuple[NDArray[np.uint32], NDArray[np.int64], bytes, NDArray[np.uint64]] | None: ...
def may_repeat(hashes: NDArray[np.uint64]) -> bool: ...
def split(splitter: str, text: _Bytes) -> list[int]: ...
def lists(table: list[int], ids: NDArray[np.uint32], offsets: NDArray[np.int64]) -> list[list[int]]: ...
def watch(on: bool) -> None: ...
def move(ids: NDArray[np.uint32], to: int, start: int, n: int) -> None: ...

@disjoint_base
class Encoder:
    plain: bool
    def encode(
        self,
        text: str | _Bytes,
        *,
        allowed_special: _Special = (),
        add_special_tokens: bool = False,
        errors: _Errors = "replace",
    ) -> NDArray[np.uint32]: ...
    def encode_list(
        self,
        text: str | _Bytes,
        *,
        allowed_special: _Special = (),
        add_special_tokens: bool = False,
        errors: _Errors = "replace",
    ) -> list[int]: ...
    def count(self, text: str | _Bytes, *, allowed_special: _Special = (), errors: _Errors = "replace") -> int: ...
    def _compile(
        self,
        blob: bytes,
        offsets: NDArray[np.int64],
        ids: NDArray[np.uint32],
        merges: NDArray[np.uint32] | None,
        whole_pieces: bool,
        raw: _Added,
        normalized: _Added,
        splitter: str,
        nfc: bool,
        cache_bytes: int,
        isa: str,
        unicode: int,
    ) -> None: ...
    def _encode(
        self,
        text: str | _Bytes,
        as_list: bool,
        counting: bool,
        allowed_raw: NDArray[np.uint8] | None,
        allowed_normalized: NDArray[np.uint8] | None,
        strict: bool,
    ) -> Any: ...
    def _ints(self) -> list[int]: ...
    def _int_list(self, ids: NDArray[np.uint32]) -> list[int]: ...
    def _encode_range(
        self,
        texts: list[str | bytes],
        start: int,
        stop: int,
        ids: NDArray[np.uint32] | None,
        at: int,
        counts: NDArray[np.int64],
        allowed_raw: NDArray[np.uint8] | None,
        allowed_normalized: NDArray[np.uint8] | None,
        strict: bool,
    ) -> int: ...
    def _encode_spans(
        self,
        data: bytes,
        spans: NDArray[np.int64],
        start: int,
        stop: int,
        ids: NDArray[np.uint32] | None,
        at: int,
        counts: NDArray[np.int64],
        allowed_raw: NDArray[np.uint8] | None,
        allowed_normalized: NDArray[np.uint8] | None,
        strict: bool,
    ) -> int: ...
    def _bound(self, n_bytes: int) -> int: ...
    def _matches(
        self, normalized: bool, text: _Bytes, allowed: NDArray[np.uint8] | None
    ) -> list[tuple[int, int, int]]: ...
    def _encode_pieces(self, text: _Bytes, ends: NDArray[np.int64]) -> NDArray[np.uint32]: ...
    def _decode(self, ids: NDArray[np.uint32], errors: str | None) -> Any: ...
    def _decode_list(self, ids: list[int], errors: str | None) -> Any: ...
    def _token_lengths(self) -> NDArray[np.uint32]: ...
    def _find(self, token: bytes) -> int | None: ...
    def _properties(self) -> tuple[bool, int]: ...
