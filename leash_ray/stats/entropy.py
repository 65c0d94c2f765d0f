"""Answer entropy: how many different answers a policy gives to one problem.

Source: Wu et al., "The Invisible Leash" (arXiv 2507.14843), §5.1: -sum_j p_j ln p_j over the distinct answers among N
samples, with p_j the plug-in estimate count_j / N. Completions without an answer (NO_ANSWER and TRUNCATED) are pooled
as one answer "NA". Natural logarithm: nats.

Assumption: N is large against the number of answers; the plug-in estimate is biased downwards by about
(answers - 1) / 2N. ERROR completions are no part of N: unscored is not an answer.

Degenerate case: NaN for a problem with N = 0; exactly 0 when all samples share one answer.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def answer_entropy_nats(counts: ArrayLike) -> float:
    """Plug-in entropy of one problem from its count per distinct answer ("NA" is one of them), [answers]."""
    counts_A = np.asarray(counts, dtype=np.int64)
    return float(answer_entropies_nats(counts_A, np.zeros(len(counts_A), dtype=np.int64), 1)[0])


def answer_entropies_nats(counts: ArrayLike, problem: ArrayLike, n_problems: int) -> NDArray[np.float64]:
    """Plug-in entropy of many problems at once.

    Args:
        counts: completions per (problem, answer), [answers].
        problem: which problem each count belongs to, [answers], in 0 .. n_problems-1.
        n_problems: number of problems.

    Returns:
        [n_problems], nats; NaN for problems without any completion.
    """
    counts_A = np.asarray(counts, dtype=np.int64)
    problem_A = np.asarray(problem, dtype=np.int64)
    counts_A, problem_A = counts_A[counts_A > 0], problem_A[counts_A > 0]  # 0 ln 0 = 0
    total_N = np.bincount(problem_A, weights=counts_A, minlength=n_problems)
    p_A = counts_A / total_N[problem_A]
    entropy_N = np.bincount(problem_A, weights=-p_A * np.log(p_A), minlength=n_problems)
    return np.where(total_N > 0, entropy_N + 0.0, np.nan)  # + 0.0 turns -0.0 into 0.0
