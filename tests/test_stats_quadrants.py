"""The two-by-two table of entropy changes: each cell once by hand, and what negating a change must do."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash_ray.stats.quadrants import Quadrants, entropy_quadrants

changes = st.sampled_from([-1.5, -1e-300, -0.0, 0.0, 1e-300, 2.0, math.inf, -math.inf, math.nan])


def test_each_cell_by_hand() -> None:
    #        up/up  up/down  down/up  down/down  tie   tie  undefined
    token = [+0.1, +0.1, -0.1, -0.1, 0.0, -0.2, math.nan]
    answer = [+1.0, -1.0, +1.0, -1.0, 1.0, -0.0, 1.0]
    assert entropy_quadrants(token, answer, ["a"] * 7) == {"a": Quadrants(1, 1, 1, 1, 2, 1)}
    assert Quadrants(1, 2, 3, 4, 0, 0).table().tolist() == [[1, 2], [3, 4]]
    assert Quadrants(1, 2, 3, 4, 5, 6).to_json() == {
        "up_up": 1, "up_down": 2, "down_up": 3, "down_down": 4, "ties": 5, "undefined": 6,
    }  # fmt: skip


def test_tasks_apart_and_sorted() -> None:
    tables = entropy_quadrants([1, -1, 1], [-1, -1, -1], ["math", "code", "math"])
    assert list(tables) == ["code", "math"]
    assert tables["math"] == Quadrants(0, 2, 0, 0, 0, 0) and tables["code"] == Quadrants(0, 0, 0, 1, 0, 0)
    assert entropy_quadrants([], [], []) == {}


@given(st.lists(st.tuples(changes, changes)))
def test_swapping_the_policies_turns_the_table_around(rows: list[tuple[float, float]]) -> None:
    token, answer = (np.array([r[i] for r in rows], dtype=float) for i in (0, 1))
    task = ["t"] * len(rows)
    one, other = (entropy_quadrants(s * token, s * answer, task).get("t") for s in (1, -1))
    transposed = entropy_quadrants(answer, token, task).get("t")
    if one is None or other is None or transposed is None:
        assert not rows
        return
    assert sum(one.to_json().values()) == len(rows)
    assert np.array_equal(one.table(), other.table()[::-1, ::-1])
    assert np.array_equal(one.table(), transposed.table().T)
    assert (one.ties, one.undefined) == (other.ties, other.undefined)


def test_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="one task per problem"):
        entropy_quadrants([1.0], [1.0, 2.0], ["a", "b"])
