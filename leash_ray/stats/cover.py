r"""Cover@τ: how many problems a policy solves reliably; and what a guesser would reach.

Source: Dragoi et al., "Beyond Pass@k: Breadth-Depth Metrics for Reasoning Boundaries" (arXiv 2510.08325): the share of
problems whose probability of a correct sample is at least τ::

    Cover@τ = 1/N sum over problems of 1[p_i >= τ],  here with p_i = c_i / n_i

At large k on a small space of answers, pass@k rewards guessing: a guesser that is right with probability g reaches
1 - (1-g)^k. Cover@τ with τ well above g does not. They are one family: with X_i = c_i / n_i,
1/N sum of 1 - (1-X_i)^k is the integral of Cover@τ over τ with weight k (1-τ)^(k-1).

Assumptions: the plug-in c/n. It is noisy where n is small, most of all near τ, where the count of a problem may fall on
either side; Cover@τ of n samples can step only at multiples of 1/n, so read τ in steps of 1/n.

Degenerate cases: Cover@0 is 1. A problem without samples (n = 0) is NaN, and so is every mean over it.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from leash_ray.stats.passk import mean_over_problems

_SLACK = 1e-12
"""τ = 0.30000000000000004 means 3 of 10. Far below the distance of two shares with n up to 1,000,000."""


def reliably_solved(n: ArrayLike, c: ArrayLike, taus: ArrayLike) -> NDArray[np.float64]:
    """Whether c/n >= τ, problem by problem; its mean over problems is Cover@τ, also over a bootstrap's problems.

    Args:
        n: scored samples, [problems].
        c: correct ones among them, [problems].
        taus: thresholds in [0, 1], [T].

    Returns:
        [problems, T]: 1 yes, 0 no, NaN where n = 0.

    Raises:
        ValueError: not 0 <= c <= n, or a threshold outside [0, 1].
    """
    n_N, c_N = _counts(n, c)
    taus_T = np.atleast_1d(np.asarray(taus, dtype=np.float64))
    if not np.all((taus_T >= 0) & (taus_T <= 1)):
        raise ValueError("τ is a share of samples: give thresholds in [0, 1], such as 0.5")
    share_N = np.divide(c_N, n_N, out=np.full(len(n_N), np.nan), where=n_N > 0)
    solved = (share_N[:, None] >= taus_T - _SLACK).astype(np.float64)
    return np.where(np.isnan(share_N)[:, None], np.nan, solved)


def cover_at_tau(n: ArrayLike, c: ArrayLike, taus: ArrayLike) -> NDArray[np.float64]:
    """Cover@τ, [T]. Arguments as of :func:`reliably_solved`; NaN if some problem has no samples, or there is none."""
    return mean_over_problems(reliably_solved(n, c, taus))


def cover_steps(n: ArrayLike, c: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cover@τ at every τ: where it steps down.

    Returns:
        taus [steps], rising, the distinct values of c/n, and cover [steps]: Cover@τ is ``cover[i]`` for τ in
        (taus[i-1], taus[i]] (from 0 on for i = 0), and 0 above the last. Both empty if some problem has no samples, or
        there is none.

    Raises:
        ValueError: not 0 <= c <= n.
    """
    n_N, c_N = _counts(n, c)
    if not len(n_N) or np.any(n_N == 0):
        return np.zeros(0), np.zeros(0)
    taus, first = np.unique(np.sort(c_N / n_N), return_index=True)
    return taus, 1 - first / len(n_N)


def guesser_pass_at_k(guess_rate: ArrayLike, ks: ArrayLike) -> NDArray[np.float64]:
    """pass@k of a policy that guesses, mean over problems: 1 - (1-g)^k, [K].

    Args:
        guess_rate: probability g that one guess is right, [problems].
        ks: the values of k, [K].

    Raises:
        ValueError: g outside [0, 1], or k < 0.
    """
    g_N = _rates(guess_rate)
    ks_K = np.atleast_1d(np.asarray(ks, dtype=np.float64))
    if np.any(ks_K < 0):
        raise ValueError("k must not be negative")
    with np.errstate(divide="ignore", invalid="ignore"):
        log_miss = ks_K * np.log1p(-g_N)[:, None]
    return mean_over_problems(-np.expm1(np.where(ks_K == 0, 0.0, log_miss)) + 0.0)


def guess_p_value(n: ArrayLike, c: ArrayLike, guess_rate: ArrayLike) -> NDArray[np.float64]:
    """P(Binomial(n, g) >= c): how often n guesses are right at least c times, [problems]. Exact, far into the tail.

    Args:
        n: scored samples, [problems].
        c: correct ones among them, [problems].
        guess_rate: probability that one guess is right, [problems] or one for all.

    Raises:
        ValueError: not 0 <= c <= n, or a rate outside [0, 1].
    """
    n_N, c_N = _counts(n, c)
    g_N = np.broadcast_to(_rates(guess_rate), n_N.shape)
    return np.where(c_N > 0, special.betainc(np.maximum(c_N, 1), n_N - c_N + 1.0, g_N), 1.0)


def above_guessing(n: ArrayLike, c: ArrayLike, guess_rate: ArrayLike, zeta: float = 0.05) -> NDArray[np.bool_]:
    """Whether a policy is right more often than guessing explains, by an exact one-sided binomial test at level ζ.

    For support that counts only what is above guessing. The level holds for each problem: of problems that are only
    guessed at, up to a share ζ still passes. With g = 0 every problem with a correct sample passes, as without it.

    Args: as of :func:`guess_p_value`.

    Returns:
        [problems].

    Raises:
        ValueError: ζ is not inside (0, 1), or as :func:`guess_p_value`.
    """
    if not 0 < zeta < 1:
        raise ValueError(f"zeta must lie strictly between 0 and 1, such as 0.05; got {zeta}")
    return guess_p_value(n, c, guess_rate) <= zeta


def _counts(n: ArrayLike, c: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    n_N, c_N = (np.atleast_1d(np.asarray(x, dtype=np.int64)) for x in (n, c))
    if n_N.shape != c_N.shape or np.any((c_N < 0) | (c_N > n_N)):
        raise ValueError("n and c must be counts of the same problems with 0 <= c <= n")
    return n_N, c_N


def _rates(guess_rate: ArrayLike) -> NDArray[np.float64]:
    g = np.atleast_1d(np.asarray(guess_rate, dtype=np.float64))
    if not np.all((g >= 0) & (g <= 1)):
        raise ValueError("a guess rate is a probability: give values in [0, 1], such as 0.25 for four choices")
    return g
