"""How much E and S chance alone gives: the exact label-permutation null of expansion and shrinkage.

A unit is a problem (its marked samples are the correct ones) or a distinct correct answer of a problem (the marked ones
are those equal to it). Under the null both policies are the same one, so the labels "base" and "trained" of the N =
n_base + n_trained samples of the problem could be dealt anew: base's first k and trained's first k are two disjoint
random subsets of the N, of which c are marked. With miss(N, c, k) = C(N-c, k) / C(N, k)::

    P(base misses) = miss(N, c, k)      P(both miss) = miss(N, c, 2k)
    P(unit in E) = P(unit in S) = miss(N, c, k) - miss(N, c, 2k) = miss(N, c, k) (1 - miss(N-k, c, k))

The last form subtracts nothing, so it holds where it is tiny. E, S and E-S are sums over units; their exact laws are
found by convolution.

Source: Fisher's permutation argument, conditional on each unit's pooled count. The law of a sum of unequal Bernoulli
variables is the Poisson binomial.

Assumptions: a problem's samples are exchangeable within and, under the null, between the policies. That null says that
*nothing* changed. A policy that is merely right more often breaks it too: small p_E or p_S says that so much expansion
or shrinkage is more than the noise of sampling, not by which probability it came about. p_net tests the same null by
E - S, and rejects it also where units changed sides both ways, as many gained as lost: which way reach moved is for
McNemar's test (:mod:`leash_ray.stats.mcnemar`) and the interval of NSCR.

Units must be independent. Problems are. Distinct answers of one problem share its samples: a sample that is one answer
is not another. Expected counts stay exact (expectation is linear). E, S and E-S of a problem's answers vary *less* than
sums of independent ones, so that the standard deviations are upper bounds, and p-values below 0.2 are too large
(conservative) once several problems add up. The exception is P(E >= 1) where hardly any E is expected: answers that get
in each other's way more rarely fail all at once, and for a single problem it comes out too small by up to 4% of itself.
(By enumeration of all ways to deal up to 8 samples; not proven beyond.)

Degenerate cases: a unit with c = 0 adds nothing. No units: expected 0, every p-value 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leash_ray.stats.distinct import distinct
from leash_ray.stats.hypergeometric import hit, miss

_TRIM = 1e-30
"""Ends of a law whose probabilities are below this are dropped; what they held is added to every tail."""
_BATCH = 64
"""Units that are convolved together, many such batches at once, before each law goes its own way."""


@dataclass(frozen=True, slots=True, eq=False)
class CountLaw:
    """The exact law of an integer count."""

    low: int
    """The count that ``pmf[0]`` belongs to."""
    pmf: NDArray[np.float64]
    """[counts], of low, low + 1, ..."""
    dropped: float
    """At most this much probability lies outside; far below any p-value that matters."""
    min: int
    """No smaller count is possible."""
    max: int
    """No larger count is possible."""

    def at(self, count: int) -> float:
        """P(X = count)."""
        i = count - self.low
        return float(self.pmf[i]) if 0 <= i < len(self.pmf) else 0.0

    def at_least(self, count: int) -> float:
        """P(X >= count), never too small: 1 at the least possible count, and above 0 up to the largest."""
        return self._tail(count, count <= self.min, count > self.max, lambda i: self.pmf[max(i, 0) :])

    def at_most(self, count: int) -> float:
        """P(X <= count), never too small."""
        return self._tail(count, count >= self.max, count < self.min, lambda i: self.pmf[: max(i + 1, 0)])

    def _tail(self, count: int, sure: bool, impossible: bool, part: Callable[[int], NDArray[np.float64]]) -> float:
        if sure or impossible:
            return float(sure)
        # Smallest terms first, so that a tail keeps its relative accuracy.
        return min(1.0, float(np.sort(part(count - self.low)).sum()) + self.dropped)


@dataclass(frozen=True, slots=True)
class NullPValues:
    """p-values of one observation under the null."""

    p_E: float
    """P(E* >= E): how often chance alone expands at least so much."""
    p_S: float
    """P(S* >= S)."""
    p_net: float
    """Two-sided, for E - S."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelNull:
    """What relabelling the samples gives; E and S have the same law."""

    expected: float
    """Expected E, which is also expected S."""
    sd: float
    """Standard deviation of E, and of S, over relabellings (of unit answer: an upper bound)."""
    sd_net: float
    """Standard deviation of E - S, whose expectation is 0."""
    count: CountLaw
    """Law of E, and of S."""
    net: CountLaw
    """Law of E - S."""

    def p_values(self, E: int, S: int) -> NullPValues:
        """Exact p-values of observed counts: one-sided for E and for S, two-sided (twice the smaller tail) for E - S.

        Counts are discrete, so under the null P(p <= a) <= a: valid, and conservative where counts are small.
        """
        net = 2 * min(self.net.at_least(E - S), self.net.at_most(E - S))
        return NullPValues(self.count.at_least(E), self.count.at_least(S), min(1.0, net))

    def randomised_p_values(self, E: int, S: int, u: float = 0.5) -> NullPValues:
        """P(X > x) + u P(X = x) in place of P(X >= x).

        With ``u`` drawn uniformly from [0, 1] they are exactly uniform under the null, which a calibration study can
        test. At the default 0.5 they are mid-p-values: less conservative, no longer guaranteed.

        Raises:
            ValueError: u lies outside [0, 1].
        """
        if not 0 <= u <= 1:
            raise ValueError(f"u must lie in [0, 1]: draw it uniformly, or take 0.5 for the mid-p-value; got {u}")
        above = _above(self.net, E - S, u)
        return NullPValues(_above(self.count, E, u), _above(self.count, S, u), 2 * min(above, 1 - above))


