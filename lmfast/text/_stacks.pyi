from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from lmfast.text import _engine
from lmfast.text.automata import Automaton

CUTS: tuple[str, ...]
MOST_STEPS: int
MOST_STAGES: int
KINDS: dict[str, int]
OPTIONS: dict[str, int]
SCHEMES: dict[str, int]

@disjoint_base
class StackEngine(_engine.Engine):
    def __init__(
        self,
        model: tuple[Any, ...],
        n_ids: int,
        steps: list[tuple[str, str, bytes | Automaton, bytes]],
        stages: list[tuple[Automaton, str, bool] | tuple[bytes, str]],
        cache_bytes: int,
    ) -> None: ...

@disjoint_base
class Splitter:
    def __init__(self, stages: list[tuple[Automaton, str, bool] | tuple[bytes, str]]) -> None: ...
    @property
    def stages(self) -> object: ...
    @property
    def doublings(self) -> int: ...
    def split(self, text: bytes) -> tuple[bytes, NDArray[np.int64]]: ...
