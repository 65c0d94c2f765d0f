"""Crossings by hand, at the ends, and of many replicates at once."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.stats.crossing import crossing

KS = [1, 2, 4, 8]
NAN = math.nan


@pytest.mark.parametrize(
    ("difference", "k", "direction", "meets"),
    [
        ([2, 1, -1, -2], 2**1.5, -1, 2**1.5),  # half way between 2 and 4 on the log axis
        ([3, 1, -3, -3], 2**1.25, -1, 2**1.25),  # a quarter of the way
        ([-1, 1, 1, 1], 2**0.5, 1, 2**0.5),  # trained overtakes
        ([1, 0, -1, -2], 2, -1, 2),  # exactly at a k
        ([1, 0, 0, -2], 2, -1, 2),  # on each other for a while
        ([1, 0, 1, 2], NAN, 0, 2),  # they touch
        ([1, 0, 1, -1], 2**2.5, -1, 2),  # touch first, cross later
        ([2, 1, 1, 0], NAN, 0, 8),  # both end at 1
        ([0, 1, 2, 3], NAN, 0, NAN),  # equal at k = 1
        ([0, 1, -1, 0], 2**1.5, -1, 2**1.5),
        ([0, 0, 0, 0], NAN, 0, NAN),
        ([3, 2, 1, 1], NAN, 0, NAN),
        ([1, -1, 1, -1], 2**0.5, -1, 2**0.5),  # the first of three
        ([2, 1, NAN, -2], NAN, 0, NAN),  # nothing is known between
        ([2, -2, NAN, NAN], 2**0.5, -1, 2**0.5),
        ([NAN, NAN, NAN, NAN], NAN, 0, NAN),
    ],
)
def test_by_hand(difference: list[float], k: float, direction: int, meets: float) -> None:
    base = np.array([0.25, 0.5, 0.5, 0.75])
    found = crossing(KS, base, base + np.array(difference) / 8)
    assert found.k == pytest.approx(k, nan_ok=True)
    assert found.meets == pytest.approx(meets, nan_ok=True)
    assert found.direction == direction


def test_straight_lines_on_the_log_axis_cross_where_they_should() -> None:
    ks = np.array([1, 2, 4, 8, 12, 100])
    base, trained = 0.1 + 0.1 * np.log2(ks), 0.3 + 0.05 * np.log2(ks)  # equal at log2 k = 4
    assert crossing(ks, base, trained).k == pytest.approx(16)


def test_replicates() -> None:
    rng = np.random.default_rng(0)
    base, trained = rng.integers(0, 4, (2, 300, 2, 5)) / 4  # many ties
    together = crossing([1, 2, 4, 8, 10], base, trained)
    assert together.k.shape == together.direction.shape == together.meets.shape == (300, 2)
    for i in range(0, 300, 7):
        alone = crossing([1, 2, 4, 8, 10], base[i, 1], trained[i, 1])
        for name in ("k", "direction", "meets"):
            assert np.array_equal(getattr(alone, name), getattr(together, name)[i, 1], equal_nan=True)


def test_one_curve_against_replicates() -> None:
    assert crossing([1, 2], [0.2, 0.6], np.array([[0.4, 0.4], [0.1, 0.1]])).direction.tolist() == [-1, 0]


curve = st.lists(st.integers(0, 6), min_size=5, max_size=5)


@settings(deadline=None, max_examples=50)
@given(curve, curve)
def test_swapping_the_policies_turns_it_around(base: list[int], trained: list[int]) -> None:
    ks = [1, 2, 4, 8, 16]
    one, other = crossing(ks, base, trained), crossing(ks, trained, base)
    assert one.direction == -other.direction
    assert np.array_equal(one.k, other.k, equal_nan=True) and np.array_equal(one.meets, other.meets, equal_nan=True)
    assert np.isnan(one.k) == (one.direction == 0)
    signs = [s for s in np.sign(np.subtract(trained, base)) if s]
    assert (one.direction != 0) == (len(set(signs)) == 2)
    if one.direction:
        assert 1 < one.k < 16 and one.meets <= one.k


def test_no_k_at_all() -> None:
    found = crossing([], np.zeros((3, 0)), np.zeros((3, 0)))
    assert np.isnan(found.k).tolist() == [True] * 3 and found.direction.tolist() == [0] * 3


def test_bad_arguments_name_the_fix() -> None:
    with pytest.raises(ValueError, match="must rise"):
        crossing([2, 1], [0, 0], [0, 0])
    with pytest.raises(ValueError, match="must rise"):
        crossing([0, 1], [0, 0], [0, 0])
    with pytest.raises(ValueError, match="one value per k"):
        crossing([1, 2, 4], [0, 0], [0, 0])