def label_null(
    n_base: ArrayLike, c_base: ArrayLike, n_trained: ArrayLike, c_trained: ArrayLike, k: ArrayLike
) -> LabelNull:
    """The null of E and S over units, each given by the counts of its problem's samples.

    Args:
        n_base, n_trained: scored samples of the unit's problem by each policy, [units].
        c_base, c_trained: marked ones among them (correct, or equal to the answer), [units].
        k: how many samples a policy has to find a unit, 0 <= k <= both n; one for all, or [units].

    Raises:
        ValueError: not 0 <= c <= n, or k is above some n.
    """
    arrays = (np.atleast_1d(np.asarray(x, dtype=np.int64)) for x in (n_base, c_base, n_trained, c_trained, k))
    n_b, c_b, n_t, c_t, k_ = np.broadcast_arrays(*arrays)
    if np.any((c_b < 0) | (c_b > n_b) | (c_t < 0) | (c_t > n_t)):
        raise ValueError("c counts the marked ones of n samples: give 0 <= c <= n for every unit and both policies")
    if np.any((k_ < 0) | (k_ > n_b) | (k_ > n_t)):
        raise ValueError("k must not exceed the samples of any problem: give the smallest n as k")
    return _null(n_b + n_t, c_b + c_t, k_)


def split_half_floor(n: ArrayLike, c: ArrayLike, h: ArrayLike | None = None) -> LabelNull:
    """A policy against itself: a random half of its samples plays base, another, disjoint, plays trained.

    The expected E (and S) is the noise floor: what two sets of h samples of one policy differ by, averaged over all
    splits of the samples that were drawn. It is at h samples, not at n: compare it with E and S at k = h.

    Args:
        n: scored samples, [units].
        c: marked ones, [units].
        h: size of each part; default n // 2, [units] or one for all.

    Raises:
        ValueError: not 0 <= c <= n, or two parts of h do not fit into n, or h < 1.
    """
    n_, c_ = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, dtype=np.int64)) for x in (n, c)))
    h_ = n_ // 2 if h is None else np.broadcast_to(np.asarray(h, dtype=np.int64), n_.shape)
    if np.any((c_ < 0) | (c_ > n_)):
        raise ValueError("c counts the marked ones of n samples: give 0 <= c <= n for every unit")
    if np.any((h_ < 1) | (2 * h_ > n_)):
        raise ValueError("two halves of h >= 1 samples must fit into n: leave out problems with fewer than 2 samples")
    return _null(n_, c_, h_)


def _null(n: NDArray[np.int64], c: NDArray[np.int64], k: NDArray[np.int64]) -> LabelNull:
    (n_D, c_D, k_D), back = distinct(n, c, k)
    q_D = miss(n_D, c_D, k_D) * hit(n_D - k_D, c_D, k_D)
    q_U = np.minimum(q_D[back], 0.5)  # P(E) + P(S) <= 1
    q_U = np.sort(q_U[q_U > 0])[::-1]  # likes together, so that laws of rare units stay short
    return LabelNull(
        expected=float(q_U.sum()),
        sd=float(np.sqrt((q_U * (1 - q_U)).sum())),
        sd_net=float(np.sqrt(2 * q_U.sum())),
        count=law_of_sum(np.stack([1 - q_U, q_U], axis=1), 0),
        net=law_of_sum(np.stack([q_U, 1 - 2 * q_U, q_U], axis=1), -1),
    )


def law_of_sum(pmf_UV: NDArray[np.float64], lowest: int) -> CountLaw:
    """The law of a sum of independent counts, row i of which has the probabilities of lowest, lowest + 1, ...

    Only sums and products of positive numbers: every probability keeps its relative accuracy, which an FFT would not.
    """
    n_units, width = pmf_UV.shape
    bounds = (lowest * n_units, (lowest + width - 1) * n_units)
    if not n_units:
        return CountLaw(0, np.ones(1), 0.0, 0, 0)
    laws_MV, zero = pmf_UV, -lowest  # zero: the column of count 0
    for _ in range(_BATCH.bit_length() - 1):
        if len(laws_MV) == 1:
            break
        if len(laws_MV) % 2:
            laws_MV = np.vstack([laws_MV, np.eye(1, laws_MV.shape[1], zero)])
        a, b = laws_MV[::2], laws_MV[1::2]
        laws_MV = np.zeros((len(a), 2 * a.shape[1] - 1))
        for j in range(b.shape[1]):
            laws_MV[:, j : j + a.shape[1]] += a * b[:, j : j + 1]
        zero *= 2
    laws = [_trimmed(-zero, row) for row in laws_MV]
    while len(laws) > 1:
        merged = [_sum(*pair) for pair in zip(laws[::2], laws[1::2], strict=False)]
        laws = merged + laws[len(laws) - len(laws) % 2 :]
    low, pmf, dropped = laws[0]
    return CountLaw(low, pmf, dropped, *bounds)


_Law = tuple[int, NDArray[np.float64], float]


def _trimmed(low: int, pmf: NDArray[np.float64], dropped: float = 0.0) -> _Law:
    kept = np.flatnonzero(pmf >= _TRIM)
    start, stop = int(kept[0]), int(kept[-1]) + 1
    lost = float(pmf[:start].sum() + pmf[stop:].sum())
    return low + start, pmf[start:stop], dropped + lost


def _sum(a: _Law, b: _Law) -> _Law:
    return _trimmed(a[0] + b[0], np.asarray(np.convolve(a[1], b[1]), dtype=np.float64), a[2] + b[2])


def _above(law: CountLaw, count: int, u: float) -> float:
    return min(1.0, law.at_least(count + 1) + u * law.at(count))
