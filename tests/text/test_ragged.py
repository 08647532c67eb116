"""`Ragged`: rows of different lengths in two flat arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmfast.text.ragged import Ragged


def ragged(rows: list[list[int]]) -> Ragged:
    ids = np.array([i for row in rows for i in row], np.uint32)
    return Ragged(ids, np.cumsum([0, *map(len, rows)], dtype=np.int64))


ROWS = st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=6)


def test_unit_rows() -> None:
    three = ragged([[1, 2], [], [3]])
    assert (len(three), three.tolist()) == (3, [[1, 2], [], [3]])
    assert three[0].tolist() == three[-3].tolist() == [1, 2]
    assert [row.tolist() for row in three] == three.tolist()
    assert repr(three) == "Ragged(3 rows, 3 ids)"
    for index in (3, -4):
        with pytest.raises(IndexError, match=rf"row {index} is outside \[-3, 3\)"):
            three[index]


def test_unit_rows_are_views() -> None:
    two = ragged([[1, 2], [3]])
    two[1][0] = 7
    assert two.ids.tolist() == [1, 2, 7]
    assert np.shares_memory(two[:1].ids, two.ids)


@given(ROWS, st.slices(8))
def test_property_slices(rows: list[list[int]], part: slice) -> None:
    assert ragged(rows)[part].tolist() == rows[part]


@given(ROWS, ROWS)
def test_property_equality(a: list[list[int]], b: list[list[int]]) -> None:
    assert (ragged(a) == ragged(b)) == (a == b)
    assert ragged(a) != a


def test_unit_not_hashable() -> None:
    with pytest.raises(TypeError):
        hash(ragged([]))


@pytest.mark.parametrize("offsets", [[], [1, 3], [0, 2], [0, 2, 1, 3], [[0, 3]]])
def test_unit_bad_offsets(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets"):
        Ragged(np.zeros(3, np.uint32), np.array(offsets, np.int64))
