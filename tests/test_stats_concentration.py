"""What happened among correct answers: by hand, by all ways to deal the labels, and on policies that were tilted."""

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.stats.concentration import Concentration, _mean_f, concentration

answers = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=15)


def of(rows: list[tuple[int, int, int]], n_problems: int = 3, **kwargs: int) -> Concentration:
    """Rows of problem, base's and trained's count."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return concentration(columns[1], columns[2], columns[0], n_problems, **kwargs)


def kl(base: list[str], trained: list[str]) -> float:
    """From the definition, of samples spelt out."""
    seen = sorted({*base, *trained})
    q = {a: (base.count(a) + 0.5) / (len(base) + len(seen) / 2) for a in seen}
    pi = {a: trained.count(a) / len(trained) for a in seen}
    return sum(x * math.log(x / q[a]) for a, x in pi.items() if x > 0)


def test_by_hand() -> None:
    # Base gave a, b once each; trained gave a twice. pi = (1, 0), q = (1.5/3, 1.5/3): KL = ln 2.
    # Of the 4 samples a, a, a, b two are trained's: b is one of them in half of all deals.
    #   b with trained: pi = (1/2, 1/2), q = (2.5/3, 0.5/3): (1/2) ln 0.6 + (1/2) ln 3 = (1/2) ln 1.8
    #   expected (1/2) ln 2 + (1/4) ln 1.8; lost by chance 1/2, and a is lost never.
    r = of([(0, 1, 2), (0, 1, 0)], 1)
    assert r.kl_nats == pytest.approx([math.log(2)])
    assert r.expected_kl_nats == pytest.approx([math.log(2) / 2 + math.log(1.8) / 4])
    assert r.excess_nats == pytest.approx([math.log(2) / 2 - math.log(1.8) / 4])
    assert (r.lost.observed.tolist(), r.lost.one_sided.tolist()) == ([1], [0])
    assert r.lost.expected == pytest.approx([0.5]) and r.lost.unexplained_share == pytest.approx(0.5)
    assert r.gained.observed.tolist() == [0] and r.gained.expected == pytest.approx([0.5])
    assert math.isnan(r.gained.unexplained_share) and r.gained.unexplained == pytest.approx(-0.5)
    assert r.counted and r.p_value == pytest.approx(0.5, abs=0.04) and r.lost.p_value == pytest.approx(0.5, abs=0.04)
    assert r.gained.p_value == 1


def test_losses_that_tilting_explains() -> None:
    # Trained solved nothing of problem 0, of which base knew two answers; both know one of 1; base solved nothing of 2.
    r = of([(0, 3, 0), (0, 1, 0), (1, 4, 7), (2, 0, 5)])
    assert r.kl_nats == pytest.approx([np.nan, 0, np.nan], nan_ok=True)
    assert r.expected_kl_nats == pytest.approx([np.nan, 0, np.nan], nan_ok=True)
    assert (r.lost.observed.tolist(), r.lost.one_sided.tolist()) == ([2, 0, 0], [2, 0, 0])
    assert r.lost.unexplained == 0 and r.lost.unexplained_share == 0 and r.lost.p_value == 1
    assert (r.gained.observed.tolist(), r.gained.one_sided.tolist()) == ([0, 0, 1], [0, 0, 1])
    assert r.p_value == 1


# Three problems of four correct samples each, as base's and trained's.
PROBLEMS = [("aabc", 2), ("aaab", 1), ("abcd", 2)]


def deals(samples: str, c_base: int) -> list[tuple[list[str], list[str]]]:
    chosen = itertools.combinations(range(len(samples)), c_base)
    return [([samples[i] for i in s], [samples[i] for i in range(len(samples)) if i not in s]) for s in chosen]


@pytest.mark.parametrize("replicates", [1999, 64])
def test_all_deals_of_three_problems(replicates: int) -> None:
    per_problem = [deals(*p) for p in PROBLEMS]
    kls = [[kl(b, t) for b, t in ways] for ways in per_problem]
    losses = [[len({*b} - {*t}) for b, t in ways] for ways in per_problem]
    gains = [[len({*t} - {*b}) for b, t in ways] for ways in per_problem]
    all_kl, all_lost, all_gained = (
        np.array([sum(w) for w in itertools.product(*v)], dtype=float) for v in (kls, losses, gains)
    )
    for pick in ((0, 0, 0), (5, 3, 2), (2, 1, 5), (3, 2, 0)):
        rows = []
        for i, ways in enumerate(per_problem):
            base, trained = ways[pick[i]]
            rows += [(i, base.count(a), trained.count(a)) for a in "abcd" if a in base or a in trained]
        r = of(rows, replicates=replicates)
        assert r.kl_nats == pytest.approx([kls[i][j] for i, j in enumerate(pick)])
        assert r.expected_kl_nats == pytest.approx([np.mean(v) for v in kls])
        for turnover, counts in ((r.lost, losses), (r.gained, gains)):
            assert turnover.observed.tolist() == [counts[i][j] for i, j in enumerate(pick)]
            assert turnover.expected == pytest.approx([np.mean(v) for v in counts])
        assert r.counted == (replicates == 1999)
        if r.counted:  # within 4 standard errors of the exact p-value
            for p, values, observed in (
                (r.p_value, all_kl, r.kl_nats.sum()),
                (r.lost.p_value, all_lost, r.lost.observed.sum()),
                (r.gained.p_value, all_gained, r.gained.observed.sum()),
            ):
                exact = np.mean(values >= observed - 1e-9)
                assert p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 2000) + 1e-3)


@settings(deadline=None)
@given(answers, st.randoms(), st.sampled_from([999, 40]))
def test_order_and_swap(rows: list[tuple[int, int, int]], random: Random, replicates: int) -> None:
    r = of(rows, replicates=replicates)
    shuffled = list(rows)
    random.shuffle(shuffled)
    other = of(shuffled, replicates=replicates)
    for name in ("kl_nats", "expected_kl_nats"):
        assert np.array_equal(getattr(r, name), getattr(other, name), equal_nan=True)
    assert np.array_equal(r.lost.expected, other.lost.expected)
    assert (r.p_value, r.lost.p_value) == (other.p_value, other.lost.p_value) or math.isnan(r.p_value)
    swapped = of([(p, t, b) for p, b, t in rows], replicates=replicates)
    for one, two in ((r.lost, swapped.gained), (r.gained, swapped.lost)):
        assert np.array_equal(one.observed, two.observed) and np.array_equal(one.one_sided, two.one_sided)
        assert one.expected == pytest.approx(two.expected)
    assert np.all(np.isnan(r.kl_nats) | (r.kl_nats >= -1e-12))
    for p in (r.p_value, r.lost.p_value, r.gained.p_value):
        assert math.isnan(p) or 0 <= p <= 1


def test_where_chance_cannot_vary() -> None:
    # Every correct sample is another answer: whatever the deal, base's are lost.
    rows = [(0, 1, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1)]
    for replicates in (999, 40):
        r = of(rows, 2, replicates=replicates)
        assert r.excess_nats == pytest.approx([0, 0])
        assert r.lost.expected == pytest.approx([2, 1]) and r.lost.unexplained == pytest.approx(0)
        assert r.p_value == 1 and r.lost.p_value > 0.05


@pytest.mark.parametrize(
    ("m", "c_b", "c_t"), [(1, 1, 1), (5, 3, 9), (300, 200, 1000), (2000, 1_000_000, 900_000), (40, 30, 1_000_000)]
)
def test_expected_by_chance_against_mpmath(m: int, c_b: int, c_t: int) -> None:
    import mpmath

    with mpmath.workdps(40):
        total = mpmath.mpf(0)
        weight = mpmath.binomial(c_b, m) if m <= c_b else mpmath.mpf(0)  # of t = 0
        norm = mpmath.binomial(c_b + c_t, m)
        for t in range(max(0, m - c_b), min(m, c_t) + 1):
            weight = mpmath.binomial(c_t, t) * mpmath.binomial(c_b, m - t)
            if t:
                total += weight / norm * t * mpmath.log(mpmath.mpf(t) / (m - t + mpmath.mpf("0.5")))
        got = _mean_f(*(np.array([x]) for x in (m, c_b, c_t)))[0]
        assert got == pytest.approx(float(total), rel=1e-10)


def made(rng: np.random.Generator, n_problems: int, power: float) -> Concentration:
    """200 samples a problem; trained has 2.7 times the odds, and correct answers raised to ``power``."""
    q = rng.dirichlet(np.full(6, 0.4), n_problems)
    p = rng.beta(0.5, 2, n_problems)
    pi = q**power / np.sum(q**power, axis=1, keepdims=True)
    base = rng.multinomial(rng.binomial(200, p), q)
    trained = rng.multinomial(rng.binomial(200, 2.7 * p / (1 - p + 2.7 * p)), pi)
    return concentration(base.ravel(), trained.ravel(), np.repeat(np.arange(n_problems), 6), n_problems)


def test_a_tilted_policy_is_not_blamed() -> None:
    rng = np.random.default_rng(1)
    runs = [made(rng, 40, 1.0) for _ in range(60)]
    p = np.array([[r.p_value, r.lost.p_value] for r in runs])
    assert np.all(np.abs(np.mean(p <= 0.5, axis=0) - 0.5) < 0.2) and np.all(np.mean(p <= 0.05, axis=0) < 0.15)
    # Its excess is 0 on average, while the concentration itself is not.
    excess = np.concatenate([r.excess_nats for r in runs])
    excess = excess[~np.isnan(excess)]
    assert abs(excess.mean()) < 3 * excess.std() / math.sqrt(len(excess))
    assert np.nanmean(np.concatenate([r.kl_nats for r in runs])) > 0.05
    assert abs(sum(r.lost.unexplained for r in runs)) < 0.1 * sum(r.lost.observed.sum() for r in runs)


def test_large_studies_agree_with_counted_p_values_and_find_what_was_planted() -> None:
    null = made(np.random.default_rng(2), 3000, 1.0)
    assert not null.counted and 0.01 < null.p_value < 0.99 and null.lost.p_value > 0.01
    sharpened = made(np.random.default_rng(3), 3000, 1.5)
    assert sharpened.p_value < 1e-6 and sharpened.lost.p_value < 1e-6 and sharpened.gained.p_value > 0.99
    assert sharpened.lost.unexplained_share > 0.2
    # The same data, counted and approximated.
    rng = np.random.default_rng(4)
    b, t = rng.poisson(2, (300, 5)), rng.poisson(2, (300, 5))
    problem = np.repeat(np.arange(300), 5)
    counted, approximated = (
        concentration(b.ravel(), t.ravel(), problem, 300, replicates=replicates) for replicates in (4000, 100)
    )
    assert counted.counted and not approximated.counted
    assert approximated.p_value == pytest.approx(counted.p_value, abs=0.04)


def test_nothing_correct() -> None:
    r = of([(1, 0, 0)], 2)
    assert np.isnan(r.kl_nats).all() and math.isnan(r.p_value)
    assert r.lost.observed.tolist() == [0, 0] and math.isnan(r.lost.unexplained_share) and r.lost.p_value == 1
    assert len(of([], 0).kl_nats) == 0


def test_bad_input() -> None:
    for rows, kwargs in (([(0, -1, 2)], {}), ([(5, 1, 1)], {}), ([(0, 1, 1)], {"replicates": 1})):
        with pytest.raises(ValueError):
            of(rows, 3, **kwargs)
    with pytest.raises(ValueError, match="per answer"):
        concentration([1], [1, 2], [0], 1)
