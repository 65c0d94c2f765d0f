"""Intervals of means that hang on few problems: pass@k near 0 or 1, and differences that few problems make.

Where one of 500 problems is missed, a bootstrap draws that one again or not; where it happens to be missing from the
sample, no replicate knows that it can be missed. Where pass@k is 1 for all problems, all replicates agree.

The misses x_i = 1 - v_i of the values v_i (or the values themselves, whichever are rarer) sum to as much as e misses
of size a, with the same sum and sum of squares::

    e = (sum x)^2 / sum x^2,    a = sum x^2 / sum x

Jeffreys' interval of e events among n problems (Brown, Cai and DasGupta, "Interval Estimation for a Binomial
Proportion", Statistical Science 16, 2001) lets there be half an event more than was seen. That half event is one of
size 1, a problem missed outright: which is what a sample with only small misses does not show. With 0/1 values it is
Jeffreys' interval itself, with its modified ends (no event: up to 1 - (alpha/2)^(1/n), the exact bound; one or less:
down to 0). A difference has such events up and down, of the sizes of its own changes.

Where e is 30 or more, the bootstrap's intervals cover well and are kept. Coverages: ``benchmarks/calibration.py``.

Assumptions: problems (or clusters) are independent; values lie between 0 and 1, differences between -1 and 1.
Degenerate cases: an interval always holds its estimate; NaN values have none.
"""

import numpy as np
from numpy.typing import NDArray

from leash_ray.stats.bootstrap import Intervals

FEW = 30
"""Events from which the bootstrap's intervals are kept."""

_DRAWS = 20_000
_SEED = 20_250_714

Limits = tuple[NDArray[np.float64], NDArray[np.float64]]


def share_intervals(
    values: NDArray[np.float64], found: Intervals, clusters: NDArray[np.int64] | None, level: float = 0.95
) -> Limits:
    """(low, high), each [M], of means of values between 0 and 1.

    Args:
        values: of each problem, [N, M].
        found: the bootstrap's intervals of their means, [M].
        clusters: of each problem, [N]; None: each is its own.
        level: of the intervals.
    """
    low_M, high_M = found.low.copy(), found.high.copy()
    values_GM = _by_cluster(values, clusters)
    for i in range(values_GM.shape[1]):
        v_G, mean = values_GM[:, i], found.value[i]
        rare_low = mean <= 0.5
        x_G = v_G if rare_low else 1 - v_G
        e, a = _worth(x_G)
        if not e < FEW:  # NaN is not
            continue
        limits = _share(e, a, len(x_G), level)
        low_M[i], high_M[i] = limits if rare_low else (1 - limits[1], 1 - limits[0])
    return np.minimum(low_M, found.value), np.maximum(high_M, found.value)


def difference_intervals(
    changes: NDArray[np.float64], found: Intervals, clusters: NDArray[np.int64] | None, level: float = 0.95
) -> Limits:
    """(low, high), each [M], of means of changes between -1 and 1. Arguments as of :func:`share_intervals`."""
    low_M, high_M = found.low.copy(), found.high.copy()
    changes_GM = _by_cluster(changes, clusters)
    for i in range(changes_GM.shape[1]):
        d_G = changes_GM[:, i]
        (e, a), (s, b) = _worth(np.maximum(d_G, 0)), _worth(np.maximum(-d_G, 0))
        if e + s < FEW:
            up, up_more, down, down_more, none = _gammas(e, 0.5, s, 0.5, max(len(d_G) - e - s, 0) + 0.5)
            drawn = (a * up + up_more - b * down - down_more) / (up + up_more + down + down_more + none)
            low_M[i], high_M[i] = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return np.minimum(low_M, found.value), np.maximum(high_M, found.value)


def _by_cluster(values_NM: NDArray[np.float64], clusters: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """[G, M]: a cluster's sum, in clusters of mean size."""
    if clusters is None:
        return values_NM
    size_G = np.bincount(clusters)
    out = np.zeros((len(size_G), values_NM.shape[1]))
    np.add.at(out, clusters, values_NM)
    return out / size_G.mean()


def _worth(x: NDArray[np.float64]) -> tuple[float, float]:
    """(e, a): how many events of which size."""
    total, squares = float(x.sum()), float(x @ x)
    return (total**2 / squares, squares / total) if total > 1e-12 else (total, 1.0)


def _share(e: float, a: float, n: int, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    if e == 0:
        return 0.0, 1 - tail ** (1 / n)
    seen, more, none = _gammas(e, 0.5, max(n - e, 0) + 0.5)
    low, high = np.quantile((a * seen + more) / (seen + more + none), [tail, 1 - tail])
    return 0.0 if e <= 1 else float(low), float(high)


def _gammas(*shapes: float) -> NDArray[np.float64]:
    """[shapes, draws]; the same draws for the same shapes. Shape 0 is 0."""
    rng = np.random.default_rng(_SEED)
    return np.stack([rng.standard_gamma(shape, _DRAWS) for shape in shapes])
