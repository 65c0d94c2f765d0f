"""Recipe against recipe: differences with intervals and p-values, adjusted for how many pairs are looked at.

Two questions have two p-values:

- ``p_problems``, of the lost, the gained and the net problems (or answers): do *these models* differ? Within a problem
  the recipes' labels are as likely to be the other way round: the exact law of the sum of such flips, which for one
  seed each is McNemar's test on the problems that one recipe lost and the other did not
  (:func:`leash_ray.stats.mcnemar.clustered_p`).
- ``p``: do the *recipes* differ, trained with other seeds and asked other problems of the kind? Student's t of the
  difference of means over seeds (:mod:`leash_ray.compare.seeds`). Where a recipe has one seed nobody knows: then it is
  of these models, and ``p_problems`` where there is one.

Each number's p-values are adjusted over all pairs of recipes by Holm's method (Scandinavian Journal of Statistics 6,
1979): with ``p_adjusted`` below 0.05 called a difference, the chance to call any falsely is at most 0.05, a number at a
time.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from leash_ray.compare.blocks import Block, named
from leash_ray.compare.seeds import Replicates, between
from leash_ray.measure.json import interval, number
from leash_ray.measure.pair import Floats, Ints
from leash_ray.stats.mcnemar import clustered_p

UNITS = ("problem", "answer")
EXACT = ("E", "S", "net")
"""Counts of a unit of support that have an exact test."""
_LEFT_OUT = {("problem", "P"), ("answer", "P")}
_BLOCKS_LEFT_OUT = ("gain_at_k",)
"""With one base it is the difference of pass@k."""


@dataclass(frozen=True)
class Side:
    """One recipe: of each seed its blocks and their replicates."""

    name: str
    blocks: Sequence[Sequence[Block]]
    drawn: Sequence[Replicates]


def pairs_json(sides: Sequence[Side], clusters: Ints, level: float) -> list[dict[str, Any]]:
    """Of every two recipes."""
    found = [_pair(a, b, clusters, level) for a, b in itertools.combinations(sides, 2)]
    for key in {key for pair in found for key in pair["numbers"]}:
        of = [pair["numbers"][key] for pair in found if key in pair["numbers"]]
        for p in ("p", "p_problems"):
            if p in of[0]:
                for one, adjusted in zip(of, holm([x[p] if x[p] is not None else math.nan for x in of]), strict=True):
                    one[f"{p}_adjusted"] = number(adjusted)
    return [{**pair, "numbers": _nested(pair["numbers"])} for pair in found]


def holm(p: ArrayLike) -> Floats:
    """Adjusted p-values of a family; NaN is no member of it.

    The i-th smallest of m is multiplied by m - i + 1, and is never below the one before.
    """
    p_M = np.asarray(p, dtype=np.float64)
    out = np.full_like(p_M, np.nan)
    order = np.argsort(p_M)[: int((~np.isnan(p_M)).sum())]
    times = np.arange(len(order), 0, -1)
    out[order] = np.minimum(1.0, np.maximum.accumulate(times * p_M[order])) if len(order) else []
    return out


def _pair(a: Side, b: Side, clusters: Ints, level: float) -> dict[str, Any]:
    seeds_vary = min(len(a.drawn), len(b.drawn)) > 1
    n_clusters = int(clusters.max()) + 1
    found = between(a.drawn, b.drawn, n_clusters, level, seeds_vary=seeds_vary)
    numbers: dict[tuple[str, str], dict[str, Any]] = {}
    for i, block, measure in named(a.blocks[0]):
        if block in _BLOCKS_LEFT_OUT or (block, measure) in _LEFT_OUT:
            continue
        one = {
            "difference": number(found.value_M[i]),
            "ci": interval(found.low_M[i], found.high_M[i]),
            "p": number(found.p_M[i]),
        }
        if block in UNITS and measure in EXACT:
            net = _net(a, b, block, measure, clusters)
            one |= {"p_problems": clustered_p(net), "more_a": int((net > 0).sum()), "more_b": int((net < 0).sum())}
            if not seeds_vary:
                one["p"] = one["p_problems"]
        numbers[block, measure] = one
    return {
        "a": a.name,
        "b": b.name,
        "basis": "seeds and problems" if seeds_vary else "problems",
        "numbers": numbers,
    }


def _net(a: Side, b: Side, unit: str, measure: str, clusters: Ints) -> Ints:
    """Units of ``a`` minus units of ``b`` in each cluster, over all seeds, in whole numbers however many seeds each
    has."""
    weights = {"E": (0, 1, 0), "S": (0, 0, 1), "net": (0, 1, -1)}[measure]
    divisor = math.gcd(len(a.blocks), len(b.blocks))
    times = len(b.blocks) // divisor, -len(a.blocks) // divisor
    total = sum(
        factor * (block.values.astype(np.int64) @ np.array(weights))
        for factor, side in zip(times, (a, b), strict=True)
        for blocks in side.blocks
        for block in blocks
        if block.name == unit
    )
    return np.bincount(clusters, weights=total).astype(np.int64)


def _nested(numbers: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """block -> measure -> number; a block of one number is that number."""
    out: dict[str, Any] = {}
    for (block, measure), one in numbers.items():
        if block == measure:
            out[block] = one
        else:
            out.setdefault(block, {})[measure] = one
    return out
