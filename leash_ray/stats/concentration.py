r"""Did training shift weight among the correct answers, and lose some, more than the ideal policy would?

Source: Wu et al., "The Invisible Leash" (arXiv 2507.14843), Prop. C.4: tilting by correctness (stats/tilt.py) changes
how often a policy is correct, not which correct answer it gives: pi(. | correct) = q(. | correct). So with c_b and c_t
correct samples of base and trained given, under tilting they are c_b + c_t draws from one distribution, and which of
them are the trained policy's is chance: the number t of its samples among the m of one answer is hypergeometric. The
numbers of correct samples are conditioned on, so a change of pass@1 cannot pass for concentration, and no probability
is plugged in for another (answers found by luck would look lost in the next sample: the winner's curse).

Per problem that both policies solved::

    concentration  KL(pi(. | correct) || q(. | correct)) = sum_j t_j/c_t ln( (t_j/c_t) / ((b_j + 1/2) / (c_b + J/2)) )
                   over the J distinct correct answers seen by either; 1/2 added to the base's counts keeps it finite
    expected       the same by chance: each term depends on one answer, so sum_j E f(t_j) with t_j hypergeometric
    excess         concentration - expected: without bias where tilting holds
    lost           answers seen by base only; expected by chance: sum_j C(c_b + c_t - m_j, c_t) / C(c_b + c_t, c_t)
    gained         the same with the policies swapped

Answers lost in problems that the trained policy never solved are a fall in correctness, which tilting allows: they
count as explained. Unexplained is what is left after them and after chance.

p-values ask for the sum over problems, one-sided. While it takes 999 relabellings or more within the bound on draws
(:data:`DRAWS`; some 3,000 answers), they are permutation p-values, (1 + those at least as large) / (1 + relabellings)
(Phipson and Smyth, 2010), with all dependence between a problem's answers. Beyond, relabellings would be too few to
resolve a small p-value: concentration is then a sum of thousands of terms, taken as normal with its exact mean and the
variance of the relabellings problem by problem; lost and gained answers are taken as independent, whose exact law (the
Poisson binomial) holds where losses are rare, and is conservative where they are not, since answers of one problem
exclude each other.

Assumptions: samples are exchangeable; all correct samples got the same reward (no reward for length or form).

Degenerate cases: a problem that one policy never solved has no concentration (NaN) and expects no loss or gain. One
distinct correct answer: concentration, expected, lost and gained are all exactly 0. No loss at all: the unexplained
share is NaN. Where chance cannot vary (every answer seen once, say) p-values are 1.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, xlogy

from leash_ray.stats.distinct import distinct
from leash_ray.stats.hypergeometric import miss
from leash_ray.stats.null import law_of_sum

DRAWS = 3_000_000
"""Hypergeometric draws for all relabellings together: about half a second."""
MOST_REPLICATES = 1999
FEWEST_REPLICATES = 32
"""Enough for a variance, which problems add up to."""
ENOUGH_REPLICATES = 999
"""From here on p-values are counted, not approximated."""
_CHUNK = 2_000_000
"""Problems x replicates that are held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Turnover:
    """Answers seen by one policy only: lost (by base only) or gained (by trained only)."""

    observed: NDArray[np.int64]
    """[N]."""
    one_sided: NDArray[np.int64]
    """[N]: those of ``observed`` in problems that the other policy never solved."""
    expected: NDArray[np.float64]
    """[N]: by chance under tilting, in problems that both solved; 0 elsewhere."""
    p_value: float
    """P(chance gives as many in problems that both solved)."""

    @property
    def unexplained(self) -> float:
        """Answers beyond chance and beyond one-sided problems; negative: fewer than by chance."""
        return float(self.observed.sum() - self.one_sided.sum() - np.sort(self.expected).sum())

    @property
    def unexplained_share(self) -> float:
        """Of all observed; NaN where there are none."""
        total = int(self.observed.sum())
        return self.unexplained / total if total else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Concentration:
    """What happened among the correct answers."""

    kl_nats: NDArray[np.float64]
    """[N]; NaN where one of the policies never solved the problem."""
    expected_kl_nats: NDArray[np.float64]
    """[N], by chance under tilting."""
    p_value: float
    """P(chance gives as large a sum of ``kl_nats``); NaN without any problem that both solved."""
    lost: Turnover
    gained: Turnover
    replicates: int
    """Relabellings drawn."""
    counted: bool
    """Whether p-values are counts of relabellings, or approximations."""

    @property
    def excess_nats(self) -> NDArray[np.float64]:
        """[N]: concentration beyond chance."""
        return self.kl_nats - self.expected_kl_nats


