"""Richness by hand and by exact means over all samples, its curves by all subsets and against exact rationals."""

import itertools
import math
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash_ray.stats.richness import accumulation, richness


def test_chao1_by_hand() -> None:
    # Problem 0: 10 samples, 3 correct answers seen 1, 1 and 2 times: f1 = 2, f2 = 1.
    #   unseen = (9/10) 2^2 / 2 = 1.8; variance = 0.9 * 4/2 + 0.81 * 8 + 0.81 * 16/4 = 1.8 + 6.48 + 3.24 = 11.52
    #   spread = exp(1.959964 sqrt(ln(1 + 11.52 / 3.24))) = exp(1.959964 sqrt(ln 4.555556)) = exp(2.413501) = 11.17301
    #   interval 3 + 1.8 / 11.17301 = 3.161103 .. 3 + 1.8 * 11.17301 = 23.11141
    # Problem 1: 5 samples, two answers seen once, none twice: unseen = (4/5) 2 * 1 / 2 = 0.8
    #   variance = 0.8 * 2 * 1 / 2 + 0.64 * 2 * 9 / 4 - 0.64 * 16 / (4 * 2.8) = 0.8 + 2.88 - 0.9142857 = 2.7657143
    #   spread = exp(1.959964 sqrt(ln(1 + 2.7657143 / 0.64))) = exp(1.959964 sqrt(1.671742)) = exp(2.534152) = 12.60574
    #   interval 2 + 0.8 / 12.60574 = 2.063463 .. 2 + 0.8 * 12.60574 = 12.08459
    r = richness([1, 1, 2, 1, 1], [0, 0, 0, 1, 1], [10, 5])
    assert r.observed.tolist() == [3, 2] and r.once.tolist() == [2, 2] and r.twice.tolist() == [1, 0]
    assert r.chao1 == pytest.approx([4.8, 2.8])
    assert r.low == pytest.approx([3.161103, 2.063463], rel=1e-6)
    assert r.high == pytest.approx([23.11141, 12.08459], rel=1e-6)
    assert r.unseen_mass == pytest.approx([0.2, 0.4])


def test_nothing_seems_unseen() -> None:
    # One answer seen twice in 4 samples: missed with e^-2 = 0.1353353, so about 1 / 0.8646647 = 1.1565176 answers;
    # variance e^-2 - e^-4 - (2 e^-2)^2 / 4 = 0.0987040; half width 1.959964 sqrt(0.0987040) / 0.8646647 = 0.712144
    r = richness([2], [0], [4])
    assert (r.chao1[0], r.unseen_mass[0], r.low[0]) == (1, 0, 1)
    assert r.high[0] == pytest.approx(1.8686615, rel=1e-6)
    # One answer seen once: Chao1 cannot tell how many others there are.
    r = richness([1], [0], [4])
    assert r.chao1[0] == 1 and r.unseen_mass[0] == 0.25 and r.high[0] > 2
    # Seen very often: surely all.
    r = richness([500, 500], [0, 0], [1000])
    assert r.low[0] == 2 and r.high[0] == pytest.approx(2)


def test_undefined() -> None:
    r = richness([], [], [0, 8])
    assert r.chao1 == pytest.approx([np.nan, 0], nan_ok=True)
    assert r.unseen_mass == pytest.approx([np.nan, 0], nan_ok=True)
    assert np.isnan(r.low).all() and np.isnan(r.high).all()
    r = richness([1], [0], [1])  # one sample, correct
    assert r.chao1[0] == 1 and r.unseen_mass[0] == 1 and r.low[0] == 1 and r.high[0] > 1


