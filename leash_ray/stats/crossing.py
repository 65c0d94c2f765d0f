"""The k at which two pass@k curves cross.

RLVR raises pass@1; where its curve then flattens, the base overtakes it at some k. That k is found on the mean curves:
linear interpolation of their difference on log2 k, between the last k before and the first after the change of sign.

Assumptions: the curves are as good as straight between neighbouring ks on the log2 axis, and only the first crossing
matters. For an interval, bootstrap the curves and take quantiles over replicates, with the share of replicates that
cross beside it: a replicate that never crosses within the largest k has no crossing point, and leaving it out bends the
interval downwards.

Degenerate cases: NaN where the curves never cross. Touching is no crossing: curves that meet and part on the same side,
or that end equal (both at 1), do not cross; :attr:`Crossing.meets` tells where they first meet. Where they lie on each
other for a while and part on the other side, the crossing is the k at which they first met. Equal at the first ks
counts as not yet begun. A curve ends at its first NaN. Curves that are equal throughout neither cross nor meet.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """The first crossing of each pair of curves; shapes are the leading axes of the curves (replicates)."""

    k: NDArray[np.float64]
    """Where they cross, in units of k, not rounded; NaN: never."""
    direction: NDArray[np.int64]
    """-1: base overtakes (trained was above), 1: trained overtakes, 0: they never cross."""
    meets: NDArray[np.float64]
    """Where the difference first becomes 0 or changes sign, after it was not 0; NaN: never."""


def crossing(ks: ArrayLike, base: ArrayLike, trained: ArrayLike) -> Crossing:
    """First crossing of curves.

    Args:
        ks: rising, >= 1, [K].
        base, trained: mean pass@k, [..., K], of shapes that broadcast.

    Raises:
        ValueError: ks do not rise from at least 1, or the curves have another length.
    """
    ks_K = np.asarray(ks, dtype=np.float64)
    if ks_K.ndim != 1 or np.any(np.diff(ks_K) <= 0) or np.any(ks_K < 1):
        raise ValueError("ks must rise, from at least 1: give 1, 2, 4, ...")
    d = np.asarray(trained, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    if d.ndim == 0 or d.shape[-1] != len(ks_K):
        raise ValueError(f"curves need one value per k in their last axis: {len(ks_K)} ks, curves of shape {d.shape}")
    lead, width = d.shape[:-1], d.shape[-1]
    if not width:
        return Crossing(np.full(lead, np.nan), np.zeros(lead, dtype=np.int64), np.full(lead, np.nan))
    ended = np.logical_or.accumulate(np.isnan(d), axis=-1)
    d = np.where(ended, 0.0, d)
    sign = np.sign(d).astype(np.int64)
    # The last k at or before each one where the curves differ; -1: none.
    differ = np.maximum.accumulate(np.where(sign != 0, np.arange(width), -1), axis=-1)
    before = np.concatenate([np.full((*lead, 1), -1), differ[..., :-1]], axis=-1)
    began = before >= 0
    flips = began & (sign == -np.take_along_axis(sign, np.maximum(before, 0), axis=-1)) & (sign != 0)
    meets = began & (flips | (sign == 0)) & ~ended
    log_k = np.log2(ks_K)

    def first(events: NDArray[np.bool_]) -> NDArray[np.float64]:
        at = np.argmax(events, axis=-1)
        start = np.maximum(np.take_along_axis(before, at[..., None], axis=-1)[..., 0], 0)
        # Right after the curves last differed they meet: on the way to the next k, or there.
        stop = np.minimum(start + 1, width - 1)
        d0, d1 = (np.take_along_axis(d, i[..., None], axis=-1)[..., 0] for i in (start, stop))
        with np.errstate(invalid="ignore", divide="ignore"):
            log = log_k[start] + (log_k[stop] - log_k[start]) * (d0 / (d0 - d1))
        return np.exp2(np.where(events.any(axis=-1), log, np.nan))

    at = np.argmax(flips, axis=-1)
    direction = np.where(flips.any(axis=-1), np.take_along_axis(sign, at[..., None], axis=-1)[..., 0], 0)
    return Crossing(first(flips), direction, first(meets))
