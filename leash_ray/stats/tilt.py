r"""The ideal RLVR policy is a tilted base: what that predicts of the trained policy, beside what was measured.

Source: Wu et al., "The Invisible Leash" (arXiv 2507.14843), Prop. C.4: the best policy for a reward R within a budget
of KL to the base is pi(y) = q(y) exp(beta R(y)) / Z. With R = 1 for correct and 0 for wrong, that changes only::

    odds of a correct answer     p / (1-p)  becomes  w p / (1-p),  w = e^beta
    pi(. | correct) = q(. | correct),   pi(. | wrong) = q(. | wrong)

Estimates::

    beta of a problem       difference of log odds of the two policies, each with 1/2 added to both counts (Haldane,
                            Annals of Human Genetics 20, 1956; Anscombe, Biometrika 43, 1956), so that counts of 0 stay
                            finite; standard error by the sum of reciprocals (Gart and Zweifel, Biometrika 54, 1967)
    pass@k, tilted          1 - ((1-p) / (1-p + p w))^k, estimated in two steps. First, of all ways to draw k of the
                            base's n samples, each weighted by w^(correct ones drawn), the share that hits:
                                T(n, c) = 1 - C(n-c, k) / sum_j C(c, j) C(n-c, k-j) w^j,
                            whose numerator and denominator estimate those of the k-th power without bias. Then
                            Quenouille's jackknife (Biometrika 43, 1956), which takes away the bias of their quotient:
                                n T(n, c) - (n-1) [c/n T(n-1, c-1) + (n-c)/n T(n-1, c)]
                            At beta = 0 it is the unbiased pass@k, exactly. (The plug-in 1 - (1-p')^k falls short of
                            measured pass@k even where nothing changed.)
    one beta for all        such that the mean over problems of tilted pass@1 is the trained policy's mean pass@1
    answer entropy, tilted  h(p) + p H(correct answers of the base) + (1-p) H(wrong ones), h the entropy of a coin, with
                            the p measured for the trained policy: the chain rule of entropy

Assumptions: rewards are 0 or 1, and (for pass@k) one beta serves all problems; a beta per problem would predict
whatever was measured at k = 1. Trust predicted pass@k while w k is below n, say: beyond, no sample tells, and it errs
towards what the base's n samples solved (low for beta > 0). For Beta-distributed p, n = 200 and w = 2.7, its bias is
below 0.001 at k = 16 and below 0.005 at k = 50. Estimates of one problem can leave [0, 1]; they are for means over
problems. Entropies are as biased as their estimator at the number of samples that each part rests on.

Degenerate cases: a problem that the base never solved stays unsolved under every tilt. So the mean pass@1 can only be
moved so far: beyond that beta is -inf or +inf, and where nothing moves, NaN. Predicted pass@k is NaN for k >= n.
Predicted entropy is NaN where the trained policy has correct (wrong) answers and the base has none: no tilt leads
there. NaN for problems without scored samples.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import entr

from leash_ray.stats.distinct import distinct
from leash_ray.stats.entropy import answer_entropies_nats

_FAR = 400.0
"""A beta at which every odds of counts has become 0 or infinite, to all digits; e^400 still is a number."""

EntropyEstimator = Callable[[ArrayLike, ArrayLike, int], NDArray[np.float64]]
"""One of :mod:`leash_ray.stats.entropy`: counts [answers], problem [answers], number of problems -> nats [N]."""


def tilts(
    n_base: ArrayLike, c_base: ArrayLike, n_trained: ArrayLike, c_trained: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """beta of each problem and its standard error, both [N]; NaN where a policy has no samples.

    Args:
        n_base, n_trained: scored samples, [N].
        c_base, c_trained: correct ones among them, [N].

    Raises:
        ValueError: not 0 <= c <= n, or the lengths differ.
    """
    n_b, c_b, n_t, c_t = (x.astype(np.float64) for x in (*_counts(n_base, c_base), *_counts(n_trained, c_trained)))
    if len(n_b) != len(n_t):
        raise ValueError(f"give both policies' counts of the same problems: {len(n_b)} and {len(n_t)} differ")
    beta = np.log((c_t + 0.5) / (n_t - c_t + 0.5)) - np.log((c_b + 0.5) / (n_b - c_b + 0.5))
    error = np.sqrt(sum(1 / (x + 0.5) for x in (c_b, n_b - c_b, c_t, n_t - c_t)))
    defined = (n_b > 0) & (n_t > 0)
    return np.where(defined, beta, np.nan), np.where(defined, error, np.nan)


def common_tilt(n_base: ArrayLike, c_base: ArrayLike, mean_pass_at_1: float) -> float:
    """The one beta that moves the base's mean pass@1 to ``mean_pass_at_1``.

    Args:
        n_base, c_base: scored samples of the base, and correct ones among them, [N].
        mean_pass_at_1: of the trained policy over the same problems, in [0, 1].

    Returns:
        -inf or +inf where even those fall short of it; NaN where the mean does not move, is undefined (a problem
        with fewer than 2 samples, or no problems), or ``mean_pass_at_1`` is NaN.

    Raises:
        ValueError: not 0 <= c <= n, or a mean outside [0, 1].
    """
    n_N, c_N = _counts(n_base, c_base)
    if mean_pass_at_1 < 0 or mean_pass_at_1 > 1:
        raise ValueError(f"a mean pass@1 lies in [0, 1]; got {mean_pass_at_1}")
    if np.isnan(mean_pass_at_1) or np.any(n_N < 2) or not np.any((c_N > 0) & (c_N < n_N)):
        return float("nan")
    (n_U, c_U), problem_N = distinct(n_N, c_N)
    problems_U = np.bincount(problem_N)

    def above(beta: float) -> float:
        return float(problems_U @ _jackknife(n_U, c_U, lambda n, c: _tilted_share(n, c, beta))) - target

    target = mean_pass_at_1 * len(n_N)
    if above(_FAR) <= 0:
        return float("inf")
    if above(-_FAR) >= 0:
        return float("-inf")
    return float(brentq(above, -_FAR, _FAR, xtol=1e-13))


def tilted_pass_at_k(n_base: ArrayLike, c_base: ArrayLike, ks: ArrayLike, beta: float) -> NDArray[np.float64]:
    """pass@k of the base tilted by ``beta``.

    Args:
        n_base, c_base: scored samples of the base, and correct ones among them, [N].
        ks: the values of k, [K], each at least 1.
        beta: of the tilt; -inf and +inf are its limits.

    Returns:
        [N, K]; NaN where k >= n, and everywhere if beta is NaN.

    Raises:
        ValueError: not 0 <= c <= n, or some k < 1.
    """
    n_N, c_N = _counts(n_base, c_base)
    ks_K = np.atleast_1d(np.asarray(ks, dtype=np.int64))
    if np.any(ks_K < 1):
        raise ValueError("k must be at least 1")
    (n_U, c_U), problem_N = distinct(n_N, c_N)
    n_UK, c_UK, k_UK = np.broadcast_arrays(n_U[:, None], c_U[:, None], ks_K)
    out_UK = np.full(n_UK.shape, np.nan)
    if not np.isnan(beta):
        known = k_UK < n_UK
        k = k_UK[known]
        out_UK[known] = _jackknife(n_UK[known], c_UK[known], lambda n, c: _weighted_hits(n, c, k, beta))
    return out_UK[problem_N]


def _jackknife(
    n: NDArray[np.int64], c: NDArray[np.int64], estimate: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray]
) -> NDArray[np.float64]:
    """n T(n, c) - (n-1) (mean of T over the n ways to leave one sample out); n >= 2.

    The difference costs as many digits as n has: ``estimate`` returns extended precision where the machine has it.
    """
    whole = estimate(n, c)
    without_hit, without_miss = estimate(n - 1, np.maximum(c - 1, 0)), estimate(n - 1, np.minimum(c, n - 1))
    mean = (c * without_hit + (n - c) * without_miss) / n.astype(np.longdouble)
    return (whole - (n - 1) * (mean - whole)).astype(np.float64)


def _tilted_share(n: NDArray[np.int64], c: NDArray[np.int64], beta: float) -> NDArray[np.longdouble]:
    """c w / (n - c + c w)."""
    with np.errstate(divide="ignore"):
        odds = np.exp(np.log(c.astype(np.longdouble)) - np.log((n - c).astype(np.longdouble)) + np.longdouble(beta))
    return 1 / (1 + 1 / np.maximum(odds, np.finfo(np.longdouble).tiny))


def _weighted_hits(
    n: NDArray[np.int64], c: NDArray[np.int64], k: NDArray[np.int64], beta: float
) -> NDArray[np.longdouble]:
    """s / (1 + s), s = sum over j >= 1 of the weight of draws with j correct ones over that of draws with none.

    All terms are positive and each follows from the one before, so no digits are lost; where s passes 1e20 the result
    is 1. Their quotients fall in j, so a geometric series bounds what is left out.
    """
    out = (k > n - c).astype(np.longdouble)  # k samples hold at least one correct one
    open_ = (c > 0) & (k <= n - c)
    if np.isinf(beta):
        out[open_] = float(beta > 0)
        return out
    total = np.zeros(len(n), dtype=np.longdouble)
    at = np.flatnonzero(open_)
    c_, k_, rest = (x[at].astype(np.longdouble) for x in (c, k, n - c - k))
    w = np.exp(np.longdouble(beta))
    term = np.ones(len(at), dtype=np.longdouble)
    j = 0
    while len(at):
        term = term * ((c_ - j) * (k_ - j) * w / ((j + 1) * (rest + j + 1)))
        total[at] += term
        j += 1
        quotient = np.maximum(c_ - j, 0) * np.maximum(k_ - j, 0) * w / ((j + 1) * (rest + j + 1))
        left_out = np.where(quotient < 1, term * quotient / np.where(quotient < 1, 1 - quotient, 1), np.inf)
        go_on = (left_out > 1e-20 * total[at]) & (total[at] < 1e20)
        at, term = at[go_on], term[go_on]
        c_, k_, rest = c_[go_on], k_[go_on], rest[go_on]
    out[open_] = 1 / (1 + 1 / np.maximum(total[open_], np.finfo(np.longdouble).tiny))
    return out


def tilted_entropies_nats(
    count_base: ArrayLike,
    problem: ArrayLike,
    correct: ArrayLike,
    pass_at_1_trained: ArrayLike,
    *,
    estimator: EntropyEstimator = answer_entropies_nats,
) -> NDArray[np.float64]:
    """Answer entropy of the trained policy as predicted from its pass@1 and the base's answers.

    Compare with ``estimator(count_trained, problem, N)``, over the problems where both are defined.

    Args:
        count_base: the base's samples per distinct answer ("NA" is one, and wrong), [answers].
        problem: which problem each answer belongs to, [answers], in 0 .. N-1.
        correct: whether the answer is correct, [answers].
        pass_at_1_trained: share of correct samples of the trained policy, [N]; NaN where it has none.
        estimator: of the entropies of the base's correct and wrong answers.

    Returns:
        [N], nats.

    Raises:
        ValueError: lengths differ, bad counts, or a share outside [0, 1].
    """
    p_N = np.atleast_1d(np.asarray(pass_at_1_trained, dtype=np.float64))
    if np.any((p_N < 0) | (p_N > 1)):
        raise ValueError("pass@1 of each problem lies in [0, 1]")
    count_A, problem_A = np.asarray(count_base, dtype=np.int64), np.asarray(problem, dtype=np.int64)
    correct_A = np.asarray(correct, dtype=bool)
    if correct_A.shape != count_A.shape:
        raise ValueError(f"give one flag per answer: shapes {count_A.shape} and {correct_A.shape} differ")
    right_N, wrong_N = (estimator(count_A[which], problem_A[which], len(p_N)) for which in (correct_A, ~correct_A))
    # A part without weight needs no entropy.
    parts = [np.where(weight > 0, weight * h, 0.0) for weight, h in ((p_N, right_N), (1 - p_N, wrong_N))]
    return np.asarray(np.where(np.isnan(p_N), np.nan, entr(p_N) + entr(1 - p_N) + parts[0] + parts[1]))


def _counts(n: ArrayLike, c: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    n_N, c_N = (np.atleast_1d(np.asarray(x, dtype=np.int64)) for x in (n, c))
    if n_N.shape != c_N.shape or np.any(c_N < 0) or np.any(c_N > n_N):
        raise ValueError("n and c must be counts of the same problems with 0 <= c <= n")
    return n_N, c_N
