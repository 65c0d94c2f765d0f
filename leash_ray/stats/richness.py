"""How many correct answers are there, and how many of them have been seen? For tasks with many right answers.

Sources::

    Chao1          S + (n-1)/n f1^2 / (2 f2)            f2 > 0
                   S + (n-1)/n f1 (f1 - 1) / 2          f2 = 0, the bias-corrected form
                   S answers seen, f1 of them once, f2 twice, in n samples (Chao, Scandinavian Journal of Statistics 11,
                   1984, 265-270; (n-1)/n as in Chao and Chiu, "Species richness: estimation and comparison", 2016)
    its interval   log-normal in the number of unseen answers (Chao, Biometrics 43, 1987, 783-791), with the variances
                   of Chao and Chiu (2016), as in Chao's program SpadeR
    Good-Turing    unseen mass f1/n: the probability that the next sample is a correct answer never seen before (Good,
                   Biometrika 40, 1953)
    accumulation   the expected number of distinct correct answers among k of the n samples, sum_j 1 - C(n-m_j, k) /
                   C(n, k), exact (Hurlbert, Ecology 52, 1971): no resampling

n counts all scored samples of a problem, not only the correct ones: wrong answers are draws that found no correct one.
(Conditional on correct samples alone, the same formulas hold with n = c; only (n-1)/n and the unseen mass change.)

Assumption: samples are exchangeable. Chao1 estimates a *lower bound*: answers much rarer than 1/n leave no trace.

Degenerate cases: NaN for a problem without samples. Nothing correct seen: Chao1 is 0, which is all that can be said
from below, and its interval is NaN. Where f1 is 0, or f1 is 1 and f2 is 0, Chao1 equals S; the interval then takes an
answer seen m times as one that had a chance of exp(-m) to be missed (SpadeR again), and holds S / (1 - mean of that).
Accumulation is NaN where k > n.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leash_ray.stats.distinct import distinct
from leash_ray.stats.entropy import seen_answers, totals
from leash_ray.stats.hypergeometric import hit


@dataclass(frozen=True, slots=True)
class Richness:
    """Per problem, all [N]."""

    observed: NDArray[np.int64]
    """Distinct answers seen (S)."""
    once: NDArray[np.int64]
    """Those seen once (f1)."""
    twice: NDArray[np.int64]
    """Those seen twice (f2)."""
    chao1: NDArray[np.float64]
    low: NDArray[np.float64]
    """End of Chao1's interval; never below ``observed``."""
    high: NDArray[np.float64]
    unseen_mass: NDArray[np.float64]
    """Probability that the next sample is an answer (of the kind counted) never seen before."""


def richness(counts: ArrayLike, problem: ArrayLike, samples: ArrayLike, *, confidence: float = 0.95) -> Richness:
    """Chao1 with its interval and Good-Turing's unseen mass.

    Args:
        counts: samples per distinct correct answer, [answers], in any order; zeros change nothing.
        problem: which problem each count belongs to, [answers], in 0 .. N-1.
        samples: scored samples of each problem, [N], at least the sum of its counts.
        confidence: of the interval.

    Raises:
        ValueError: bad counts (:func:`leash_ray.stats.entropy.seen_answers`), more of them than samples, or a
            confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, such as 0.95; got {confidence}")
    counts_A, problem_A, samples_N = _checked(counts, problem, samples)
    observed_N, once_N, twice_N = (
        np.bincount(problem_A[which], minlength=len(samples_N)) for which in (slice(None), counts_A == 1, counts_A == 2)
    )
    n, s, f1, f2 = (x.astype(np.float64) for x in (samples_N, observed_N, once_N, twice_N))
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (n - 1) / n
        r = f1 / f2
        unseen = np.where(f2 > 0, a * f1 * r / 2, a * f1 * (f1 - 1) / 2)
        # n = 0 has a = -inf, and n = 1 has at most one answer, seen once.
        unseen = np.where(n > 0, unseen, np.nan) + 0.0
        chao1 = s + unseen
        variance = np.where(
            f2 > 0,
            f2 * (a * r**2 / 2 + a**2 * r**3 + a**2 * r**4 / 4),
            a * f1 * (f1 - 1) / 2 + a**2 * f1 * (2 * f1 - 1) ** 2 / 4 - a**2 * f1**4 / (4 * chao1),
        )
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        spread = np.exp(z * np.sqrt(np.log1p(variance / unseen**2)))
        # Nothing seems unseen: so many of the S answers could have been missed as they have now been seen by luck.
        missed_A = np.exp(-counts_A.astype(np.float64))
        missed, missed_twice, slope = (
            np.bincount(problem_A, weights=w, minlength=len(n)) for w in (missed_A, missed_A**2, counts_A * missed_A)
        )
        share = missed / s
        half = z * np.sqrt(np.maximum(missed - missed_twice - slope**2 / n, 0)) / (1 - share)
        centre = s / (1 - share)
        low = np.where(unseen > 0, s + unseen / spread, np.maximum(s, centre - half))
        high = np.where(unseen > 0, s + unseen * spread, centre + half)
        defined = (n > 0) & (s > 0)
        return Richness(
            observed=observed_N,
            once=once_N,
            twice=twice_N,
            chao1=chao1,
            low=np.where(defined, low, np.nan),
            high=np.where(defined, high, np.nan),
            unseen_mass=np.where(n > 0, f1 / n, np.nan),
        )


def accumulation(counts: ArrayLike, problem: ArrayLike, samples: ArrayLike, ks: ArrayLike) -> NDArray[np.float64]:
    """Expected number of distinct answers among k of a problem's samples, each subset as likely as any other.

    Args:
        counts, problem, samples: as of :func:`richness`.
        ks: the values of k, [K], each at least 0.

    Returns:
        [N, K]: rows can be resampled by a bootstrap over problems. NaN where k > samples; 0 where nothing was seen.

    Raises:
        ValueError: as :func:`richness`, or some k < 0.
    """
    counts_A, problem_A, samples_N = _checked(counts, problem, samples)
    ks_K = np.atleast_1d(np.asarray(ks, dtype=np.int64))
    if np.any(ks_K < 0):
        raise ValueError("k must not be negative")
    # Answers share their counts: 100,000 of them have a few thousand pairs (n, m).
    (n_U, m_U), pair_A = distinct(samples_N[problem_A], counts_A)
    seen_KU = hit(n_U, m_U, ks_K[:, None])
    out_NK = np.empty((len(samples_N), len(ks_K)))
    for j, seen_U in enumerate(seen_KU):
        out_NK[:, j] = np.bincount(problem_A, weights=seen_U[pair_A], minlength=len(samples_N))
    out_NK[samples_N[:, None] < ks_K] = np.nan
    return out_NK


def _checked(
    counts: ArrayLike, problem: ArrayLike, samples: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    samples_N = np.atleast_1d(np.asarray(samples, dtype=np.int64))
    counts_A, problem_A = seen_answers(counts, problem, len(samples_N))
    if np.any(totals(counts_A, problem_A, len(samples_N)) > samples_N):
        raise ValueError("a problem has more samples of its answers than samples: give all of its scored samples")
    return counts_A, problem_A, samples_N
