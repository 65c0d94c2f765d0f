"""pass@k against the enumeration of all subsets, and against exact big-integer arithmetic."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from leash_ray.stats.passk import coverage_at_k, mean_over_problems, pass_at_k, powers_of_two_up_to


def test_every_subset_of_small_cases() -> None:
    for n in range(1, 7):
        for c in range(n + 1):
            correct = [i < c for i in range(n)]
            for k in range(1, n + 1):
                hits = [any(s) for s in itertools.combinations(correct, k)]
                assert pass_at_k([n], [c], [k])[0, 0] == pytest.approx(sum(hits) / len(hits), abs=1e-14)


def test_large_n_is_exact() -> None:
    n = 8192
    for c, k in ((1, 1), (1, 4096), (3, 17), (40, 256), (8191, 1), (8000, 300), (2, 8190)):
        exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
        assert pass_at_k([n], [c], [k])[0, 0] == pytest.approx(float(exact), rel=1e-11)


@pytest.mark.parametrize(
    ("n", "c", "k"),
    [(1_000_000, 1, 1), (1_000_000, 1, 100_000), (1_000_000, 7, 100_000), (1_000_000, 5000, 100), (999_999, 3, 99_999)],
)
def test_a_million_samples(n: int, c: int, k: int) -> None:
    # C(n-c, k) / C(n, k) = C(n-k, c) / C(n, c), which is cheap in exact integers for small c.
    exact = 1 - Fraction(math.comb(n - k, c), math.comb(n, c))
    assert pass_at_k([n], [c], [k])[0, 0] == pytest.approx(float(exact), rel=1e-10, abs=0)


def test_ten_thousand_problems_are_each_as_alone() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(0, 9000, 10_000)
    c = rng.integers(0, n + 1)
    ks = np.unique(np.geomspace(1, 8192, 20).astype(np.int64))
    table = pass_at_k(n, c, ks)
    assert np.array_equal(np.isnan(table), n[:, None] < ks)
    for i in range(0, 10_000, 997):
        assert np.array_equal(table[i], pass_at_k(n[i], c[i], ks)[0], equal_nan=True)


def test_no_problems() -> None:
    assert pass_at_k([], [], [1, 2]).shape == (0, 2)


def test_problems_and_ks_together() -> None:
    table = pass_at_k([4, 2, 4], [1, 1, 0], [1, 2, 4])
    assert table == pytest.approx(np.array([[0.25, 0.5, 1], [0.5, 1, np.nan], [0, 0, 0]]), nan_ok=True)


def test_a_mean_never_drops_a_problem() -> None:
    table = pass_at_k([4, 2], [1, 1], [1, 2, 4])
    assert mean_over_problems(table) == pytest.approx([0.375, 0.75, np.nan], nan_ok=True)
    assert np.isnan(mean_over_problems(np.zeros((0, 2)))).all()


def test_rises_with_k_and_c() -> None:
    n = 50
    table = pass_at_k([n] * (n + 1), range(n + 1), range(1, n + 1))
    assert (np.diff(table, axis=0) >= -1e-15).all() and (np.diff(table, axis=1) >= -1e-15).all()


@pytest.mark.parametrize(("n", "c", "k"), [([1], [2], [1]), ([1], [-1], [1]), ([1], [1], [0]), ([1, 2], [1], [1])])
def test_impossible_counts(n: list[int], c: list[int], k: list[int]) -> None:
    with pytest.raises(ValueError, match=r"k must be|counts of the same"):
        pass_at_k(n, c, k)


def test_coverage() -> None:
    # hit at index 2; never hit in 8; stopped at its first hit; stopped early without a hit
    hits = coverage_at_k([2, -1, 0, -1], [8, 8, 1, 3], [1, 2, 3, 4, 8])
    expected = [[0, 0, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, np.nan, np.nan]]
    assert hits == pytest.approx(np.array(expected), nan_ok=True)


def test_mean_coverage_over_all_orders_is_pass_at_k() -> None:
    n, c = 6, 2
    firsts = [min(where) for where in itertools.combinations(range(n), c)]
    for k in range(1, n + 1):
        mean = mean_over_problems(coverage_at_k(firsts, [n] * len(firsts), [k]))[0]
        assert mean == pytest.approx(pass_at_k([n], [c], [k])[0, 0])


def test_where_curves_are_drawn() -> None:
    assert powers_of_two_up_to(0) == []
    assert powers_of_two_up_to(1) == [1]
    assert powers_of_two_up_to(8) == [1, 2, 4, 8]
    assert powers_of_two_up_to(12) == [1, 2, 4, 8, 12]
