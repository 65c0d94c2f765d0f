"""Approximate numbers of answers, as ``policies.<policy>.approximate_answers`` has them: means over problems.

Where a problem has more distinct answers than are kept, its numbers are estimates, each with a standard error ``se``.
Which answers are sampled is independent from problem to problem, so the error of a mean is the root of the sum of their
squares over the number of problems. A mean is undefined if one problem's answers are not known.
"""

from typing import Any

import numpy as np
import polars as pl

from leash_ray.measure.json import number
from leash_ray.measure.pair import Floats

_MEANS = {"distinct_answers": "distinct", "once": "once", "twice": "twice", "answer_entropy": "entropy"}
"""Name in JSON -> column."""


def approximate_json(rows: pl.DataFrame, side: str, size: int) -> dict[str, Any]:
    """Of one policy.

    Args:
        rows: one row per problem, with the columns of ``Approximate.estimates`` and the suffix of the side.
        size: distinct answers that are kept of a problem.
    """

    def of(name: str) -> Floats:
        return rows[f"approximate_{name}_{side}"].cast(pl.Float64).fill_null(np.nan).to_numpy()

    sampled = of("sampled")
    found: dict[str, Any] = {
        "kept": size,
        "is_exact": not np.nansum(sampled),
        "n_problems_sampled": int(np.nansum(sampled)),
        "relative_se": number(1 / np.sqrt(size - 1)) if np.nansum(sampled) else 0.0,
    }
    for name, column in _MEANS.items():
        found[name] = {"value": _mean(of(column)), "se": _error(of(f"{column}_se"))}
    found["answer_entropy"]["at_least"] = _mean(of("entropy_at_least"))
    n, once, twice = rows[f"n_{side}"].to_numpy(), of("once"), of("twice")
    found["unseen_mass"] = _mean(once / np.maximum(n, 1))
    unseen = np.where(twice > 0, once**2 / (2 * np.maximum(twice, 1e-9)), once * (once - 1) / 2)
    found["chao1"] = _mean(of("distinct") + (n - 1) / np.maximum(n, 1) * unseen)
    return found


def _mean(values: Floats) -> float | None:
    return number(values.mean()) if len(values) else None


def _error(errors: Floats) -> float | None:
    return number(np.sqrt((errors**2).sum()) / len(errors)) if len(errors) else None
