"""Runs of integers against a plain Counter."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.stats.runs import MAX_VALUE, Runs, add_runs, runs_of_values

pairs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9) | st.just(MAX_VALUE - 1)), max_size=40)


def of(elements: list[tuple[int, int]]) -> Runs:
    columns = np.array(elements, dtype=np.int64).reshape(-1, 2).T
    return runs_of_values(columns[0], columns[1])


def spelt_out(runs: Runs) -> Counter[tuple[int, int]]:
    counter: Counter[tuple[int, int]] = Counter()
    for group, start, stop, times in zip(*(column.tolist() for column in runs), strict=True):
        counter.update({(group, value): times for value in range(start, stop)})
    return counter


def same(a: Runs, b: Runs) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_by_hand() -> None:
    runs = of([(0, 0), (0, 1), (0, 2), (1, 5), (0, 1), (0, 4)])
    assert [c.tolist() for c in runs] == [[0, 0, 0, 0, 1], [0, 1, 2, 4, 5], [1, 2, 3, 5, 6], [1, 2, 1, 1, 1]]


def test_a_complete_problem_is_one_run_in_any_order() -> None:
    values = np.random.default_rng(0).permutation(1000)
    assert [c.tolist() for c in runs_of_values(np.zeros(1000, dtype=np.int64), values)] == [[0], [0], [1000], [1]]


@settings(max_examples=60)
@given(pairs, pairs)
def test_is_a_multiset_and_canonical(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    whole = of(a + b)
    assert spelt_out(whole) == Counter(a) + Counter(b)
    joined = add_runs(Runs(*(np.concatenate([x, y]) for x, y in zip(of(b), of(a), strict=True))))
    assert same(whole, joined)
    assert same(whole, of(list(reversed(b + a))))
    group, start, stop, times = whole
    assert np.all(stop > start) and np.all(times > 0)
    touching = (group[1:] == group[:-1]) & (start[1:] == stop[:-1])
    assert np.all(times[1:][touching] != times[:-1][touching])  # otherwise they would be one
