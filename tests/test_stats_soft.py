"""Soft support: closed forms, far ends against mpmath, and its bias over simulated problems with known truth."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from leash_ray.stats.soft import FEW, JEFFREYS, PRIORS, SoftSupport, fit_beta, posterior_above, soft_support


def groups(soft: SoftSupport) -> np.ndarray:
    return np.array([soft.P, soft.E, soft.S, soft.O])


def test_posterior_in_closed_form() -> None:
    # No sample: Beta(1/2, 1/2) is the arcsine law. One miss: Beta(1/2, 3/2), whose density is (2/pi) sqrt((1-p)/p).
    assert posterior_above([0], [0], 0.5)[0] == pytest.approx(0.5)
    x = 0.2
    below = 2 / math.pi * (math.asin(math.sqrt(x)) + math.sqrt(x * (1 - x)))
    assert posterior_above([1], [0], x)[0] == pytest.approx(1 - below)
    # A flat prior and n hits: p^(n+1) is below.
    assert posterior_above([4], [4], x, prior=(1, 1))[0] == pytest.approx(1 - x**5)


@pytest.mark.parametrize(("n", "c", "k"), [(10**6, 0, 10**5), (10**6, 30, 10**5), (8192, 1, 8192)])
def test_far_out(n: int, c: int, k: int) -> None:
    import mpmath

    eps = -math.log(0.05) / k
    with mpmath.workdps(40):
        log_norm = (
            mpmath.loggamma(n + 1) - mpmath.loggamma(c + mpmath.mpf(0.5)) - mpmath.loggamma(n - c + mpmath.mpf(0.5))
        )

        def density(p: mpmath.mpf) -> mpmath.mpf:
            return mpmath.exp(log_norm + (c - 0.5) * mpmath.log(p) + (n - c - 0.5) * mpmath.log(1 - p))

        spread = (c + 1) / n / mpmath.sqrt(c + 1)
        stops = [mpmath.mpf(eps) + i * spread for i in range(60)]
        exact = mpmath.quad(density, [x for x in stops if x < 1] + ([1] if stops[-1] >= 1 else []))
    assert posterior_above([n], [c], eps)[0] == pytest.approx(min(1.0, float(exact)), rel=1e-8, abs=1e-300)


def test_jeffreys_by_hand() -> None:
    # Posteriors above 0.5 of no sample: 1/2 each. Of (1 of 1): 1/2 + 1/pi; of (0 of 1): 1/2 - 1/pi.
    soft = soft_support([0, 1], [0, 1], [0, 1], [0, 0], 0.5, prior="jeffreys")
    up, down = 0.5 + 1 / math.pi, 0.5 - 1 / math.pi
    assert groups(soft)[:, 0] == pytest.approx([0.25] * 4)
    assert groups(soft)[:, 1] == pytest.approx([up * down, down * down, up * up, down * up])
    assert soft.above_base == pytest.approx([0.5, up]) and soft.above_trained == pytest.approx([0.5, down])
    expected = soft.expected()
    assert expected["E"] == pytest.approx(0.25 + down * down)
    assert expected["SRR"] == pytest.approx((0.25 + up * down) / (0.5 + up))


def test_beta_fit_finds_the_prior() -> None:
    rng = np.random.default_rng(0)
    for a, b in ((0.3, 0.7), (2, 5), (0.1, 0.5)):
        n = rng.integers(50, 200, 20_000)
        found = fit_beta(n, rng.binomial(n, rng.beta(a, b, len(n))))
        assert found == pytest.approx((a, b), rel=0.05)


def test_beta_fit_is_the_most_likely() -> None:
    n, c = np.full(60, 20), np.random.default_rng(1).integers(0, 8, 60)
    a, b = fit_beta(n, c)
    best = stats.betabinom.logpmf(c, n, a, b).sum()
    for da, db in ((1.05, 1), (0.95, 1), (1, 1.05), (1, 0.95), (1.05, 1.05)):
        assert stats.betabinom.logpmf(c, n, a * da, b * db).sum() < best


def test_nothing_to_fit() -> None:
    many = np.full(100, 8)
    for n, c in ((many, 0 * many), (many, many), (many[:5], [1, 2, 3, 4, 5]), ([], [])):
        assert fit_beta(n, c) == JEFFREYS
    few = np.full(FEW - 1, 8)
    assert soft_support(few, few // 2, few, few // 3, 0.3).prior == "jeffreys"
    for prior in PRIORS:  # nobody solves anything, or everything
        soft = soft_support(many, 0 * many, many, 0 * many, 0.3, prior=prior)
        assert soft.expected()["O"] > 90
        soft = soft_support(many, many, many, many, 0.3, prior=prior)
        assert soft.expected()["P"] > 95


def test_an_epsilon_of_one_or_more_is_out_of_reach() -> None:
    n = np.full(40, 2)
    for prior in PRIORS:
        for eps in (1.0, 1.5, math.inf):
            assert groups(soft_support(n, n, n, n, eps, prior=prior)).sum(axis=1) == pytest.approx([0, 0, 0, 40])
        mixed = soft_support(n, n, n, n, [0.3] * 20 + [math.inf] * 20, prior=prior)
        assert mixed.O[20:] == pytest.approx(1) and (mixed.P[:20] > 0.5).all()


def truth_and_data(
    rng: np.random.Generator, shape: tuple[float, float], kind: str, n: int, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    base = rng.beta(*shape, 500)
    if kind == "same":
        trained = base
    elif kind == "unrelated":
        trained = rng.beta(*shape, 500)
    else:  # a fifth is lost, the rest gets better
        trained = np.where(rng.random(500) < 0.2, base * 0.05, np.minimum(1, base * 1.5))
    b, t = base > eps, trained > eps
    truth = np.array([(b & t).sum(), (~b & t).sum(), (b & ~t).sum(), (~b & ~t).sum()])
    return truth, rng.binomial(n, base), rng.binomial(n, trained)


def biases(shape: tuple[float, float], kind: str, priors: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Mean error of expected P, E, S, O, as shares of the problems."""
    rng, n, rounds = np.random.default_rng(7), 256, 12
    eps = -math.log(0.05) / n
    out = {prior: np.zeros(4) for prior in priors}
    for _ in range(rounds):
        truth, c_b, c_t = truth_and_data(rng, shape, kind, n, eps)
        for prior in priors:
            soft = soft_support(np.full(500, n), c_b, np.full(500, n), c_t, eps, prior=prior)
            out[prior] += (groups(soft).sum(axis=1) - truth) / 500 / rounds
    return out


