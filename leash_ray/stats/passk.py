"""pass@k: the probability that at least one of k samples is correct.

Source: Chen et al., "Evaluating Large Language Models Trained on Code" (arXiv 2107.03374), eq. 1, as used by Wu et al.
(arXiv 2507.14843)::

    pass@k = 1 - C(n - c, k) / C(n, k)      n scored samples of one problem, c of them correct

Assumption: a problem's samples are exchangeable. n counts *scored* samples: a completion whose verifier failed
(ERROR) is neither a miss nor a hit, so it is no part of n.

Numerics: the hypergeometric kernel (stats/hypergeometric.py), below 1e-10 relative for n up to 1,000,000 and k up to
100,000, also where pass@k is tiny.

Degenerate cases: NaN for a problem with n < k. A mean over problems with any NaN is NaN: dropping the problems that
had too few samples would change the question from one k to the next.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leash_ray.stats.distinct import distinct
from leash_ray.stats.hypergeometric import hit


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
    # Problems share their counts: 10,000 of them have a few thousand pairs (n, c) at most when n is 8192.
    (n_U, c_U), problem_N = distinct(n_N, c_N)
    return hit(n_U[:, None], c_U[:, None], ks_K)[problem_N]


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
    found = (first_N1 >= 0) & (first_N1 < ks_K)
    return np.where(found, 1.0, np.where(observed_N1 >= ks_K, 0.0, np.nan))


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
