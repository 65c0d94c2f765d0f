"""Intervals of support metrics where counts are too small for a bootstrap: E = 0 stays 0 in every replicate.

Source: Jeffreys prior intervals, Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion" (Statistical
Science 16, 2001), with three cells: Dirichlet(P + 1/2, E + 1/2, S + 1/2), by draws.
Their coverage against that of the bootstrap is in ``benchmarks/calibration.py``.

Assumption: units are independent. Where they come in clusters (answers in problems, variants of a problem), counts are
scaled to the number of clusters, as if a cluster's units always fell together; that is wide rather than narrow.

Degenerate cases: an interval always holds its estimate; it is NaN where that is undefined.
"""

import numpy as np
from numpy.typing import NDArray

from leash_ray.stats.support import METRICS, support_metrics

SMALL = 10
"""Below this smallest count of P, E and S, the intervals here cover better than BCa's."""

_DRAWS = 20_000
_SEED = 20_250_714


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
