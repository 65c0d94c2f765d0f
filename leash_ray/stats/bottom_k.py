r"""Distinct answers, singletons, doubletons and entropy from a random sample of the distinct answers.

Of a problem's D distinct answers those N with the smallest hashes are known, with their exact counts; the next hash is
the share theta of all hashes. Given theta, each answer is in the sample with chance theta, and a sum over all answers
is estimated by the sum over the sample, divided by theta (Horvitz-Thompson; Cohen and Kaplan, PODC 2007)::

    D  = N / theta            relative standard error at most 1 / sqrt(N - 1)
    f1 = (sampled answers that came once) / theta         f2 likewise
    variance of a sum of x: (1 - theta) / theta^2 * sum over the sample of x^2

Entropy does not go that way directly: a few frequent answers make most of it, and may be in the sample or not. But how
many completions m_b fall into each of many buckets (by other bits of the hash) is known, so by the chain rule::

    H = H(buckets) + sum over answers of -(c/n) ln(c / m_b),    c: count of the answer, b: its bucket

the first term exactly, the second as a sum over the sample. A frequent answer nearly fills its bucket, where
ln(c / m_b) is near 0. H(buckets) is a lower bound of the entropy without any error.

Assumption: hashes are as good as random. Degenerate cases: theta = 1: all answers are known, and every number is exact.
No sampled answer that came once or twice: the standard error of their number is that of one such answer, not 0.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Sampled(NamedTuple):
    """Estimates of P problems, [P] each, with their standard errors; 0 where they are exact."""

    distinct: Floats
    distinct_se: Floats
    once: Floats
    """Answers that came once (f1)."""
    once_se: Floats
    twice: Floats
    twice_se: Floats
    entropy: Floats
    """Nats; of all samples, those without an answer pooled as one."""
    entropy_se: Floats
    entropy_at_least: Floats
    """Entropy of the buckets."""


def from_sample(
    theta: Floats,
    problem: Ints,
    count: Ints,
    in_bucket: Ints,
    bucket_problem: Ints,
    bucket_count: Ints,
) -> Sampled:
    """Estimates of P problems.

    Args:
        theta: share of the answers that are sampled; 1: all, [P].
        problem: of each sampled answer, [answers].
        count: how often it came, [answers].
        in_bucket: samples in its bucket, [answers].
        bucket_problem, bucket_count: of every bucket, that of the samples without an answer among them, [buckets].
    """
    n_problems = len(theta)

    def total(values: Floats | Ints | NDArray[np.bool_]) -> Floats:
        return np.asarray(np.bincount(problem, weights=values, minlength=n_problems), dtype=np.float64)

    n = np.bincount(bucket_problem, weights=bucket_count, minlength=n_problems)
    size = total(np.ones_like(count))
    once, twice = (total(count == times) for times in (1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = bucket_count / n[bucket_problem]
        of_buckets = np.bincount(bucket_problem, weights=-share * np.log(share), minlength=n_problems)
        x = -count / n[problem] * np.log(count / in_bucket)
    entropy = of_buckets + total(x) / theta
    undefined = np.where(n > 0, 0.0, np.nan)
    return Sampled(
        distinct=size / theta,
        distinct_se=np.where(theta < 1, size / theta / np.sqrt(np.maximum(size - 1, 1)), 0.0),
        once=once / theta,
        once_se=np.sqrt((1 - theta) * np.maximum(once, 1)) / theta,
        twice=twice / theta,
        twice_se=np.sqrt((1 - theta) * np.maximum(twice, 1)) / theta,
        entropy=entropy + undefined,
        entropy_se=np.sqrt((1 - theta) * total(x * x)) / theta,
        entropy_at_least=of_buckets + undefined,
    )
