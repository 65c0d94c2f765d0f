"""How surprised is each policy by given texts, by who solved their problem?

Source: Wu et al., "The Invisible Leash" (arXiv 2507.14843), table 2: perplexity of texts under base and trained, for
problems that both solve, that only one solves (shrinkage, expansion) and that neither does::

    perplexity of a text      exp(-logprob_sum / n_tokens), logprob_sum in nats over its n_tokens tokens
    token-weighted            exp(-sum of logprob_sum / sum of n_tokens) over all texts of a group

One call is one scoring policy: call it once for each, with the same rows, and compare within a group. A text's tokens
are what the policy's own tokenizer makes of it, so policies with different tokenizers are not comparable per token.

Assumption: the log-probabilities are those of the whole distribution (temperature 1, no truncation).

Degenerate cases: a text without tokens, or whose logprob_sum is NaN (not scored), has perplexity NaN, and so has every
mean over a group that it is in: leave such rows out for *all* policies, so that they are compared on the same texts.
``n_undefined`` says how many there are. An empty group is NaN. A text that the policy gives no probability is infinite.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

PATTERNS = ("P", "S", "E", "O")
"""Both right, shrinkage, expansion, both wrong."""


@dataclass(frozen=True, slots=True)
class PerplexityEstimates:
    """One policy on the texts of one group."""

    n_texts: int
    n_undefined: int
    """Of them, without tokens or not scored; any makes the numbers below NaN."""
    n_tokens: int
    mean: float
    """Every text weighs the same."""
    median: float
    token_weighted: float
    """Every token weighs the same."""


def perplexities(logprob_sum: ArrayLike, n_tokens: ArrayLike) -> NDArray[np.float64]:
    """Perplexity of each text, [R].

    Args:
        logprob_sum: nats, [R]; NaN: not scored.
        n_tokens: [R].

    Raises:
        ValueError: lengths differ, a negative number of tokens, or a positive logprob_sum.
    """
    logprob_R, tokens_R = np.asarray(logprob_sum, dtype=np.float64), np.asarray(n_tokens, dtype=np.int64)
    if logprob_R.shape != tokens_R.shape or logprob_R.ndim != 1:
        raise ValueError(f"give logprob_sum and n_tokens per text: {logprob_R.shape} and {tokens_R.shape} differ")
    if np.any(tokens_R < 0):
        raise ValueError("n_tokens must not be negative")
    if np.any(logprob_R > 0):
        raise ValueError("logprob_sum is a sum of logarithms of probabilities, never positive: give it unnegated")
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.where(tokens_R > 0, np.exp(-logprob_R / tokens_R), np.nan)


def correctness_patterns(found_base: ArrayLike, found_trained: ArrayLike) -> NDArray[np.str_]:
    """P, S, E or O of each problem, [N], from whether base and trained solved it, both [N].

    Raises:
        ValueError: the lengths differ.
    """
    base_N, trained_N = np.asarray(found_base, dtype=bool), np.asarray(found_trained, dtype=bool)
    if base_N.shape != trained_N.shape:
        raise ValueError(f"one flag per problem and policy is needed: {base_N.shape} and {trained_N.shape} differ")
    return np.array(PATTERNS)[2 * ~base_N + ~trained_N]


def perplexity_by_pattern(
    problem: ArrayLike, logprob_sum: ArrayLike, n_tokens: ArrayLike, pattern: ArrayLike
) -> dict[str, PerplexityEstimates]:
    """Perplexity of one policy on each group of problems.

    Args:
        problem: which problem each text belongs to, [R], in 0 .. N-1.
        logprob_sum: of each text under the policy, nats, [R]; NaN: not scored.
        n_tokens: of each text, [R].
        pattern: of each problem (:func:`correctness_patterns`), [N].

    Returns:
        P, S, E and O -> estimates.

    Raises:
        ValueError: as :func:`perplexities`, a problem out of range, or an unknown pattern.
    """
    values_R = perplexities(logprob_sum, n_tokens)
    problem_R, pattern_N = np.asarray(problem, dtype=np.int64), np.asarray(pattern, dtype=np.str_)
    if problem_R.shape != values_R.shape:
        raise ValueError(f"give one problem per text: {problem_R.shape} and {values_R.shape} differ")
    if np.any((problem_R < 0) | (problem_R >= len(pattern_N))):
        raise ValueError(f"number the problems 0 .. {len(pattern_N) - 1}, as in `pattern`; leave out texts of others")
    if not np.isin(pattern_N, PATTERNS).all():
        raise ValueError(f"patterns are {', '.join(PATTERNS)}: use correctness_patterns")
    group_R = pattern_N[problem_R]
    logprob_R, tokens_R = np.asarray(logprob_sum, dtype=np.float64), np.asarray(n_tokens, dtype=np.int64)
    return {g: _group(values_R[group_R == g], logprob_R[group_R == g], tokens_R[group_R == g]) for g in PATTERNS}


def _group(
    values: NDArray[np.float64], logprob_sum: NDArray[np.float64], n_tokens: NDArray[np.int64]
) -> PerplexityEstimates:
    n_undefined, tokens = int(np.isnan(values).sum()), int(n_tokens.sum())
    defined = len(values) > 0 and not n_undefined
    values = np.sort(values)  # the same sum for any order of texts
    with np.errstate(over="ignore"):
        return PerplexityEstimates(
            n_texts=len(values),
            n_undefined=n_undefined,
            n_tokens=tokens,
            mean=float(values.mean()) if defined else math.nan,
            median=float(np.median(values)) if defined else math.nan,
            token_weighted=float(np.exp(-np.sort(logprob_sum).sum() / tokens)) if defined else math.nan,
        )
