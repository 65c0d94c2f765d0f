"""Intervals of a mean over training seeds, when every seed was measured on the same problems.

What might have come out otherwise has two parts: other problems, and other seeds of training. Problems are resampled,
the same for all seeds and all recipes. Seeds are not: of three there are ten draws, whose variance is a third too small
((J-1)/J of the seeds' own), and whose quantiles never leave the range of three values. Instead::

    v_problems = variance of the replicates of the mean over seeds, problems drawn anew, seeds held
    v_seeds    = s^2 / J            s^2: variance of the J seeds' own values
    nu         = (v_problems + v_seeds)^2 / (v_problems^2 / (G-1) + v_seeds^2 / (J-1))        G clusters of problems
    below      = sqrt( (t/z (value - quantile))^2 + t^2 v_seeds ),    t, z: quantiles of Student's t with nu, and normal

and above likewise, so that the lopsided reach of the problem part (near 0 or 1) is kept. The chance in the samples
themselves is in both parts, so intervals are wide rather than narrow. With one seed the second part is unknown: the
interval is of the problems, and says nothing of another seed.

Sources: Satterthwaite (Biometrics Bulletin 2, 1946) for nu; Zou and Donner (Statistics in Medicine 27, 2008) for adding
the squares of the reaches of lopsided intervals. Problems are weighted by Rubin's Bayesian bootstrap (Annals of
Statistics 9, 1981): Gamma(1) weights, with Gamma(1/2) for half a problem of each kind, which for counts of one seed is
Jeffreys' interval, the Dirichlet of :mod:`leash_ray.stats.small_counts`.

Assumptions: problems (clusters) are a random sample, and so are seeds. Degenerate cases: an undefined value has no
interval; an interval always holds its estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from leash_ray.compare.blocks import Block
from leash_ray.measure.pair import Floats
from leash_ray.stats.bootstrap import Resampling

_CHUNK_BYTES = 64 * 2**20
_HALVES = 3
"""Half problems at most that a block has."""


@dataclass(frozen=True, slots=True)
class Replicates:
    """Of one run: M statistics, and R replicates of them."""

    value_M: Floats
    drawn_RM: Floats


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over seeds, or a difference of two, and how far it may be off."""

    value_M: Floats
    low_M: Floats
    high_M: Floats
    p_M: Floats
    """Two-sided, of the value being 0, by Student's t."""


def replicates(runs: Sequence[Sequence[Block]], how: Resampling) -> list[Replicates]:
    """Of every run's blocks, all with the same weights of problems, which are the same in the same order."""
    n = len(runs[0][0].values)
    clusters = np.arange(n) if how.clusters is None else how.clusters
    n_clusters = int(clusters.max()) + 1
    rng = np.random.default_rng(how.seed)
    chunk = max(1, _CHUNK_BYTES // (8 * n))
    drawn: list[list[Floats]] = [[] for _ in runs]
    for start in range(0, how.n_boot, chunk):
        rows = min(chunk, how.n_boot - start)
        weights_RN = rng.standard_exponential((rows, n_clusters))[:, clusters]
        halves_RQ = rng.standard_gamma(0.5, (rows, _HALVES))
        for blocks, found in zip(runs, drawn, strict=True):
            found.append(_statistics(blocks, weights_RN, halves_RQ))
    return [Replicates(_values(blocks), np.concatenate(found)) for blocks, found in zip(runs, drawn, strict=True)]


def _values(blocks: Sequence[Block]) -> Floats:
    return np.concatenate([block.statistic(block.values.mean(axis=0)) for block in blocks])


def _statistics(blocks: Sequence[Block], weights_RN: Floats, halves_RQ: Floats) -> Floats:
    """[R, M] of all blocks."""
    sums_RD = weights_RN @ np.concatenate([block.values for block in blocks], axis=1)
    total_R1 = weights_RN.sum(axis=1, keepdims=True)
    found, at = [], 0
    for block in blocks:
        stop, q = at + block.values.shape[1], len(block.halves)
        more_RQ = halves_RQ[:, :q]
        means_RD = (sums_RD[:, at:stop] + more_RQ @ block.halves) / (total_R1 + more_RQ.sum(axis=1, keepdims=True))
        found.append(block.statistic(means_RD))
        at = stop
    return np.concatenate(found, axis=1)


def over_seeds(seeds: Sequence[Replicates], n_clusters: int, level: float) -> Spread:
    """The mean over one recipe's seeds."""
    return _spread([(1.0, seeds)], n_clusters, level)


def between(
    a: Sequence[Replicates], b: Sequence[Replicates], n_clusters: int, level: float, *, seeds_vary: bool
) -> Spread:
    """Recipe ``a`` minus recipe ``b``. ``seeds_vary``: both have several seeds, whose variance is in it."""
    return _spread([(1.0, a), (-1.0, b)], n_clusters, level, seeds_vary=seeds_vary)


def _spread(
    sides: Sequence[tuple[float, Sequence[Replicates]]], n_clusters: int, level: float, *, seeds_vary: bool = True
) -> Spread:
    value_M = sum(sign * np.mean([r.value_M for r in seeds], axis=0) for sign, seeds in sides)
    drawn_RM = sum(sign * np.mean([r.drawn_RM for r in seeds], axis=0) for sign, seeds in sides)
    assert isinstance(value_M, np.ndarray) and isinstance(drawn_RM, np.ndarray)
    v_problems_M = drawn_RM.var(axis=0, ddof=1)
    v_seeds_M, per_df_M = np.zeros_like(value_M), v_problems_M**2 / max(1, n_clusters - 1)
    for _, seeds in sides:
        if seeds_vary and len(seeds) > 1:
            v_M = np.var([r.value_M for r in seeds], axis=0, ddof=1) / len(seeds)
            v_seeds_M, per_df_M = v_seeds_M + v_M, per_df_M + v_M**2 / (len(seeds) - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        nu_M = np.where(per_df_M > 0, (v_problems_M + v_seeds_M) ** 2 / per_df_M, np.inf)
        off_M = np.abs(value_M) / np.sqrt(v_problems_M + v_seeds_M)
    tails = ((1 - level) / 2, (1 + level) / 2)
    t_M, z = stats.t.ppf(tails[1], nu_M), stats.norm.ppf(tails[1])
    low_M, high_M = np.quantile(drawn_RM, tails, axis=0)
    below_M, above_M = (
        np.sqrt((t_M / z * np.maximum(reach, 0)) ** 2 + t_M**2 * v_seeds_M)
        for reach in (value_M - low_M, high_M - value_M)
    )
    p_M = np.where(value_M == 0, 1.0, 2 * stats.t.sf(off_M, nu_M))
    undefined = np.isnan(value_M)
    return Spread(value_M, value_M - below_M, value_M + above_M, np.where(undefined, np.nan, np.minimum(p_M, 1.0)))