def test_chao1_is_a_lower_bound_nearer_than_what_was_seen() -> None:
    # The exact mean over all 5^6 samples of six from five answers, the last of which is wrong.
    p = [0.3, 0.2, 0.1, 0.05, 0.35]
    seen = chao1 = unseen = truth = 0.0
    samples = list(itertools.product(range(5), repeat=6))
    counts = np.array([[s.count(i) for i in range(4)] for s in samples])
    weight = np.array([math.prod(p[i] for i in s) for s in samples])
    r = richness(counts.ravel(), np.repeat(np.arange(len(samples)), 4), np.full(len(samples), 6))
    seen, chao1, unseen = (float(weight @ x) for x in (r.observed, r.chao1, r.unseen_mass))
    # The mass not seen in 5 samples, which is what f1/6 of 6 samples estimates without bias (Good).
    truth = sum(q * (1 - q) ** 5 for q in p[:4])
    assert unseen == pytest.approx(truth, rel=1e-12)
    assert seen < chao1 < 4
    assert 4 - chao1 < 0.6 * (4 - seen)


def test_accumulation_over_all_subsets() -> None:
    samples = ["a", "a", "b", "c", "wrong", "wrong"]
    curve = accumulation([2, 1, 1], [0, 0, 0], [6], range(8))[0]
    for k in range(7):
        distinct = [len(set(s) - {"wrong"}) for s in itertools.combinations(samples, k)]
        assert curve[k] == pytest.approx(sum(distinct) / len(distinct))
    assert math.isnan(curve[7])


def test_accumulation_of_several_problems() -> None:
    curves = accumulation([3, 1, 1], [2, 0, 0], [2, 0, 4], [1, 2, 4])
    # problem 0: two samples, two answers; problem 1: no samples; problem 2: one answer three times in four
    expected = [[1, 2, np.nan], [np.nan] * 3, [0.75, 1, 1]]
    assert curves == pytest.approx(np.array(expected), nan_ok=True)
    assert accumulation([], [], [5], [1, 5]).tolist() == [[0, 0]]


def test_accumulation_far_out() -> None:
    n, counts = 1_000_000, [1, 2, 3, 5, 40]
    for k in (1, 1000, 100_000):
        exact = sum(1 - Fraction(math.comb(n - k, m), math.comb(n, m)) for m in counts)
        curve = accumulation(counts, [0] * len(counts), [n], [k])[0, 0]
        assert curve == pytest.approx(float(exact), rel=1e-10, abs=0)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), max_size=20), st.integers(0, 30), st.randoms())
def test_properties(rows: list[tuple[int, int]], wrong: int, random: Random) -> None:
    problem, counts = [p for p, _ in rows], [c for _, c in rows]
    samples = np.bincount(problem, weights=counts, minlength=3).astype(int) + wrong if rows else np.full(3, wrong)
    r = richness(counts, problem, samples)
    some = r.observed > 0
    assert np.all(r.chao1[samples > 0] >= r.observed[samples > 0])
    assert np.all(r.low[some] >= r.observed[some])
    assert np.all(r.low[some] <= r.chao1[some] + 1e-12) and np.all(r.high[some] >= r.chao1[some] - 1e-12)
    wide = richness(counts, problem, samples, confidence=0.99)
    assert np.all(wide.high[some] >= r.high[some]) and np.all(wide.low[some] <= r.low[some])
    shuffled = list(rows)
    random.shuffle(shuffled)
    ks = np.arange(1, samples.max() + 1)
    curves = accumulation(counts, problem, samples, ks)
    assert np.array_equal(
        curves, accumulation([c for _, c in shuffled], [p for p, _ in shuffled], samples, ks), equal_nan=True
    )
    for i in range(3):
        curve = curves[i, : samples[i]]
        if len(curve):
            assert curve[-1] == pytest.approx(r.observed[i])  # all samples find all that was found
            assert np.all(np.diff(curve) >= -1e-12) and np.all(np.diff(curve, 2) <= 1e-12)  # rising, concave
        if len(curve) > 1:
            # The last step of the curve is Good-Turing's unseen mass.
            assert curve[-1] - curve[-2] == pytest.approx(r.unseen_mass[i], abs=1e-12)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="all of its scored samples"):
        richness([3], [0], [2])
    with pytest.raises(ValueError, match="confidence"):
        richness([1], [0], [2], confidence=95)
    with pytest.raises(ValueError, match="k must not"):
        accumulation([1], [0], [2], [-1])
