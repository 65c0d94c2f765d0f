"""Intervals by resampling problems: what other problems of the same kind might have given.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993): percentile and BCa intervals (ch. 13, 14); BCa
takes its acceleration from the jackknife. Whole clusters are drawn where problems come in clusters, such as several
variants of one problem (ch. 8).

Every statistic here is a function of means over problems (of pass@k, of "in P", of entropies), so that a replicate is
one row of a matrix product: the weights of its problems times the columns of the problems.

Assumption: problems (or clusters) are a random sample of those that are meant. What the samples of one problem might
have been otherwise is in it, too: another problem comes with samples of its own.

Degenerate cases: BCa needs replicates that differ and that lie on both sides of the estimate, otherwise the percentile
interval is given. A statistic that is undefined for the data has no interval (NaN); replicates in which it is
undefined are left out, and their share is told.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Means over problems, [..., D], to statistics, [..., M]."""

_CHUNK_BYTES = 64 * 2**20
"""Of weights, and of the jackknife's values, that are in memory at once."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How problems are drawn again."""

    n_boot: int = 2000
    """Replicates."""
    level: float = 0.95
    """Confidence of the intervals."""
    seed: int = 0
    clusters: NDArray[np.int64] | None = field(default=None)
    """Cluster of each problem, [N], numbered from 0 without gaps; None: each problem is one."""

    def __post_init__(self) -> None:
        if self.n_boot < 1:
            raise ValueError(f"a bootstrap needs at least 1 replicate, not {self.n_boot}")
        if not 0 < self.level < 1:
            raise ValueError(f"the confidence level must lie strictly between 0 and 1, such as 0.95; got {self.level}")


@dataclass(frozen=True, slots=True)
class Intervals:
    """Estimates with their intervals, all [M]."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    bca: NDArray[np.bool_]
    """Whether it is a BCa interval; otherwise percentile."""
    defined: NDArray[np.float64]
    """Share of the replicates in which the statistic is defined."""
    sd: NDArray[np.float64]
    """Standard deviation of the replicates."""


def cluster_codes(names: ArrayLike) -> NDArray[np.int64]:
    """Clusters by name, [N], numbered from 0 without gaps."""
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64)


def bootstrap(values: ArrayLike, statistic: Statistic, resampling: Resampling | None = None) -> Intervals:
    """Intervals of statistics of means over problems.

    Args:
        values: a row of numbers for each problem, [N, D].
        statistic: means of the columns, [..., D], to the statistics, [..., M].
        resampling: how problems are drawn.

    Raises:
        ValueError: ``values`` is no matrix, has no rows, or another number of rows than there are clusters.
    """
    how = resampling or Resampling()
    values_ND = np.asarray(values, dtype=np.float64)
    if values_ND.ndim != 2 or not len(values_ND):
        raise ValueError(f"one row of numbers per problem is needed, and at least one; got shape {values_ND.shape}")
    sums_GD, size_G = _by_cluster(values_ND, how.clusters)
    value_M = statistic(sums_GD.sum(axis=0) / size_G.sum())
    replicates_RM = _replicates(sums_GD, size_G, statistic, how)
    low_M, high_M, bca_M = _limits(value_M, replicates_RM, _acceleration(sums_GD, size_G, statistic), how.level)
    defined_RM = ~np.isnan(replicates_RM)
    n_M = defined_RM.sum(axis=0)
    mean_M = np.where(defined_RM, replicates_RM, 0).sum(axis=0) / np.maximum(n_M, 1)
    square_M = np.where(defined_RM, (replicates_RM - mean_M) ** 2, 0).sum(axis=0) / np.maximum(n_M - 1, 1)
    return Intervals(value_M, low_M, high_M, bca_M, n_M / how.n_boot, np.where(n_M > 1, np.sqrt(square_M), np.nan))


def _by_cluster(
    values_ND: NDArray[np.float64], clusters: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of the columns in each cluster, [G, D], and how many problems it has, [G]."""
    if clusters is None:
        return values_ND, np.ones(len(values_ND))
    if len(clusters) != len(values_ND):
        raise ValueError(f"one cluster per problem is needed: {len(clusters)} clusters for {len(values_ND)} problems")
    size_G = np.bincount(clusters).astype(np.float64)
    sums_GD = np.zeros((len(size_G), values_ND.shape[1]))
    np.add.at(sums_GD, clusters, values_ND)
    return sums_GD, size_G


