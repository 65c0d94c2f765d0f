"""Distinct rows against a set of tuples."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.stats.distinct import distinct


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**6), st.sampled_from([0, 7, 10**12]))))
def test_each_row_once_and_found_again(rows: list[tuple[int, int, int]]) -> None:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    out, back = distinct(*columns)
    assert sorted(zip(*(c.tolist() for c in out), strict=True)) == sorted(set(rows))
    for column, one in zip(columns, out, strict=True):
        assert np.array_equal(one[back], column)
