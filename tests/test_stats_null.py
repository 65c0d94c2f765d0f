"""The label-permutation null: every relabelling of small cases, exact rationals, and uniform p-values."""

import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leash_ray.stats.null import CountLaw, LabelNull, label_null, split_half_floor


def probabilities(law: CountLaw) -> dict[int, float]:
    return {law.low + i: p for i, p in enumerate(law.pmf.tolist()) if p > 1e-15}


def relabellings(n: int, c: int, k: int) -> Counter[tuple[int, int]]:
    """How often one problem is in (E, S) over all orders of its n samples; base has the first half of them."""
    counts: Counter[tuple[int, int]] = Counter()
    for order in itertools.permutations(i < c for i in range(n)):
        base, trained = any(order[:k]), any(order[n // 2 : n // 2 + k])
        counts[(int(trained and not base), int(base and not trained))] += 1
    return counts


def assert_is(law: CountLaw, outcomes: Counter[int]) -> None:
    total = sum(outcomes.values())
    expected = {x: count / total for x, count in outcomes.items()}
    assert probabilities(law) == pytest.approx(expected, abs=1e-14)
    for x in range(law.min - 2, law.max + 3):
        assert law.at_least(x) == pytest.approx(sum(p for y, p in expected.items() if y >= x), abs=1e-14)
        assert law.at_most(x) == pytest.approx(sum(p for y, p in expected.items() if y <= x), abs=1e-14)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("c", [(1, 1, 1), (0, 2, 3), (1, 2, 4), (4, 0, 4)])
def test_every_relabelling_of_three_problems_of_four_samples(c: tuple[int, int, int], k: int) -> None:
    n = 2  # of each policy
    null = label_null([n] * 3, np.minimum(c, n), [n] * 3, np.maximum(np.subtract(c, n), 0), k)
    e, s, net = Counter[int](), Counter[int](), Counter[int]()
    for outcome in itertools.product(*(relabellings(4, c_one, k).items() for c_one in c)):
        times = math.prod(count for _, count in outcome)
        n_e, n_s = (sum(groups[i] for groups, _ in outcome) for i in (0, 1))
        e[n_e] += times
        s[n_s] += times
        net[n_e - n_s] += times
    assert_is(null.count, e)
    assert_is(null.count, s)
    assert_is(null.net, net)
    mean = sum(x * times for x, times in e.items()) / e.total()
    assert null.expected == pytest.approx(mean)
    assert null.sd**2 == pytest.approx(sum((x - mean) ** 2 * times for x, times in e.items()) / e.total())
    assert null.sd_net**2 == pytest.approx(sum(x**2 * times for x, times in net.items()) / net.total())


def test_by_hand() -> None:
    # One marked among 4, two for each: it is base's or trained's. Two units: E is 0, 1, 2 with 1/4, 1/2, 1/4.
    null = label_null([2, 2], [1, 0], [2, 2], [0, 1], 2)
    assert (null.expected, null.sd, null.sd_net) == pytest.approx((1, math.sqrt(0.5), math.sqrt(2)))
    p = null.p_values(2, 0)
    assert (p.p_E, p.p_S, p.p_net) == pytest.approx((0.25, 1, 0.5))
    p = null.p_values(1, 1)
    assert (p.p_E, p.p_S, p.p_net) == pytest.approx((0.75, 0.75, 1))
    p = null.randomised_p_values(2, 0)
    assert (p.p_E, p.p_S, p.p_net) == pytest.approx((0.125, 0.875, 0.25))


def test_unequal_samples() -> None:
    # 3 and 1 samples, k = 1, one marked: trained's only sample is the marked one in 1 of 4 cases; so is base's first.
    null = label_null([3], [1], [1], [0], 1)
    assert null.expected == pytest.approx(0.25)


def test_nothing_to_relabel() -> None:
    for null in (label_null([], [], [], [], 5), label_null([9, 9], [0, 0], [9, 9], [0, 0], 9)):
        assert (null.expected, null.sd, null.sd_net) == (0, 0, 0)
        p = null.p_values(0, 0)
        assert (p.p_E, p.p_S, p.p_net) == (1, 1, 1)
        assert null.count.at_least(1) == 0


def test_tiny_chances_keep_their_digits() -> None:
    # The one marked of 2,000,000 is trained's first: 1 in 2,000,000.
    assert label_null([10**6], [1], [10**6], [0], 1).expected == pytest.approx(5e-7, rel=1e-13)
    assert label_null([10**6], [1], [10**6], [0], 10**5).expected == pytest.approx(0.05, rel=1e-11)
    big_n, c, k = 4000, 1500, 60
    exact = Fraction(math.comb(big_n - c, k), math.comb(big_n, k)) - Fraction(
        math.comb(big_n - c, 2 * k), math.comb(big_n, 2 * k)
    )
    assert label_null([2000], [750], [2000], [750], k).expected == pytest.approx(float(exact), rel=1e-11)


def test_far_tails_are_exact() -> None:
    # 150 units, all marked ones at stake: more than one batch. Exact rational convolution beside it.
    c = np.arange(1, 151) % 7 + 1
    null = label_null([16] * 150, c, [16] * 150, [0] * 150, 8)
    exact = [Fraction(1)]
    for c_one in c.tolist():
        q = Fraction(math.comb(32 - c_one, 8), math.comb(32, 8)) - Fraction(
            math.comb(32 - c_one, 16), math.comb(32, 16)
        )
        padded = [Fraction(0), *exact, Fraction(0)]
        exact = [padded[i + 1] * (1 - q) + padded[i] * q for i in range(len(exact) + 1)]
    for x in (0, 5, 20, 30, 50, 70):
        tail = sum(exact[x:], start=Fraction(0))
        assert null.count.at_least(x) == pytest.approx(float(tail), rel=1e-10)
    assert 0 < null.count.at_least(150) < 1e-25  # possible, so never a p-value of 0
    assert null.count.at_least(151) == 0


def deals(sizes: list[int], n: int, k: int) -> Iterator[tuple[int, int]]:
    """(E, S) over answers of one problem, for all ways to deal its n samples to the two first-k's."""
    answer_of = [a for a, size in enumerate(sizes) for _ in range(size)] + [-1] * (n - sum(sizes))
    for base in itertools.combinations(range(n), k):
        rest = [i for i in range(n) if i not in base]
        for trained in itertools.combinations(rest, k):
            by_base, by_trained = ({answer_of[i] for i in side} - {-1} for side in (base, trained))
            yield len(by_trained - by_base), len(by_base - by_trained)


SHARED = [([1, 1], 6, 1), ([1, 1, 1], 4, 2), ([2, 1, 1], 6, 3), ([2, 2, 2], 8, 3), ([1] * 6, 6, 2)]
SHARED += [([3, 2, 1, 1], 8, 4), ([4, 3, 1], 8, 2), ([4, 4], 8, 3)]


@pytest.mark.parametrize("problems", [1, 10])
@pytest.mark.parametrize(("sizes", "n", "k"), SHARED)
def test_answers_of_one_problem_share_its_samples(sizes: list[int], n: int, k: int, problems: int) -> None:
    half, c = n // 2, np.array(sizes * problems)
    null = label_null(0 * c + half, np.minimum(c, half), 0 * c + half, np.maximum(c - half, 0), k)
    outcomes = np.array(list(deals(sizes, n, k)))
    for law, sd, counts in (
        (null.count, null.sd, outcomes[:, 0]),
        (null.net, null.sd_net, outcomes[:, 0] - outcomes[:, 1]),
    ):
        low = int(counts.min())
        of_one = np.bincount(counts - low) / len(counts)
        true = np.ones(1)
        for _ in range(problems):
            true = np.convolve(true, of_one)
        mean = counts.mean() * problems
        assert (law.pmf * (law.low + np.arange(len(law.pmf)))).sum() == pytest.approx(mean, abs=1e-12)
        assert counts.std() * math.sqrt(problems) <= sd + 1e-12
        tails = true[::-1].cumsum()[::-1]
        for i, tail in enumerate(tails.tolist()):
            if 1e-12 < tail < 0.2:  # conservative where it matters, all but P(X >= 1) of a single problem
                slack = 1.04 if problems == 1 else 1 + 1e-9
                assert law.at_least(low * problems + i) * slack >= tail


@pytest.mark.parametrize(("n", "c"), [(4, 1), (4, 2), (5, 2), (6, 3)])
def test_floor_of_every_split(n: int, c: int) -> None:
    h = n // 2
    outcomes = list(deals([c], n, h))  # a single "answer": found or not
    floor = split_half_floor([n], [c])
    assert floor.expected == pytest.approx(np.mean([x for x, _ in outcomes]))
    assert floor.sd == pytest.approx(np.std([x for x, _ in outcomes]))
    assert split_half_floor([n, n], [c, c]).expected == pytest.approx(2 * floor.expected)


def simulated(rng: np.random.Generator, p: np.ndarray, n: int, k: int) -> tuple[LabelNull, int, int]:
    hits = rng.random((2, len(p), n)) < p[:, None]
    base, trained = hits[..., :k].any(axis=2)
    c = hits.sum(axis=2)
    null = label_null(np.full(len(p), n), c[0], np.full(len(p), n), c[1], k)
    return null, int((trained & ~base).sum()), int((base & ~trained).sum())


def test_p_values_are_uniform_where_nothing_changed() -> None:
    rng = np.random.default_rng(5)
    rows, exact = [], []
    for _ in range(800):
        null, e, s = simulated(rng, rng.beta(0.3, 0.7, 60), 24, 16)
        p = null.randomised_p_values(e, s, rng.random())
        rows.append((p.p_E, p.p_S, p.p_net))
        q = null.p_values(e, s)
        exact.append((q.p_E, q.p_S, q.p_net))
    for column in np.array(rows).T:
        assert stats.kstest(column, "uniform").pvalue > 0.01
    for a in (0.01, 0.05, 0.2):  # the exact ones: valid
        assert ((np.array(exact) <= a).mean(axis=0) <= a + 3 * math.sqrt(a * (1 - a) / 800)).all()


counts = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(counts, st.integers(0, 6), st.randoms(use_true_random=False))
def test_swapping_policies_or_reordering_units_changes_nothing(units: list[tuple[int, int]], k: int, random) -> None:  # type: ignore[no-untyped-def]
    c_b, c_t = (np.array(x) for x in zip(*units, strict=True))
    n_b, n_t = np.full(len(units), 6), np.full(len(units), 9)
    one, swapped = label_null(n_b, c_b, n_t, c_t, k), label_null(n_t, c_t, n_b, c_b, k)
    order = random.sample(range(len(units)), len(units))
    shuffled = label_null(n_b, c_b[order], n_t, c_t[order], k)
    for other in (swapped, shuffled):
        assert np.array_equal(one.count.pmf, other.count.pmf) and np.array_equal(one.net.pmf, other.net.pmf)
    assert one.net.pmf == pytest.approx(one.net.pmf[::-1])
    assert one.net.pmf.sum() == pytest.approx(1)
    assert one.p_values(1, 0).p_net == pytest.approx(one.p_values(0, 1).p_net)


def test_many_units_are_quick() -> None:
    rng = np.random.default_rng(0)
    n, c = np.full(200_000, 2048), rng.poisson(0.02, 200_000)
    start = time.perf_counter()
    null = label_null(n, c, n, c // 2, 2048)
    assert time.perf_counter() - start < 3  # about 0.3 s on an idle core
    assert null.p_values(int(null.expected + 6 * null.sd), 0).p_E == pytest.approx(1e-9, rel=0.5)


def test_bad_counts_name_the_fix() -> None:
    with pytest.raises(ValueError, match="smallest n as k"):
        label_null([4, 8], [1, 1], [4, 8], [1, 1], 5)
    with pytest.raises(ValueError, match="0 <= c <= n"):
        label_null([4], [5], [4], [1], 2)
    with pytest.raises(ValueError, match="fewer than 2"):
        split_half_floor([4, 1], [1, 1])
    with pytest.raises(ValueError, match="0 <= c <= n"):
        split_half_floor([4], [5])
    with pytest.raises(ValueError, match="u must lie"):
        label_null([4], [1], [4], [1], 2).randomised_p_values(0, 0, 2)
