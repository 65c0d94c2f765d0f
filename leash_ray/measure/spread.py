"""Quantiles of completions' lengths, surprisals and token entropies, as ``policies.<policy>.quantiles`` has them.

They are over all completions of the policy, unpaired problems and ERRORs included, as ``verdicts`` is. The q-quantile
is the smallest value such that at least a share q of all is no larger. Lengths are counted, so theirs are exact. The
others come from a sketch: ``rank_error`` says by how much the share may be off, at ``rank_confidence``; 0 where the
sketch still holds every value.
"""

from typing import Any, Final

import numpy as np
import polars as pl

from leash_ray.reducers.block import VERDICTS
from leash_ray.reducers.quantiles import CONFIDENCE, MEASURES, RANK_ERROR
from leash_ray.reducers.spreads import Spreads

SHARES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def quantiles_json(spreads: Spreads, policy: str, task: str | None = None) -> dict[str, Any]:
    """Of one policy; ``task``: None for all, "" for completions that name none. What no completion has is None."""
    lengths = {v: _of_lengths(spreads.histogram(policy, task, v)) for v in (None, *VERDICTS)}
    return {
        "n_tokens": lengths.pop(None),
        "n_tokens_by_verdict": lengths,
        **{m: _of_sketch(spreads.sketch(m, policy, task)) for m in MEASURES},
    }


def _of_lengths(histogram: pl.DataFrame) -> dict[str, Any] | None:
    if not len(histogram):
        return None
    length, upto = histogram["n_tokens"].to_list(), histogram["count"].cum_sum().to_numpy()
    # In whole numbers, since 0.7 * 10 is above 7.
    asked = [-(-round(share * 100) * int(upto[-1]) // 100) for share in SHARES]
    places = np.searchsorted(upto, np.maximum(asked, 1))
    found = {str(share): length[i] for share, i in zip(SHARES, places.tolist(), strict=True)}
    return {"n": int(upto[-1]), "min": length[0], "max": length[-1], "q": found, "rank_error": 0.0}


def _of_sketch(sketch: Any | None) -> dict[str, Any] | None:
    if sketch is None:
        return None
    values = [float(v) for v in sketch.get_quantiles(SHARES, True)]
    found = dict(zip(map(str, SHARES), values, strict=True))
    bound = {"rank_error": RANK_ERROR, "rank_confidence": CONFIDENCE} if sketch.is_estimation_mode() else {}
    least, most = float(sketch.get_min_value()), float(sketch.get_max_value())
    return {"n": int(sketch.n), "min": least, "max": most, "q": found, "rank_error": 0.0, **bound}
