"""pass@k: the probability that at least one of k samples is correct.

Source: Chen et al., "Evaluating Large Language Models Trained on Code" (arXiv 2107.03374), eq. 1, as used by Wu et al.
(arXiv 2507.14843)::

    pass@k = 1 - C(n - c, k) / C(n, k)      n scored samples of one problem, c of them correct

Assumption: a problem's samples are exchangeable. n counts *scored* samples: a completion whose verifier failed
(ERROR) is neither a miss nor a hit, so it is no part of n.

Degenerate cases: NaN for a problem with n < k. A mean over problems with any NaN is NaN: dropping the problems that
had too few samples would change the question from one k to the next.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pass_at_k(n: ArrayLike, c: ArrayLike, ks: ArrayLike) -> NDArray[np.float64]:
    """Unbiased pass@k.

    Args:
        n: scored samples, [problems].
        c: correct ones among them, [problems].
        ks: the values of k, [K], each at least 1.

    Returns:
        [problems, K]; NaN where n < k.

    Raises:
        ValueError: some k < 1, or not 0 <= c <= n.
    """
    n_N, c_N, ks_K = (np.atleast_1d(np.asarray(x, dtype=np.int64)) for x in (n, c, ks))
    if n_N.shape != c_N.shape or np.any(c_N < 0) or np.any(c_N > n_N):
        raise ValueError("n and c must be counts of the same problems with 0 <= c <= n")
    if np.any(ks_K < 1):
        raise ValueError("k must be at least 1")
    out = np.full((len(n_N), len(ks_K)), np.nan)
    if not len(n_N):
        return out
    steps = np.arange(1, int(n_N.max()) + 1, dtype=np.longdouble)
    for j, k in enumerate(ks_K.tolist()):
        # C(n-c,k)/C(n,k) = prod over i in (n-c, n] of (1 - k/i): a difference of one running sum of log1p(-k/i),
        # shared by all problems; extended precision keeps the difference good to ~1e-15.
        log_miss = np.zeros(len(steps) + 1, dtype=np.longdouble)
        log_miss[k + 1 :] = np.cumsum(np.log1p(-k / steps[k:]))
        enough = n_N >= k
        can_miss = enough & (n_N - c_N >= k)
        out[enough, j] = 1.0
        out[can_miss, j] = -np.expm1(log_miss[n_N[can_miss]] - log_miss[(n_N - c_N)[can_miss]])
    return out


def coverage_at_k(first_correct: ArrayLike, observed: ArrayLike, ks: ArrayLike) -> NDArray[np.float64]:
    """Whether the first correct sample has an index below k. Its mean is empirical coverage: unbiased for pass@k, also
    when sampling of a problem stopped at its first hit.

    Args:
        first_correct: sample index of the first correct completion, [problems]; negative: none.
        observed: indices 0 .. observed-1 were all sampled and scored, [problems].
        ks: the values of k, [K], each at least 1.

    Returns:
        [problems, K]: 1 hit, 0 miss, NaN where no hit is below k but not all of the first k were scored.
    """
    first_N1, observed_N1 = (np.atleast_1d(np.asarray(x, dtype=np.int64))[:, None] for x in (first_correct, observed))
    ks_K = np.atleast_1d(np.asarray(ks, dtype=np.int64))
    hit = (first_N1 >= 0) & (first_N1 < ks_K)
    return np.where(hit, 1.0, np.where(observed_N1 >= ks_K, 0.0, np.nan))


def mean_over_problems(values: ArrayLike) -> NDArray[np.float64]:
    """Mean over axis 0. Any NaN makes the mean NaN, and no problems at all too."""
    values_NK = np.asarray(values, dtype=np.float64)
    if values_NK.shape[0] == 0:
        return np.full(values_NK.shape[1:], np.nan)
    return np.asarray(values_NK.mean(axis=0))


def powers_of_two_up_to(k: int) -> list[int]:
    """1, 2, 4, ... up to k, and k itself: where a pass@k curve is drawn. Empty for k = 0."""
    ks = [2**i for i in range(k.bit_length())]
    return ks if not ks or ks[-1] == k else [*ks, k]
