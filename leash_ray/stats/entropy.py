"""Answer entropy: how many different answers a policy gives to one problem.

Source: Wu et al., "The Invisible Leash" (arXiv 2507.14843), §5.1: -sum_j p_j ln p_j over the distinct answers among N
samples, with p_j the plug-in estimate count_j / N. Completions without an answer (NO_ANSWER and TRUNCATED) are pooled
as one answer "NA". Natural logarithm: nats. Over correct answers only, give the counts of correct answers alone: N is
then the number of correct samples.

The plug-in estimate is biased downwards by about (answers - 1) / 2N, so more samples look like more entropy. Beside
it::

    Miller-Madow   plug-in + (m - 1) / 2N, m distinct answers seen (Miller, "Note on the bias of information
                   estimates", 1955): the first-order bias, removed
    Chao-Shen      -sum_j C p_j ln(C p_j) / (1 - (1 - C p_j)^N), with the coverage C = 1 - f1/N and f1 the number of
                   answers seen once (Chao and Shen, Environmental and Ecological Statistics 10, 2003, 429-443): answers
                   not seen are allowed for by Good's coverage, answers that could have been missed weigh more

Assumption: a problem's samples are exchangeable. ERROR completions are no part of N: unscored is not an answer.

Degenerate cases: NaN for a problem with N = 0; exactly 0 when all samples share one answer. Chao-Shen where every
sample is another answer (f1 = N): coverage would be 0 and the estimate 0/0; f1 = N - 1 is taken, as in the R package
`entropy` by Strimmer (whose paper with Hausser, JMLR 10, 2009, compares these estimators), so C = 1/N, the smallest
positive coverage that N samples can show. Chao-Shen for N = 1 is NaN: by that rule one sample would have seen all.

Sums run over a problem's counts in ascending order, so the result is the same to the last bit for any order of answers.

Token entropy and surprisal need no estimator here: they arrive as exact sums over the vocabulary from the reducers
(DESIGN §5), and a mean of them is a quotient.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

BITS_PER_NAT = 1 / math.log(2)
_NARROW = 2**31


def to_bits(nats: ArrayLike) -> NDArray[np.float64]:
    """Entropies (or divergences) in bits, of any shape."""
    return np.asarray(np.asarray(nats, dtype=np.float64) * BITS_PER_NAT)


def answer_entropy_nats(counts: ArrayLike) -> float:
    """Plug-in entropy of one problem from its count per distinct answer ("NA" is one of them), [answers]."""
    counts_A = np.asarray(counts, dtype=np.int64)
    return float(answer_entropies_nats(counts_A, np.zeros(len(counts_A), dtype=np.int64), 1)[0])


def answer_entropies_nats(counts: ArrayLike, problem: ArrayLike, n_problems: int) -> NDArray[np.float64]:
    """Plug-in entropy of many problems at once.

    Args:
        counts: completions per (problem, answer), [answers]; answers nobody gave (0) change nothing.
        problem: which problem each count belongs to, [answers], in 0 .. n_problems-1, in any order.
        n_problems: number of problems.

    Returns:
        [n_problems], nats; NaN for problems without any completion.

    Raises:
        ValueError: a negative count, a problem out of range, or arrays of different lengths.
    """
    counts_A, problem_A = seen_answers(counts, problem, n_problems)
    total_N = totals(counts_A, problem_A, n_problems)
    p_A = counts_A / total_N[problem_A]
    return _sum(-p_A * np.log(p_A), problem_A, total_N)


def miller_madow_entropies_nats(counts: ArrayLike, problem: ArrayLike, n_problems: int) -> NDArray[np.float64]:
    """Miller-Madow entropy of many problems at once. Arguments, result and errors of :func:`answer_entropies_nats`."""
    counts_A, problem_A = seen_answers(counts, problem, n_problems)
    total_N = totals(counts_A, problem_A, n_problems)
    distinct_N = np.bincount(problem_A, minlength=n_problems)
    return answer_entropies_nats(counts_A, problem_A, n_problems) + (distinct_N - 1) / (2 * np.maximum(total_N, 1))


def chao_shen_entropies_nats(counts: ArrayLike, problem: ArrayLike, n_problems: int) -> NDArray[np.float64]:
    """Chao-Shen entropy of many problems at once. Arguments, result and errors of :func:`answer_entropies_nats`; NaN
    also for problems with one completion."""
    counts_A, problem_A = seen_answers(counts, problem, n_problems)
    total_N = totals(counts_A, problem_A, n_problems)
    singletons_N = np.bincount(problem_A[counts_A == 1], minlength=n_problems)
    covered_N = np.maximum(total_N - singletons_N, 1)  # all singletons: f1 = N - 1
    # C p_j = covered / N * count_j / N
    total_A = total_N[problem_A]
    p_A = (covered_N[problem_A] / total_A) * (counts_A / total_A)
    with np.errstate(divide="ignore"):  # p = 1: seen in every sample, missed with probability exp(-inf)
        seen_A = -np.expm1(total_A * np.log1p(-p_A))
    return np.where(total_N == 1, np.nan, _sum(-p_A * np.log(p_A) / seen_A, problem_A, total_N))


def seen_answers(counts: ArrayLike, problem: ArrayLike, n_problems: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positive counts and their problems, both [answers seen], by problem, then count: the one order in which to sum.

    Raises:
        ValueError: a negative count, a problem out of range, or arrays of different lengths.
    """
    counts_A, problem_A = np.asarray(counts, dtype=np.int64), np.asarray(problem, dtype=np.int64)
    if counts_A.shape != problem_A.shape or counts_A.ndim != 1:
        raise ValueError(f"give one problem number per count: shapes {counts_A.shape} and {problem_A.shape} differ")
    if np.any(counts_A < 0):
        raise ValueError("counts of completions must not be negative")
    if np.any((problem_A < 0) | (problem_A >= n_problems)):
        raise ValueError(f"number the problems 0 .. {n_problems - 1} (n_problems is {n_problems})")
    counts_A, problem_A = counts_A[counts_A > 0], problem_A[counts_A > 0]  # 0 ln 0 = 0
    if len(counts_A) and counts_A.max() < _NARROW and n_problems < _NARROW:  # one number sorts quicker than two
        both_A = np.sort((problem_A << 32) | counts_A)
        return both_A & (2 * _NARROW - 1), both_A >> 32
    order = np.lexsort((counts_A, problem_A))
    return counts_A[order], problem_A[order]


def totals(counts: NDArray[np.int64], problem: NDArray[np.int64], n_problems: int) -> NDArray[np.int64]:
    """Sum of counts per problem, [n_problems]; exact up to 2**53."""
    return np.bincount(problem, weights=counts, minlength=n_problems).astype(np.int64)


def _sum(terms: NDArray[np.float64], problem: NDArray[np.int64], total: NDArray[np.int64]) -> NDArray[np.float64]:
    entropy_N = np.bincount(problem, weights=terms, minlength=len(total))
    return np.where(total > 0, entropy_N + 0.0, np.nan)  # + 0.0 turns -0.0 into 0.0