def _replicates(
    sums_GD: NDArray[np.float64], size_G: NDArray[np.float64], statistic: Statistic, how: Resampling
) -> NDArray[np.float64]:
    """[R, M]"""
    n_clusters = len(size_G)
    rng = np.random.default_rng(how.seed)
    chunk = max(1, _CHUNK_BYTES // (8 * n_clusters))
    found = []
    for start in range(0, how.n_boot, chunk):
        rows = min(chunk, how.n_boot - start)
        # Integers are drawn per replicate, so that a larger chunk draws the same.
        drawn = (rng.integers(0, n_clusters, n_clusters) for _ in range(rows))
        weights_RG = np.stack([np.bincount(d, minlength=n_clusters) for d in drawn]).astype(np.float64)
        found.append(statistic(weights_RG @ sums_GD / (weights_RG @ size_G)[:, None]))
    return np.concatenate(found)


def _acceleration(
    sums_GD: NDArray[np.float64], size_G: NDArray[np.float64], statistic: Statistic
) -> NDArray[np.float64]:
    """From the jackknife, [M]; 0 where it is undefined, as with one cluster."""
    total_D, size = sums_GD.sum(axis=0), size_G.sum()
    value_M = statistic(total_D / size)
    if len(size_G) < 2:
        return np.zeros_like(value_M)
    powers = np.zeros((3, *value_M.shape))
    chunk = max(1, _CHUNK_BYTES // (8 * max(sums_GD.shape[1], value_M.shape[-1])))
    for start in range(0, len(size_G), chunk):
        part = slice(start, start + chunk)
        without_GM = statistic((total_D - sums_GD[part]) / (size - size_G[part])[:, None])
        off_GM = value_M - without_GM
        powers += np.stack([(off_GM**p).sum(axis=0) for p in (1, 2, 3)])
    mean, square, cube = powers / len(size_G)
    variance = square - mean**2
    third = cube - 3 * mean * square + 2 * mean**3
    with np.errstate(invalid="ignore", divide="ignore"):
        a = third / (6 * np.sqrt(len(size_G)) * variance**1.5)
    return np.where(np.isfinite(a) & (variance > 1e-30), a, 0.0)


def _limits(
    value_M: NDArray[np.float64], replicates_RM: NDArray[np.float64], a_M: NDArray[np.float64], level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    n_M = np.sum(~np.isnan(replicates_RM), axis=0)
    sorted_RM = np.sort(replicates_RM, axis=0)  # NaN last
    # A tie with the estimate is half below it. Rounding makes ties of equal sums.
    near_M = 1e-12 * np.maximum(1.0, np.abs(value_M))
    below_M = np.sum(replicates_RM < value_M - near_M, axis=0) + 0.5 * np.sum(
        np.abs(replicates_RM - value_M) <= near_M, axis=0
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        z0_M = ndtri(below_M / n_M)
        z = ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))[:, None]
        share_2M = ndtr(z0_M + (z0_M + z) / (1 - a_M * (z0_M + z)))
        sensible = (1 - a_M * (z0_M + z) > 0).all(axis=0)
    differ = sorted_RM[-1] - sorted_RM[0] > near_M
    whole = n_M == len(replicates_RM)
    bca_M = np.isfinite(z0_M) & np.isfinite(share_2M).all(axis=0) & sensible & differ & whole
    share_2M = np.where(bca_M, share_2M, np.array([(1 - level) / 2, (1 + level) / 2])[:, None])
    low_M, high_M = (_quantile(sorted_RM, n_M, share_M) for share_M in share_2M)
    undefined = np.isnan(value_M) | (n_M == 0)
    return np.where(undefined, np.nan, low_M), np.where(undefined, np.nan, high_M), bca_M & ~undefined


def _quantile(
    sorted_RM: NDArray[np.float64], n_M: NDArray[np.int64], share_M: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of the first n of each sorted column, interpolated."""
    at_M = np.clip(share_M, 0, 1) * np.maximum(n_M - 1, 0)
    lower_M = np.floor(at_M).astype(np.int64)
    upper_M = np.minimum(lower_M + 1, np.maximum(n_M - 1, 0))
    columns = np.arange(sorted_RM.shape[1])
    low, high = sorted_RM[lower_M, columns], sorted_RM[upper_M, columns]
    return np.asarray(low + (high - low) * (at_M - lower_M))