@pytest.mark.parametrize("kind", ["same", "shrunk"])
@pytest.mark.parametrize("shape", [(0.3, 0.7), (0.1, 0.5), (2, 5), (0.05, 5)])
def test_joint_prior_is_nearly_unbiased(shape: tuple[float, float], kind: str) -> None:
    assert np.abs(biases(shape, kind, ("joint",))["joint"]).max() < 0.013


def test_joint_prior_also_serves_unrelated_policies() -> None:
    assert np.abs(biases((0.3, 0.7), "unrelated", ("joint",))["joint"]).max() < 0.013


def test_independent_priors_take_noise_for_difference() -> None:
    found = biases((0.3, 0.7), "same", PRIORS)
    for prior in ("jeffreys", "beta"):
        assert (found[prior][1:3] > 0.025).all()  # E and S of policies that are the same
    assert (found["joint"][1:3] < 0.01).all()


def test_one_lucky_sample_moves_it_little() -> None:
    rng = np.random.default_rng(3)
    n = np.full(200, 256)
    base, trained = (rng.binomial(256, rng.beta(0.3, 0.7, 200)) for _ in range(2))
    trained[0] = 0
    before = soft_support(n, base, n, trained, 0.0117)
    trained[0] = 1  # hard support jumps by one problem
    after = soft_support(n, base, n, trained, 0.0117)
    assert 0 < after.above_trained[0] - before.above_trained[0] < 0.25


def test_each_problem_its_own_epsilon() -> None:
    rng = np.random.default_rng(4)
    n = np.full(400, 128)
    base, trained = (rng.binomial(128, rng.beta(0.3, 0.7, 400)) for _ in range(2))
    twice = soft_support(
        np.tile(n, 2), np.tile(base, 2), np.tile(n, 2), np.tile(trained, 2), [0.02] * 400 + [0.03] * 400
    )
    for part, eps in ((slice(0, 400), 0.02), (slice(400, 800), 0.03)):
        alone = soft_support(n, base, n, trained, eps)
        assert np.abs(groups(twice)[:, part].sum(axis=1) - groups(alone).sum(axis=1)).max() < 0.015 * 400


counts = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), min_size=FEW, max_size=40)


@settings(deadline=None, max_examples=30)
@given(counts, st.sampled_from(PRIORS), st.randoms(use_true_random=False))
def test_swap_and_order(c: list[tuple[int, int]], prior: str, random) -> None:  # type: ignore[no-untyped-def]
    c_b, c_t = (np.array(x) for x in zip(*c, strict=True))
    n_b, n_t = np.full(len(c), 9), np.full(len(c), 12)
    one = soft_support(n_b, c_b, n_t, c_t, 0.25, prior=prior)
    assert groups(one).sum(axis=0) == pytest.approx(1)
    swapped = soft_support(n_t, c_t, n_b, c_b, 0.25, prior=prior)
    assert groups(one) == pytest.approx(groups(swapped)[[0, 2, 1, 3]], abs=1e-9)
    order = random.sample(range(len(c)), len(c))
    assert groups(soft_support(n_b, c_b[order], n_t, c_t[order], 0.25, prior=prior)) == pytest.approx(
        groups(one)[:, order], abs=1e-9
    )


def test_large_n_and_small_epsilon() -> None:
    rng = np.random.default_rng(5)
    n = np.full(300, 10**6)
    p = special.expit(rng.normal(-8, 4, 300))
    eps = -math.log(0.05) / 10**5
    for prior in PRIORS:
        soft = soft_support(n, rng.binomial(n, p), n, rng.binomial(n, p), eps, prior=prior)
        assert groups(soft).sum(axis=0) == pytest.approx(1)
        assert soft.expected()["P"] == pytest.approx((p > eps).sum(), abs=8)
        assert soft.expected()["O"] == pytest.approx((p <= eps).sum(), abs=8)


def test_bad_arguments_name_the_fix() -> None:
    with pytest.raises(ValueError, match="jeffreys, beta, joint"):
        soft_support([4], [1], [4], [1], 0.1, prior="flat")
    with pytest.raises(ValueError, match="0 <= c <= n"):
        posterior_above([4], [5], 0.1)
    with pytest.raises(ValueError, match="positive"):
        posterior_above([4], [1], 0.0)
    with pytest.raises(ValueError, match="same problems"):
        soft_support([4, 4], [1, 1], [4], [1], 0.1)
