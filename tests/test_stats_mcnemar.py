"""McNemar's exact test: coins counted by hand, the paper's counts, and the coverage of its intervals."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leash_ray.stats.mcnemar import clustered_p, mcnemar, mcnemar_p, share_interval


def test_every_outcome_of_a_few_coins() -> None:
    for total in range(1, 8):
        heads = [sum(coins) for coins in itertools.product((0, 1), repeat=total)]
        for e in range(total + 1):
            # As uneven as seen, either way.
            as_far = [abs(h - total / 2) >= abs(e - total / 2) for h in heads]
            assert mcnemar_p(e, total - e) == pytest.approx(np.mean(as_far))


def test_by_hand() -> None:
    # 0 of 5: 2 / 2^5. One more of 5 flips: 2 (1 + 5) / 2^5. 2 against 2: nothing to see.
    assert mcnemar(0, 5).p == pytest.approx(1 / 16)
    assert mcnemar(4, 1).p == pytest.approx(12 / 32)
    assert mcnemar(2, 2).p == 1
    assert mcnemar(0, 5).p_mid == pytest.approx(1 / 32)
    assert mcnemar(4, 1).p_mid == pytest.approx(2 * (1 + 5 / 2) / 32)


def test_the_papers_counts() -> None:
    result = mcnemar(5, 56)  # ProRL-1.5B-v1, math
    exact = 2 * sum(math.comb(61, i) for i in range(6)) / Fraction(2) ** 61
    assert result.p == pytest.approx(float(exact), rel=1e-12)
    assert result.share == pytest.approx(5 / 61)
    assert result.ci[0] < 5 / 61 < result.ci[1] < 0.2


def test_far_tail() -> None:
    assert mcnemar_p(0, 900) == pytest.approx(2.0**-899, rel=1e-10)


def test_interval_in_closed_form() -> None:
    # Nothing gained of m: the upper limit x solves (1 - x)^m = 0.025.
    low, high = share_interval(0, 10)
    assert (low, high) == (0, pytest.approx(1 - 0.025**0.1))
    low, high = share_interval(10, 0)
    assert (low, high) == (pytest.approx(0.025**0.1), 1)
    # Clopper and Pearson: at the limits, an outcome as far as this one has probability 0.025.
    low, high = share_interval(3, 7)
    assert stats.binom.sf(2, 10, float(low)) == pytest.approx(0.025)
    assert stats.binom.cdf(3, 10, float(high)) == pytest.approx(0.025)


def coverage(share: float, total: int, interval: str) -> float:
    e = np.arange(total + 1)
    low, high = share_interval(e, total - e, interval=interval)
    return float(stats.binom.pmf(e, total, share)[(low <= share) & (share <= high)].sum())


def test_coverage() -> None:
    shares = np.linspace(0.01, 0.99, 99)
    for total in (5, 20, 61):
        assert min(coverage(x, total, "clopper-pearson") for x in shares) >= 0.95
        assert np.mean([coverage(x, total, "jeffreys") for x in shares]) == pytest.approx(0.95, abs=0.02)


def test_nothing_changed_sides() -> None:
    for interval in ("clopper-pearson", "jeffreys"):
        result = mcnemar(0, 0, interval=interval)
        assert (result.p, result.p_mid, result.ci) == (1, 1, (0, 1))
        assert math.isnan(result.share)


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(0, 500), st.sampled_from(["clopper-pearson", "jeffreys"]))
def test_swapping_the_policies_turns_the_share_around(e: int, s: int, interval: str) -> None:
    one, other = mcnemar(e, s, interval=interval), mcnemar(s, e, interval=interval)
    assert one.p == other.p and 0 < one.p <= 1 and one.p_mid <= one.p
    assert one.ci == pytest.approx((1 - other.ci[1], 1 - other.ci[0]), abs=1e-12)
    if e + s:
        assert one.ci[0] <= one.share <= one.ci[1]


def test_bad_arguments_name_the_fix() -> None:
    with pytest.raises(ValueError, match="integers >= 0"):
        mcnemar(-1, 2)
    with pytest.raises(ValueError, match="jeffreys"):
        mcnemar(1, 2, interval="wald")
    with pytest.raises(ValueError, match="between 0 and 1"):
        mcnemar(1, 2, level=95)


def test_clusters_of_one_unit_are_mcnemars_test() -> None:
    for e, s in ((0, 0), (3, 0), (2, 7), (60, 41), (0, 200)):
        assert clustered_p([1] * e + [-1] * s + [0] * 5) == pytest.approx(float(mcnemar_p(e, s)), rel=1e-9)


def test_clusters_by_enumeration_of_all_signs() -> None:
    for net in ([3, -1, 2], [5], [2, 2, -2, 1, -4], [1, 1, 1, -7], [0, 0]):
        sums = [
            abs(sum(x * y for x, y in zip(net, signs, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(net))
        ]
        assert clustered_p(net) == pytest.approx(np.mean(np.array(sums) >= abs(sum(net))))


def test_a_whole_cluster_is_one_piece_of_evidence() -> None:
    assert clustered_p([-40]) == 1.0  # as likely the other way round
    assert clustered_p([-40] * 5) == pytest.approx(2 / 2**5)
