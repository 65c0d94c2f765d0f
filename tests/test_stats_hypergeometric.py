"""The chance to miss all marked samples: by enumeration, against exact rationals, and at the ends of its range."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash_ray.stats.hypergeometric import hit, log_miss, miss


def exact_miss(n: int, c: int, k: int) -> Fraction:
    return Fraction(math.comb(n - c, k), math.comb(n, k))


def test_by_enumeration_of_all_subsets() -> None:
    for n in range(1, 7):
        for c, k in itertools.product(range(n + 1), range(n + 1)):
            subsets = list(itertools.combinations(range(n), k))
            missed = sum(not any(i < c for i in subset) for subset in subsets)
            assert miss(n, c, k) == pytest.approx(missed / len(subsets), abs=1e-15)


def test_by_hand() -> None:
    assert miss(4, 1, 2) == pytest.approx(1 / 2)  # 3 of 6 pairs avoid the marked one
    assert hit(10, 3, 1) == pytest.approx(0.3)
    assert hit(10, 0, 5) == 0 and hit(10, 4, 0) == 0 and hit(10, 8, 3) == 1
    assert math.isnan(hit(3, 1, 4)) and math.isnan(hit(0, 0, 1))
    assert log_miss([5, 5], [1, 2], [[1], [2]]).shape == (2, 2)


@given(st.integers(1, 3000), st.data())
def test_against_exact_rationals(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
    exact = 1 - exact_miss(n, c, k)
    assert float(hit(n, c, k)) == pytest.approx(float(exact), rel=1e-11, abs=0)
    assert hit(n, c, k) == hit(n, k, c)


@pytest.mark.parametrize(
    ("n", "c", "k"),
    [
        (1_000_000, 1, 1),
        (1_000_000, 1, 100_000),
        (1_000_000, 65, 65),
        (1_000_000, 100, 100_000),
        (1_000_000, 100_000, 100),
        (1_000_000, 900_000, 100_000),
        (1_000_000, 899_999, 100_000),
        (999_983, 70, 1000),
        (1_000_000, 30_000, 100_000),
    ],
)
def test_far_out(n: int, c: int, k: int) -> None:
    import mpmath

    with mpmath.workdps(50):
        f = mpmath.loggamma
        log = f(n - c + 1) - f(n - c - k + 1) - f(n + 1) + f(n - k + 1)
        assert abs(-mpmath.expm1(log) / mpmath.mpf(float(hit(n, c, k))) - 1) < 1e-10
        assert abs(mpmath.mpf(float(log_miss(n, c, k))) / log - 1) < 1e-10


def test_many_at_once_are_each_as_alone() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(1, 5000, 200)
    c, k = rng.integers(0, n + 1), rng.integers(0, n + 1)
    together = log_miss(n, c, k)
    assert all(together[i] == log_miss(n[i], c[i], k[i]) for i in range(200))
