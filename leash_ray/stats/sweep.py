"""P, E, S, O at every k: the answer to "does it expand?" depends on how many samples one looks at.

Two versions at each k = 1, 2, 4, ..., K:

- observed: from the first k samples in the order they were drawn; one order, so it jumps.
- expected: the mean of the same counts over all orders of the same samples, exact by rarefaction (Hurlbert, Ecology 52,
  1971): a policy finds a unit with c marked of n samples among k of them with probability 1 - C(n-c, k) / C(n, k). The
  policies' orders are independent, so P, E, S and O are sums of products::

      E(k) = sum over units of miss(n_b, c_b, k) hit(n_t, c_t, k)        and so on

Metrics (SRR, NDR, SDS, NSCR) of the expected counts are ratios of expectations, not expectations of ratios.

Assumptions: a problem's samples are exchangeable. Where a policy has n = K samples of a problem, both versions agree at
K. A policy with more than K samples of a problem uses all of them in the expected version.

Degenerate cases: K = 0: no k at all. A metric that is 0/0 is NaN. O of unit ``answer`` is NaN: nobody lists the answers
that nobody found.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leash_ray.stats.distinct import distinct
from leash_ray.stats.hypergeometric import hit
from leash_ray.stats.passk import powers_of_two_up_to
from leash_ray.stats.support import epsilon, support_metrics


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """P, E, S, O at each k, [K], and their metrics. Observed ones are whole numbers, floats for NaN's sake."""

    P: NDArray[np.float64]
    E: NDArray[np.float64]
    S: NDArray[np.float64]
    O: NDArray[np.float64]  # noqa: E741 - the paper's letter
    """NaN where it is unknowable."""

    @property
    def metrics(self) -> dict[str, NDArray[np.float64]]:
        """SRR, NDR, SDS, NSCR, each [K]."""
        return support_metrics(self.P, self.E, self.S)


@dataclass(frozen=True, slots=True, eq=False)
class SupportSweep:
    """Support at every k."""

    ks: NDArray[np.int64]
    """[K]: 1, 2, 4, ... and the largest."""
    epsilon: NDArray[np.float64]
    """[K]: the largest probability that k misses allow at the ζ in use."""
    observed: Counts
    expected: Counts


def support_sweep(
    first_base: ArrayLike,
    first_trained: ArrayLike,
    n_base: ArrayLike,
    c_base: ArrayLike,
    n_trained: ArrayLike,
    c_trained: ArrayLike,
    k: int,
    *,
    zeta: float = 0.05,
    neither_is_known: bool = True,
) -> SupportSweep:
    """Support of units (problems, or distinct correct answers) at 1, 2, 4, ... up to ``k``.

    Args:
        first_base, first_trained: scored samples before the first marked one (correct, or equal to the answer),
            [units]; negative: none is marked.
        n_base, n_trained: scored samples of the unit's problem, [units].
        c_base, c_trained: marked ones among them, [units].
        k: the largest k; it must be known of every unit whether it is marked among the first k, so above a unit's n
            only where that unit is marked. The expected version is NaN above the smallest n.
        zeta: 1 - confidence of ``epsilon``.
        neither_is_known: whether units that neither policy found are among those given: True for problems, False for
            answers, whose O is then NaN.

    Raises:
        ValueError: shapes differ, k is above some n, a count is impossible, ``first`` contradicts c, or zeta is outside
            (0, 1).
    """
    sides = [
        tuple(np.atleast_1d(np.asarray(x, dtype=np.int64)) for x in side)
        for side in ((first_base, n_base, c_base), (first_trained, n_trained, c_trained))
    ]
    if len({x.shape for side in sides for x in side}) > 1:
        raise ValueError("give one first, n and c per unit and policy, in the same order of units")
    for first, n, c in sides:
        if np.any((c < 0) | (c > n)):
            raise ValueError("c counts the marked ones of n samples: give 0 <= c <= n for every unit and policy")
        if np.any((n < k) & (c == 0)) or k > max((int(n.max(initial=0)) for _, n, _ in sides), default=0) > 0:
            raise ValueError(f"k = {k} is above the samples of some problem: give the smallest n as k")
        if np.any((first >= 0) != (c > 0)) or np.any(first > n - c):
            raise ValueError("first and c contradict each other: first is negative where c = 0, else at most n - c")
    ks = powers_of_two_up_to(k)
    ks_K = np.array(ks, dtype=np.int64)
    found_base, found_trained = (
        ((first[:, None] >= 0) & (first[:, None] < ks_K)).astype(float) for first, _, _ in sides
    )
    hit_base, hit_trained = (_hits(n, c, ks_K) for _, n, c in sides)
    return SupportSweep(
        ks=ks_K,
        epsilon=np.array([epsilon(zeta, one) for one in ks]),
        observed=_counts(found_base, found_trained, neither_is_known),
        expected=_counts(hit_base, hit_trained, neither_is_known),
    )


def _hits(n: NDArray[np.int64], c: NDArray[np.int64], ks_K: NDArray[np.int64]) -> NDArray[np.float64]:
    """[units, K]; NaN where some unit has too few samples."""
    (n_D, c_D), back = distinct(n, c)
    found = hit(n_D[:, None], c_D[:, None], np.minimum(ks_K, n_D[:, None]))[back]
    return np.where(ks_K <= n.min(initial=np.iinfo(np.int64).max), found, np.nan)


def _counts(base_UK: NDArray[np.float64], trained_UK: NDArray[np.float64], neither_is_known: bool) -> Counts:
    def total(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.einsum("uk,uk->k", a, b))

    neither = total(1 - base_UK, 1 - trained_UK)
    return Counts(
        P=total(base_UK, trained_UK),
        E=total(1 - base_UK, trained_UK),
        S=total(base_UK, 1 - trained_UK),
        O=neither if neither_is_known else np.full_like(neither, np.nan),
    )
