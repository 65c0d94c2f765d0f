"""Support counts P, E, S, O, and what the paper makes of them.

Source: Wu et al., "The Invisible Leash" (arXiv 2507.14843), definition of empirical support and §3's metrics::

    SRR  = P / (P + S)                    how much of the base's support is kept
    NDR  = E / (P + E)                    how much of the trained policy's support is new
    SDS  = 2 SRR NDR / (SRR + NDR)        their harmonic mean
    NSCR = (E - S) / (P + E + S)          net change

Assumption: k samples per unit stand for support. A unit that k samples miss may still have a probability of up to
:func:`epsilon`, so S and E mean "not seen in k samples", not "impossible".

Degenerate cases: 0/0 is NaN, never 0. SDS is 0 when SRR + NDR > 0 and one of them is 0.
"""

import math
from collections.abc import Hashable, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

METRICS = ("SRR", "NDR", "SDS", "NSCR")


@dataclass(frozen=True, slots=True)
class Support:
    """Counts of units by who found them."""

    P: int
    """Preserved: found by base and trained."""
    E: int
    """Expanded: found by trained only."""
    S: int
    """Shrunk: found by base only."""
    O: int | None  # noqa: E741 - the paper's letter
    """Out of support: found by neither. None where it is unknowable: nobody lists the answers that nobody found."""

    def metrics(self) -> dict[str, float]:
        """SRR, NDR, SDS and NSCR; NaN where undefined."""
        return {name: float(value) for name, value in support_metrics(self.P, self.E, self.S).items()}


def support_metrics(P: ArrayLike, E: ArrayLike, S: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """SRR, NDR, SDS and NSCR of counts of any (broadcastable) shape, such as bootstrap replicates."""
    p, e, s = (np.asarray(x, dtype=np.float64) for x in (P, E, S))
    srr = _ratio(p, p + s)
    ndr = _ratio(e, p + e)
    return {"SRR": srr, "NDR": ndr, "SDS": _ratio(2 * srr * ndr, srr + ndr), "NSCR": _ratio(e - s, p + e + s)}


def problem_support(solved_base: ArrayLike, solved_trained: ArrayLike) -> Support:
    """Count problems. Both arguments are boolean [problems], in the same order of problems.

    Raises:
        ValueError: the shapes differ.
    """
    base, trained = np.asarray(solved_base, dtype=bool), np.asarray(solved_trained, dtype=bool)
    if base.shape != trained.shape:
        raise ValueError(f"one flag per problem and policy is needed: shapes {base.shape} and {trained.shape} differ")
    return Support(
        P=int(np.sum(base & trained)),
        E=int(np.sum(~base & trained)),
        S=int(np.sum(base & ~trained)),
        O=int(np.sum(~base & ~trained)),
    )


def answer_support(found_base: Set[Hashable], found_trained: Set[Hashable]) -> Support:
    """Count distinct correct (problem, answer) pairs found by each policy. O is unknowable, so None."""
    return Support(
        P=len(found_base & found_trained),
        E=len(found_trained - found_base),
        S=len(found_base - found_trained),
        O=None,
    )


def epsilon(zeta: float, k: int) -> float:
    """The largest probability that k misses still allow at confidence 1 - zeta: -ln(zeta) / k.

    The exact bound is 1 - zeta**(1/k); the paper's form is its upper bound and equal to first order in 1/k, so for
    small k it can exceed 1. Infinite for k = 0: no sample rules out nothing.

    Raises:
        ValueError: zeta is not inside (0, 1), or k is negative.
    """
    if not 0 < zeta < 1:
        raise ValueError(f"zeta must lie strictly between 0 and 1, such as 0.05; got {zeta}")
    if k < 0:
        raise ValueError(f"k must not be negative; got {k}")
    return -math.log(zeta) / k if k else math.inf


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.divide(a, b))  # every numerator here is 0 where its denominator is 0: NaN, not inf
