"""The k-sweep: by hand, and the mean over every order of the samples."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.stats.sweep import Counts, support_sweep


def rows(counts: Counts) -> np.ndarray:
    return np.array([counts.P, counts.E, counts.S, counts.O])


def sweep_of(base: list[list[bool]], trained: list[list[bool]], k: int, **kwargs: bool):  # type: ignore[no-untyped-def]
    def side(samples: list[list[bool]]) -> tuple[list[int], list[int], list[int]]:
        firsts = [row.index(True) if any(row) else -1 for row in samples]
        return firsts, [len(row) for row in samples], [sum(row) for row in samples]

    (first_b, n_b, c_b), (first_t, n_t, c_t) = side(base), side(trained)
    return support_sweep(first_b, first_t, n_b, c_b, n_t, c_t, k, **kwargs)


Y, N = True, False


def test_by_hand() -> None:
    base = [[N, Y, N, N], [N, N, N, N], [N, N, N, Y]]
    trained = [[N, N, Y, N], [Y, Y, N, N], [N, N, N, N]]
    sweep = sweep_of(base, trained, 4)
    assert sweep.ks.tolist() == [1, 2, 4]
    assert sweep.epsilon == pytest.approx(-math.log(0.05) / np.array([1, 2, 4]))
    # k=1: only trained's second. k=2: base has the first, trained the second. k=4: P, E, S.
    assert rows(sweep.observed).T.tolist() == [[0, 1, 0, 2], [0, 1, 1, 1], [1, 1, 1, 0]]
    # Chances at k=2. Base 1/2, 0, 1/2; trained 1/2, 5/6, 0 (of 6 pairs, one misses both marked).
    assert rows(sweep.expected)[:, 1] == pytest.approx([1 / 4, 1 / 4 + 5 / 6, 1 / 4 + 1 / 2, 1 / 4 + 1 / 6 + 1 / 2])
    assert rows(sweep.expected)[:, 2] == pytest.approx([1, 1, 1, 0])
    assert sweep.observed.metrics["NSCR"] == pytest.approx([1, 0, 0])
    assert sweep.observed.metrics["SRR"] == pytest.approx([math.nan, 0, 0.5], nan_ok=True)
    assert sweep.expected.metrics["SRR"][1] == pytest.approx(0.25)


def test_expected_is_the_mean_over_every_order() -> None:
    base, trained = [[Y, N, N, N], [Y, Y, N, N], [N] * 4], [[Y, Y, Y, N], [N] * 4, [Y, N, N, N]]
    total, n_orders = 0.0, 0
    per_problem = [
        list(itertools.product(set(itertools.permutations(b)), set(itertools.permutations(t))))
        for b, t in zip(base, trained, strict=True)
    ]
    for orders in itertools.product(*per_problem):
        sweep = sweep_of([list(b) for b, _ in orders], [list(t) for _, t in orders], 4)
        total, n_orders = total + rows(sweep.observed), n_orders + 1
    assert rows(sweep.expected) == pytest.approx(total / n_orders)


def test_more_samples_than_k() -> None:
    # Base 1 of 8, k = 4: found by half of the orders.
    sweep = support_sweep([6], [0], [8], [1], [4], [4], 4)
    assert rows(sweep.observed)[:, -1].tolist() == [0, 1, 0, 0]
    assert rows(sweep.expected)[:, -1] == pytest.approx([0.5, 0.5, 0, 0])


samples = st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=3, max_size=3)


@settings(deadline=None)
@given(samples, samples)
def test_groups_partition_units_and_swap_with_the_policies(base: list[list[bool]], trained: list[list[bool]]) -> None:
    one, other = sweep_of(base, trained, 5), sweep_of(trained, base, 5)
    for a, b in ((one.observed, other.observed), (one.expected, other.expected)):
        assert rows(a).sum(axis=0) == pytest.approx(3)
        assert rows(a) == pytest.approx(rows(b)[[0, 2, 1, 3]])
        assert (np.diff(a.P) > -1e-12).all() and (np.diff(a.O) < 1e-12).all()  # more samples find more
    assert rows(one.observed)[:, -1] == pytest.approx(rows(one.expected)[:, -1])  # all samples: one order is as another


def test_answers_have_no_out_of_support() -> None:
    sweep = sweep_of([[Y, N]], [[N, N]], 2, neither_is_known=False)
    assert np.isnan(sweep.observed.O).all() and np.isnan(sweep.expected.O).all()
    assert sweep.observed.S.tolist() == [1, 1]


def test_nothing_to_sweep() -> None:
    assert sweep_of([[N]], [[N]], 0).ks.tolist() == []
    empty = sweep_of([], [], 2)
    assert rows(empty.expected).tolist() == [[0, 0]] * 4 and np.isnan(empty.expected.metrics["NSCR"]).all()


def test_bad_arguments_name_the_fix() -> None:
    with pytest.raises(ValueError, match="smallest n as k"):
        sweep_of([[Y, N]], [[Y, N]], 3)
    with pytest.raises(ValueError, match="contradict"):
        support_sweep([-1], [0], [4], [1], [4], [1], 4)
    with pytest.raises(ValueError, match="contradict"):
        support_sweep([3], [0], [4], [2], [4], [1], 4)
    with pytest.raises(ValueError, match="0 <= c <= n"):
        support_sweep([0], [0], [4], [5], [4], [1], 4)
    with pytest.raises(ValueError, match="same order"):
        support_sweep([0, 1], [0], [4], [2], [4], [1], 4)
