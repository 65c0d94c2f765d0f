"""Is E against S more uneven than a fair coin? McNemar's exact test, and an interval for the share E / (E + S).

Source: McNemar (Psychometrika 12, 1947), in the exact form: given that a unit changed sides, it is as likely to have
been gained as lost, so E is Binomial(E + S, 1/2). Intervals: Clopper and Pearson (Biometrika 26, 1934), never below its
level; Jeffreys (Brown, Cai and DasGupta, Statistical Science 16, 2001), near its level on average and shorter.

Assumptions: units change sides independently; P and O say nothing. It asks whether reach moved one way more than the
other, not whether it moved more than chance alone moves it (for that see :mod:`leash_ray.stats.null`). Given E + S, the
label-permutation null has this law too, so the test is valid under it as well.

Where units come in clusters (the answers of a problem, the variants of one), they change sides together. Then whole
clusters change sign: under the null the net change E_i - S_i of a cluster is as likely to have been its negative, and
:func:`clustered_p` is the exact law of the sum. With one unit a cluster it is McNemar's test.

Degenerate cases: with E + S = 0 nothing changed sides: p is 1, the share is NaN and its interval [0, 1].
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special


@dataclass(frozen=True, slots=True)
class McNemar:
    """The test and the share that it is about."""

    p: float
    """Exact two-sided p-value: twice the smaller tail, at most 1."""
    p_mid: float
    """Mid-p: half of the observed outcome's probability left out. Closer to its level where counts are small, no longer
    guaranteed."""
    share: float
    """E / (E + S): of the units that changed sides, the part gained. NaN if none did."""
    ci: tuple[float, float]
    """Interval of ``share``."""


def mcnemar(E: int, S: int, *, level: float = 0.95, interval: str = "clopper-pearson") -> McNemar:
    """Test E against S.

    Args:
        E, S: units found by trained only, and by base only.
        level: of the interval, inside (0, 1).
        interval: "clopper-pearson" or "jeffreys".

    Raises:
        ValueError: negative counts, or an unknown interval or level.
    """
    if E < 0 or S < 0:
        raise ValueError(f"E and S are counts: give integers >= 0; got {E} and {S}")
    low, high = share_interval(E, S, level=level, interval=interval)
    return McNemar(
        p=float(mcnemar_p(E, S)),
        p_mid=float(mcnemar_p(E, S, mid=True)),
        share=E / (E + S) if E + S else float("nan"),
        ci=(float(low), float(high)),
    )


def mcnemar_p(E: ArrayLike, S: ArrayLike, *, mid: bool = False) -> NDArray[np.float64]:
    """Two-sided exact p-values of counts of any broadcastable shape; ``mid``: mid-p-values."""
    e, s = np.broadcast_arrays(np.asarray(E, dtype=np.int64), np.asarray(S, dtype=np.int64))
    more, total = np.maximum(e, s), e + s
    # P(Binomial(total, 1/2) >= more), as a regularised incomplete beta function: exact far into the tail.
    tail = np.where(more > 0, special.betainc(np.maximum(more, 1), total - more + 1.0, 0.5), 1.0)
    if mid:
        beyond = np.where(more < total, special.betainc(more + 1.0, np.maximum(total - more, 1), 0.5), 0.0)
        tail = (tail + beyond) / 2
    return np.asarray(np.minimum(1.0, 2 * tail))


def clustered_p(net: ArrayLike) -> float:
    """Two-sided exact p-value of the net changes of clusters: P(|sum of ± net_i| >= |sum of net_i|), signs at random.

    Args:
        net: E - S of each cluster, integers, [clusters].
    """
    net_C = np.asarray(net, dtype=np.int64)
    sizes, number = np.unique(np.abs(net_C[net_C != 0]), return_counts=True)
    law = np.ones(1)  # of the sum of size * (number of pluses), from 0 up
    for size, n in zip(sizes.tolist(), number.tolist(), strict=True):
        spread = np.zeros(size * n + 1)
        spread[::size] = special.comb(n, np.arange(n + 1)) if n < 50 else np.exp(_log_comb(n))
        law = np.convolve(law, spread / spread.sum())
    total = int((sizes * number).sum())
    distance = np.abs(2 * np.arange(len(law)) - total)
    return float(min(1.0, np.sort(law[distance >= abs(int(net_C.sum()))]).sum()))


def _log_comb(n: int) -> NDArray[np.float64]:
    k = np.arange(n + 1)
    log = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return np.asarray(log - log.max())


def share_interval(
    E: ArrayLike, S: ArrayLike, *, level: float = 0.95, interval: str = "clopper-pearson"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high ends of E / (E + S), for counts of any broadcastable shape.

    Raises:
        ValueError: an unknown interval, or a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, such as 0.95; got {level}")
    e, s = np.broadcast_arrays(np.asarray(E, dtype=np.float64), np.asarray(S, dtype=np.float64))
    tail = (1 - level) / 2
    if interval == "clopper-pearson":
        low = special.betaincinv(np.maximum(e, 1), s + 1, tail)
        high = special.betainccinv(e + 1, np.maximum(s, 1), tail)
    elif interval == "jeffreys":
        low = special.betaincinv(e + 0.5, s + 0.5, tail)
        high = special.betainccinv(e + 0.5, s + 0.5, tail)
    else:
        raise ValueError(f"unknown interval {interval!r}: give 'clopper-pearson' or 'jeffreys'")
    # At the ends the one-sided limit is the end itself.
    return np.where(e == 0, 0.0, low), np.where(s == 0, 1.0, high)
