"""Intervals where counts are too small for a bootstrap: which finds E = 0 in every replicate once E is 0.

Source: Jeffreys prior intervals, Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion" (Statistical
Science 16, 2001); for the support metrics the same with three cells, Dirichlet(P + 1/2, E + 1/2, S + 1/2), by draws.
Their coverage against that of the bootstrap is in ``benchmarks/calibration.py``.

Assumption: units are independent. Where they come in clusters (answers in problems, variants of a problem), counts are
scaled to the number of clusters, as if a cluster's units always fell together; that is wide rather than narrow.

Degenerate cases: an interval always holds its estimate; it is NaN where that is undefined.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from leash_ray.stats.bootstrap import Intervals
from leash_ray.stats.support import METRICS, support_metrics

SMALL = 10
"""Below this smallest count of P, E and S, the intervals here cover better than BCa's."""

_DRAWS = 20_000
_SEED = 20_250_714


def jeffreys_share(successes: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share. Counts need not be whole; NaN without trials."""
    if not trials > 0:
        return np.nan, np.nan
    successes = min(max(successes, 0.0), trials)  # not past it by rounding
    a, b = successes + 0.5, trials - successes + 0.5
    low = 0.0 if successes <= 0 else float(betaincinv(a, b, (1 - level) / 2))
    high = 1.0 if successes >= trials else float(betaincinv(a, b, (1 + level) / 2))
    return low, high


def share_intervals(found: Intervals, n_clusters: int, level: float = 0.95) -> tuple[NDArray[np.float64], ...]:
    """(low, high) of means of per-problem values in [0, 1], each [M]: the bootstrap's, and Jeffreys' near 0 and 1.

    The bootstrap's variance says how many yes-or-no problems the values are worth, m (1 - m) / sd^2; fewer than
    ``SMALL`` of them on the rarer side, and Jeffreys' interval of that many is taken. Where the replicates do not
    differ (pass@k is 1 for all problems), each cluster is worth one.
    """
    m_M, variance_M = found.value, found.sd**2
    with np.errstate(invalid="ignore", divide="ignore"):
        worth_M = np.where(variance_M > 1e-18, m_M * (1 - m_M) / variance_M, n_clusters)
    low_M, high_M = found.low.copy(), found.high.copy()
    for i in np.flatnonzero(worth_M * np.minimum(m_M, 1 - m_M) < SMALL):  # NaN is not
        low_M[i], high_M[i] = jeffreys_share(worth_M[i] * m_M[i], worth_M[i], level)
    return np.minimum(low_M, m_M), np.maximum(high_M, m_M)


def mover(
    a: ArrayLike, a_ci: tuple[ArrayLike, ArrayLike], b: ArrayLike, b_ci: tuple[ArrayLike, ArrayLike]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(low, high) of b - a from the intervals of both, as if they were independent (Zou and Donner, Statistics in
    Medicine 27, 2008); for differences that no replicate of a bootstrap changes. Wide where a and b go together."""
    a_, b_, (a_low, a_high), (b_low, b_high) = (
        np.asarray(a),
        np.asarray(b),
        map(np.asarray, a_ci),
        map(np.asarray, b_ci),
    )
    low = b_ - a_ - np.sqrt((b_ - b_low) ** 2 + (a_high - a_) ** 2)
    return low, b_ - a_ + np.sqrt((b_high - b_) ** 2 + (a_ - a_low) ** 2)


def jeffreys_support(
    P: float, E: float, S: float, level: float = 0.95, n_clusters: int | None = None
) -> NDArray[np.float64]:
    """Intervals of the metrics of :data:`~leash_ray.stats.support.METRICS`, [metrics, (low, high)].

    Args:
        n_clusters: clusters that hold the units; None: each unit is its own.
    """
    counts = np.array([P, E, S], dtype=np.float64)
    value_M = np.array(list(support_metrics(*counts).values()))
    if n_clusters is not None and counts.sum() > n_clusters:
        counts = counts * (n_clusters / counts.sum())
    draws_R3 = np.random.default_rng(_SEED).standard_gamma(counts + 0.5, size=(_DRAWS, 3))
    drawn = support_metrics(*draws_R3.T)
    limits = np.array([np.quantile(drawn[m], [(1 - level) / 2, (1 + level) / 2]) for m in METRICS])
    low, high = np.minimum(limits[:, 0], value_M), np.maximum(limits[:, 1], value_M)  # NaN stays NaN
    if E == 0:
        low[1] = low[2] = 0.0 if not np.isnan(value_M[1]) else np.nan
    return np.stack([low, high], axis=1)