def concentration(
    count_base: ArrayLike,
    count_trained: ArrayLike,
    problem: ArrayLike,
    n_problems: int,
    *,
    seed: int = 0,
    replicates: int | None = None,
) -> Concentration:
    """Concentration, lost and gained answers.

    Args:
        count_base, count_trained: samples per distinct *correct* answer, [answers], in any order.
        problem: which problem each answer belongs to, [answers], in 0 .. n_problems-1.
        n_problems: number of problems (N).
        seed: of the relabellings.
        replicates: number of relabellings; by default as many as :data:`DRAWS` allows.

    Raises:
        ValueError: negative counts, lengths that differ, a problem out of range, or fewer than 2 replicates.
    """
    if replicates is not None and replicates < 2:
        raise ValueError(f"a variance needs at least 2 replicates, counted p-values {ENOUGH_REPLICATES}")
    b_A, t_A, problem_A = _sorted(count_base, count_trained, problem, n_problems)
    m_A = b_A + t_A
    c_b, c_t = (np.bincount(problem_A, weights=x, minlength=n_problems).astype(np.int64) for x in (b_A, t_A))
    answers_N = np.bincount(problem_A, minlength=n_problems)
    both_N = (c_b > 0) & (c_t > 0)
    both_A = both_N[problem_A]

    # KL = ln((c_b + J/2) / c_t) + sum_j f(t_j) / c_t, since sum_j t_j = c_t. One answer: exactly ln 1 = 0.
    several_N = both_N & (answers_N > 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        constant_N = np.log((c_b + answers_N / 2) / c_t)
    f_A, mean_f_A = _f(t_A, m_A), np.zeros(len(m_A))
    several_A = several_N[problem_A]
    (m_D, b_D, t_D), back = distinct(m_A[several_A], c_b[problem_A][several_A], c_t[problem_A][several_A])
    mean_f_A[several_A] = _mean_f(m_D, b_D, t_D)[back]
    sums = [np.bincount(problem_A, weights=x, minlength=n_problems) for x in (f_A, mean_f_A)]
    kl_N, expected_N = (
        np.where(several_N, constant_N + s / np.maximum(c_t, 1), np.where(both_N, 0.0, np.nan)) for s in sums
    )

    lost_A, gained_A = t_A == 0, b_A == 0
    chance_lost_A, chance_gained_A = np.zeros(len(m_A)), np.zeros(len(m_A))
    chance_lost_A[several_A] = miss(b_D + t_D, m_D, t_D)[back]
    chance_gained_A[several_A] = miss(b_D + t_D, m_D, b_D)[back]

    n_colours = int(_colours(m_A, problem_A, several_A)[0].size)
    if replicates is None:
        replicates = min(MOST_REPLICATES, max(FEWEST_REPLICATES, DRAWS // max(n_colours, 1)))
    counted = replicates >= ENOUGH_REPLICATES
    null = _relabel(m_A, problem_A, several_A, c_b, c_t, replicates, np.random.default_rng(seed))

    if not both_N.any():
        p_value = math.nan
    elif counted:
        p_value = _counted_p(float(np.sum((sums[0] / np.maximum(c_t, 1))[several_N])), null.f_R)
    else:
        beyond = float(np.sum((kl_N - expected_N)[both_N]))
        p_value = float(ndtr(-beyond / math.sqrt(null.f_variance))) if null.f_variance > 0 else 1.0

    def turnover(absent_A: NDArray[np.bool_], chance_A: NDArray[np.float64], null_R: NDArray[np.float64]) -> Turnover:
        comparable = int(np.sum(absent_A & several_A))
        return Turnover(
            observed=np.bincount(problem_A[absent_A], minlength=n_problems),
            one_sided=np.bincount(problem_A[absent_A & ~both_A], minlength=n_problems),
            expected=np.bincount(problem_A, weights=chance_A, minlength=n_problems).astype(np.float64),
            p_value=_counted_p(comparable, null_R) if counted else _independent_p(comparable, chance_A),
        )

    return Concentration(
        kl_nats=kl_N,
        expected_kl_nats=expected_N,
        p_value=p_value,
        lost=turnover(lost_A, chance_lost_A, null.lost_R),
        gained=turnover(gained_A, chance_gained_A, null.gained_R),
        replicates=replicates,
        counted=counted,
    )


def _sorted(
    count_base: ArrayLike, count_trained: ArrayLike, problem: ArrayLike, n_problems: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Answers that were seen, in one order (by problem, then counts), so that sums and draws repeat to the bit."""
    b_A, t_A, problem_A = (np.asarray(x, dtype=np.int64) for x in (count_base, count_trained, problem))
    if not b_A.shape == t_A.shape == problem_A.shape or b_A.ndim != 1:
        raise ValueError(
            f"give both policies' counts and a problem per answer: {b_A.shape}, {t_A.shape}, {problem_A.shape} differ"
        )
    if np.any(b_A < 0) or np.any(t_A < 0):
        raise ValueError("counts of completions must not be negative")
    if np.any((problem_A < 0) | (problem_A >= n_problems)):
        raise ValueError(f"number the problems 0 .. {n_problems - 1} (n_problems is {n_problems})")
    order = np.lexsort((t_A, b_A + t_A, problem_A))
    order = order[(b_A + t_A)[order] > 0]
    return b_A[order], t_A[order], problem_A[order]


def _f(t: NDArray[np.int64], m: NDArray[np.int64]) -> NDArray[np.float64]:
    """t ln(t / (m - t + 1/2)): what an answer adds to c_t KL, but for a constant."""
    return np.asarray(xlogy(t, t) - t * np.log(m - t + 0.5))


def _mean_f(m: NDArray[np.int64], c_b: NDArray[np.int64], c_t: NDArray[np.int64]) -> NDArray[np.float64]:
    """E f(t), t hypergeometric: of c_b + c_t samples m are this answer, and c_t are drawn. All shapes [distinct].

    Probabilities relative to the mode's follow from one another outwards until they vanish, and are normalised by their
    sum: no factorials.
    """
    mode = (m + 1) * (c_t + 1) // (c_b + c_t + 2)
    total, weight = _f(mode, m), np.ones(len(m))
    for step in (1, -1):
        at, t, w = np.arange(len(m)), mode.copy(), np.ones(len(m))
        m_, b_, c_ = m, c_b, c_t
        while len(at):
            if step > 0:
                w = w * ((m_ - t) * (c_ - t)) / ((t + 1) * (b_ - m_ + t + 1.0))
            else:
                w = w * (t * (b_ - m_ + t)) / ((m_ - t + 1.0) * (c_ - t + 1))
            t = t + step
            # Quotients fall outwards: below 1e-16 of the mode nothing is left that counts. At the ends w is exactly 0.
            go_on = w > 1e-16
            at, t, w, m_, b_, c_ = (x[go_on] for x in (at, t, w, m_, b_, c_))
            total[at] += w * _f(t, m_)
            weight[at] += w
    return total / weight


@dataclass(frozen=True, slots=True, eq=False)
class _Relabelled:
    """Sums over problems, [R], and the variance of the first from problem to problem."""

    f_R: NDArray[np.float64]
    lost_R: NDArray[np.float64]
    gained_R: NDArray[np.float64]
    f_variance: float


def _colours(
    m: NDArray[np.int64], problem: NDArray[np.int64], use: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """What is drawn apart, sorted by problem: its samples, its problem, and whether it pools answers seen once.

    Answers seen once are alike: how many of them fall to the trained policy says all.
    """
    single = use & (m == 1)
    plain = use & (m > 1)
    where, number = np.unique(problem[single], return_counts=True)
    samples = np.concatenate([number, m[plain]])
    of = np.concatenate([where, problem[plain]])
    pooled = np.arange(len(samples)) < len(where)
    order = np.argsort(of, kind="stable")
    return samples[order], of[order], pooled[order]


def _relabel(
    m: NDArray[np.int64],
    problem: NDArray[np.int64],
    use: NDArray[np.bool_],
    c_b: NDArray[np.int64],
    c_t: NDArray[np.int64],
    replicates: int,
    rng: np.random.Generator,
) -> _Relabelled:
    """Deal the labels of every problem's correct samples anew, ``replicates`` times."""
    samples_G, problem_G, pooled_G = _colours(m, problem, use)
    problem_P, start_P, width_P = np.unique(problem_G, return_index=True, return_counts=True)
    widest_first = np.argsort(-width_P, kind="stable")
    out = np.zeros((3, replicates))
    variance = 0.0
    size = max(1, _CHUNK // replicates)
    for chunk in (widest_first[i : i + size] for i in range(0, len(widest_first), size)):
        start, width, c_trained = start_P[chunk], width_P[chunk], c_t[problem_P[chunk]]
        left_PR = np.repeat(c_trained[:, None], replicates, axis=1)  # of the trained policy's samples
        rest = c_b[problem_P[chunk]] + c_trained  # samples not dealt yet, [P]
        sums = np.zeros((3, len(chunk), replicates))
        for i in range(int(width[0])):
            a = int(np.searchsorted(-width, -i))  # problems with more than i colours
            size_, pooled = samples_G[start[:a] + i], pooled_G[start[:a] + i]
            last = int(np.searchsorted(-width, -(i + 1)))  # those with more than i + 1: the others have no choice
            rest[:a] -= size_
            t = left_PR[:a].copy()
            t[:last] = rng.hypergeometric(size_[:last, None], rest[:last, None], left_PR[:last])
            left_PR[:a] -= t
            if pooled.any():
                p = np.flatnonzero(pooled)
                sums[0, p] += t[p] * math.log(2)  # f(1, 1); f(0, 1) is 0
                sums[1, p] += size_[p, None] - t[p]
                sums[2, p] += t[p]
            p = np.flatnonzero(~pooled)
            sums[0, p] += _f(t[p], size_[p, None])
            sums[1, p] += t[p] == 0
            sums[2, p] += t[p] == size_[p, None]
        sums[0] /= c_trained[:, None]
        variance += float(sums[0].var(axis=1, ddof=1).sum())
        out += sums.sum(axis=1)
    return _Relabelled(f_R=out[0], lost_R=out[1], gained_R=out[2], f_variance=variance)


def _counted_p(observed: float, null_R: NDArray[np.float64]) -> float:
    # Equal sums may differ in their last digits.
    slack = 1e-9 * max(1.0, abs(observed))
    return float((1 + np.sum(null_R >= observed - slack)) / (1 + len(null_R)))


def _independent_p(observed: int, chance: NDArray[np.float64]) -> float:
    q = np.sort(chance[chance > 0])[::-1]
    return law_of_sum(np.stack([1 - q, q], axis=1), 0).at_least(observed)
