"""Tilting by hand, by weighting all subsets, against exact rationals, and on samples of a policy that was tilted."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.stats.entropy import answer_entropies_nats, miller_madow_entropies_nats
from leash_ray.stats.passk import pass_at_k
from leash_ray.stats.tilt import common_tilt, tilted_entropies_nats, tilted_pass_at_k, tilts


def test_the_design_example() -> None:
    # q = (0.9 wrong, 0.05, 0.05 right), tilted to pass@1 = 1/2, is (1/2, 1/4, 1/4): e^beta = 1 / (1/9) = 9, and the
    # entropy rises from 0.3944 to (3/2) ln 2.
    n = 2_000_000  # so many samples that estimates are the probabilities
    assert common_tilt([n], [n // 10], 0.5) == pytest.approx(math.log(9), rel=1e-5)
    # pass@2 = 1 - (1/2)^2
    assert tilted_pass_at_k([n], [n // 10], [1, 2], math.log(9))[0] == pytest.approx([0.5, 0.75], rel=1e-5)
    entropy = tilted_entropies_nats([18, 1, 1], [0, 0, 0], [False, True, True], [0.5])
    assert entropy == pytest.approx([1.5 * math.log(2)])


def test_tilt_of_a_problem_by_hand() -> None:
    # 2 of 20 -> 10 of 20, with 1/2 added: ln(10.5 / 10.5) - ln(2.5 / 18.5) = ln 7.4
    # error: sqrt(1/2.5 + 1/18.5 + 1/10.5 + 1/10.5) = sqrt(0.644530)
    beta, error = tilts([20, 4, 0], [2, 0, 0], [20, 4, 4], [10, 4, 1])
    assert beta == pytest.approx([math.log(7.4), math.log(81), np.nan], nan_ok=True)
    assert error == pytest.approx([math.sqrt(0.644530), math.sqrt(2 / 0.5 + 2 / 4.5), np.nan], rel=1e-5, nan_ok=True)


def test_all_subsets_weighted_and_each_sample_left_out() -> None:
    def share(samples: tuple[bool, ...], k: int, w: float) -> float:
        drawn = [sum(s) for s in itertools.combinations(samples, k)]
        return sum(w**j for j in drawn if j) / sum(w**j for j in drawn)

    for n in range(2, 7):
        for c, k, w in itertools.product(range(n + 1), range(1, n), (0.2, 1.0, 3.0)):
            samples = (True,) * c + (False,) * (n - c)
            left_out = [share(samples[:i] + samples[i + 1 :], k, w) for i in range(n)]
            expected = n * share(samples, k, w) - (n - 1) * sum(left_out) / n
            assert tilted_pass_at_k([n], [c], [k], math.log(w))[0, 0] == pytest.approx(expected, abs=1e-13)


def exact_share(n: int, c: int, k: int, w: Fraction) -> Fraction:
    if k > n - c:
        return Fraction(1)
    weight, total = Fraction(1), Fraction(0)
    for j in range(min(c, k, 80)):  # what is left is below 1e-20 of the total in all cases here
        weight *= Fraction((c - j) * (k - j), (j + 1) * (n - c - k + 1 + j)) * w
        total += weight
    return total / (1 + total)


@pytest.mark.parametrize(
    ("n", "c", "k", "w"),
    [
        (8192, 3, 8000, 2.0), (8192, 4000, 2, 4.0), (8192, 700, 64, 0.125), (100_000, 5, 10_000, 2.0),
        (1_000_000, 1, 100_000, 2.0), (1_000_000, 10, 7, 0.5**10), (1_000_000, 40, 100_000, 4.0),
        (1_000_000, 999_990, 5, 0.5**30),
    ],
)  # fmt: skip
def test_against_exact_rationals(n: int, c: int, k: int, w: float) -> None:
    beta = math.log(w)
    exact_w = Fraction(w)  # exp(log w) is off by some 1e-16 of it
    loo = c * exact_share(n - 1, c - 1, k, exact_w) + (n - c) * exact_share(n - 1, c, k, exact_w)
    exact = n * exact_share(n, c, k, exact_w) - (n - 1) * loo / n
    assert tilted_pass_at_k([n], [c], [k], beta)[0, 0] == pytest.approx(float(exact), rel=1e-10)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=8), st.data())
def test_no_tilt_is_the_unbiased_estimate(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    n = np.array([a + b for a, b in rows])
    c = np.array([a for a, _ in rows])
    ks = np.array([1, 2, 3, 10, 100, data.draw(st.integers(1, 600))])
    unbiased = np.where(ks < n[:, None], pass_at_k(n, c, ks), np.nan)
    assert tilted_pass_at_k(n, c, ks, 0.0) == pytest.approx(unbiased, rel=1e-11, abs=1e-13, nan_ok=True)


def test_limits_and_the_undefined() -> None:
    n, c = [5, 5, 5, 5, 1], [0, 1, 2, 5, 1]
    ks = [1, 4, 5, 6]
    # Certain hits and misses, jackknifed: where one correct sample alone makes the hit, leaving it out unmakes it:
    # 5 * 1 - 4 * (1/5 * 0 + 4/5 * 1) = 1.8, as the jackknife of Burnham and Overton counts species seen once.
    hit = tilted_pass_at_k(n, c, ks, math.inf)
    assert hit[:, 0] == pytest.approx([0, 1.8, 1, 1, np.nan], nan_ok=True)
    miss = tilted_pass_at_k(n, c, ks, -math.inf)
    # 4 of 5 samples with one correct can miss it, but not once a wrong one is left out: 5 * 0 - 4 * (4/5 * 1) = -3.2;
    # with 2 correct they cannot miss both.
    assert miss[:4, :2] == pytest.approx(np.array([[0, 0], [0, -3.2], [0, 1], [1, 1]]))
    assert np.isnan(hit[:, 2:]).all() and np.isnan(miss[4]).all()
    assert np.isnan(tilted_pass_at_k(n, c, ks, math.nan)).all()
    assert tilted_pass_at_k([], [], [1], 1.0).shape == (0, 1)
    for beta in (-390.0, 390.0):
        assert tilted_pass_at_k([10], [5], [2], beta)[0, 0] == pytest.approx(float(beta > 0))


def test_what_a_common_tilt_can_reach() -> None:
    # Always solved, never solved, half solved: the mean can move between 1/3 and 2/3.
    n, c = [400, 400, 400], [400, 0, 200]
    assert common_tilt(n, c, 0.5) == pytest.approx(0, abs=1e-12)
    assert common_tilt(n, c, (1 + 0.8) / 3) == pytest.approx(math.log(4), abs=0.005)
    assert common_tilt(n, c, 0.7) == math.inf and common_tilt(n, c, 0.3) == -math.inf
    assert math.isnan(common_tilt([4, 4], [4, 0], 0.5))  # nothing moves
    assert math.isnan(common_tilt([4, 1], [2, 0], 0.5)) and math.isnan(common_tilt([], [], 0.5))
    assert math.isnan(common_tilt([4], [2], math.nan))


def test_mean_pass_at_1_rises_with_beta() -> None:
    betas = np.linspace(-12, 12, 97)
    for n in (2, 3, 7, 40, 1000):
        c = np.arange(n + 1)
        curves = np.stack([tilted_pass_at_k(np.full(n + 1, n), c, [1], b)[:, 0] for b in betas])
        assert np.all(np.diff(curves, axis=0) >= -1e-12)


def test_nearly_unbiased() -> None:
    # The exact mean over c ~ Binomial(100, p), p spread evenly over (0, 0.2), tilted by w = 2.
    from scipy.stats import binom

    n, ps, ks = 100, (np.arange(400) + 0.5) / 2000, [1, 4, 16, 40]
    chance = binom.pmf(np.arange(n + 1)[:, None], n, ps).mean(axis=1)
    mean = chance @ tilted_pass_at_k(np.full(n + 1, n), np.arange(n + 1), ks, math.log(2))
    truth = [float(np.mean(1 - ((1 - ps) / (1 + ps)) ** k)) for k in ks]
    assert mean == pytest.approx(truth, abs=2e-3)
    assert mean[:2] == pytest.approx(truth[:2], abs=1e-4)


@settings(deadline=None)
@given(st.lists(st.integers(5, 45), min_size=1, max_size=20), st.floats(-4, 4))
def test_a_common_tilt_is_found_again(c: list[int], beta: float) -> None:
    n = [50] * len(c)
    target = float(tilted_pass_at_k(n, c, [1], beta).mean())
    assert common_tilt(n, c, target) == pytest.approx(beta, abs=1e-7)
    assert common_tilt(n[::-1], c[::-1], target) == common_tilt(n, c, target)


def test_predicts_a_policy_that_was_tilted() -> None:
    # 4,000 problems, p ~ Beta(0.5, 2), 200 samples each; the trained policy is the base tilted by beta = 1.
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 2, 4000)
    n = np.full(4000, 200)
    tilted = p * math.e / (1 - p + p * math.e)
    c_base, c_trained = rng.binomial(n, p), rng.binomial(n, tilted)
    beta = common_tilt(n, c_base, float(np.mean(c_trained / n)))
    assert beta == pytest.approx(1, abs=0.05)
    ks = [1, 2, 4, 8, 16, 64]
    predicted = tilted_pass_at_k(n, c_base, ks, beta).mean(axis=0)
    measured = pass_at_k(n, c_trained, ks).mean(axis=0)
    assert predicted[0] == pytest.approx(measured[0], rel=1e-9)
    assert predicted == pytest.approx(measured, abs=0.006)
    each, error = tilts(n, c_base, n, c_trained)
    sure = (c_base > 5) & (c_base < 150)
    assert np.mean(np.abs(each[sure] - 1) < 1.96 * error[sure]) == pytest.approx(0.95, abs=0.02)


def test_predicted_entropy_is_that_of_the_tilted_distribution() -> None:
    # Base counts 4, 2, 2 wrong and 6, 2 right; trained pass@1 = 1/4, 3/4, 0, 1: tilt the shares and take the entropy.
    counts, correct = np.array([4, 2, 2, 6, 2]), np.array([False, False, False, True, True])
    for p in (0.25, 0.75, 0.0, 1.0):
        shares = np.where(correct, p * counts / 8, (1 - p) * counts / 8)
        direct = -sum(x * math.log(x) for x in shares if x > 0)
        assert tilted_entropies_nats(counts, [0] * 5, correct, [p])[0] == pytest.approx(direct)
    # The base's own pass@1 predicts its own entropy.
    same = tilted_entropies_nats(counts, [0] * 5, correct, [0.5])
    assert same == pytest.approx(answer_entropies_nats(counts, [0] * 5, 1))


def test_predicted_entropy_where_no_tilt_leads() -> None:
    # The base only ever wrong; only ever right; no samples of the trained policy; none of the base.
    counts, problem, correct = [3, 3, 5], [0, 1, 2], [False, True, True]
    half = tilted_entropies_nats(counts, problem, correct, [0.5, 0.5, math.nan, 0.5])
    assert np.isnan(half).all()
    fits = tilted_entropies_nats(counts, problem, correct, [0.0, 1.0, 1.0, math.nan])
    assert fits == pytest.approx([0, 0, 0, np.nan], nan_ok=True)
    more = tilted_entropies_nats([2, 1, 3], [0] * 3, [True, True, False], [0.5], estimator=miller_madow_entropies_nats)
    plug_in = tilted_entropies_nats([2, 1, 3], [0] * 3, [True, True, False], [0.5])
    assert more - plug_in == pytest.approx([0.5 * 1 / 6])  # two right answers among three samples: (2 - 1) / 6


def test_bad_input() -> None:
    for call in (
        lambda: tilts([1], [2], [1], [1]),
        lambda: tilts([1], [1], [1, 1], [1, 1]),
        lambda: common_tilt([1], [1], 1.5),
        lambda: tilted_pass_at_k([1], [1], [0], 0.0),
        lambda: tilted_entropies_nats([1], [0], [True], [2.0]),
        lambda: tilted_entropies_nats([1], [0], [True, False], [0.5]),
    ):
        with pytest.raises(ValueError):
            call()
