"""Curves over k and over tau: pass@k, coverage, Cover@tau, distinct correct answers; where pass@k crosses; guessing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from leash_ray.measure.columns import Columns
from leash_ray.measure.json import interval, number, with_ci
from leash_ray.measure.pair import SIDES, Floats, Ints, Pair
from leash_ray.stats.bootstrap import Intervals
from leash_ray.stats.cover import guesser_pass_at_k, reliably_solved
from leash_ray.stats.crossing import crossing
from leash_ray.stats.passk import coverage_at_k, pass_at_k, powers_of_two_up_to
from leash_ray.stats.rare import difference_intervals, share_intervals
from leash_ray.stats.richness import accumulation

TAUS = (0.01, 0.02, 0.05, *(i / 10 for i in range(1, 10)), 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Curve:
    """A number of each problem at each place of an axis."""

    name: str
    at: tuple[str, ...]
    """The places, as JSON keys, [K]."""
    values: tuple[Floats, Floats]
    """Of base and of trained, [N, K] each."""
    is_share: bool
    """Whether the values lie between 0 and 1."""


def curves_of(pair: Pair) -> list[Curve]:
    """All curves that can be had of ``pair``."""
    base, trained = pair.sides
    ks = powers_of_two_up_to(pair.k)
    at_k = tuple(map(str, ks))
    taus = tuple(f"{tau:g}" for tau in TAUS)
    budget_ks = powers_of_two_up_to(budget(pair))
    found = [
        Curve("pass_at_k", at_k, (pass_at_k(base.n, base.c, ks), pass_at_k(trained.n, trained.c, ks)), True),
        Curve(
            "coverage_at_k",
            tuple(map(str, budget_ks)),
            (
                coverage_at_k(base.first_index, base.observed, budget_ks),
                coverage_at_k(trained.first_index, trained.observed, budget_ks),
            ),
            True,
        ),
        Curve(
            "cover_at_tau",
            taus,
            (reliably_solved(base.n, base.c, TAUS), reliably_solved(trained.n, trained.c, TAUS)),
            True,
        ),
    ]
    values = (np.full((len(pair), len(ks)), np.nan),) * 2
    if (correct := pair.correct) is not None:
        values = tuple(  # type: ignore[assignment]
            accumulation(count, correct.problem, side.n, ks)
            for count, side in zip(correct.correct, pair.sides, strict=True)
        )
    found.append(Curve("distinct_correct_at_k", at_k, values, False))
    return found


def budget(pair: Pair) -> int:
    """The largest k at which it is known of every problem and policy whether a correct sample is among the first k.

    Sampling that stops at a problem's first correct sample leaves few samples of easy problems; their hits are known at
    every k up to the budget. At least ``pair.k`` where no index is missing.
    """
    never = [side.observed[side.first_index < 0] for side in pair.sides]
    unsolved = np.concatenate(never)
    most = max((int(side.observed.max(initial=0)) for side in pair.sides), default=0)
    return max(pair.k, min(int(unsolved.min()), most) if len(unsolved) else most)


def add_curves(columns: Columns, curves: list[Curve]) -> None:
    """Their columns, for the bootstrap of :func:`curves_json`: base, trained, trained minus base."""

    def statistic(m: Floats) -> Floats:
        half = m.shape[-1] // 2
        base, trained = m[..., :half], m[..., half:]
        return np.concatenate([base, trained, trained - base], axis=-1)

    def crossing_point(m: Floats) -> Floats:
        half = m.shape[-1] // 2
        return crossing(ks, m[..., :half], m[..., half:]).k[..., None]

    for curve in curves:
        values = np.concatenate(curve.values, axis=1)
        columns.add(f"curve/{curve.name}", values, statistic)
        if curve.name == "pass_at_k" and curve.at:
            ks = np.array([int(k) for k in curve.at])
            columns.add("crossing", values, crossing_point)


def curves_json(
    curves: list[Curve], found: Mapping[str, Intervals], clusters: Ints | None, level: float
) -> tuple[tuple[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    """(curves of base, of trained), (their intervals), differences with intervals; by name, then place."""
    values: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    intervals: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    difference: dict[str, Any] = {}
    for curve in curves:
        of, n = found[f"curve/{curve.name}"], len(curve.at)
        parts = [Intervals(*(getattr(of, f)[i * n : (i + 1) * n] for f in Intervals.__slots__)) for i in range(3)]
        limits = [(p.low, p.high) for p in parts]
        if curve.is_share:
            limits = [share_intervals(v, p, clusters, level) for v, p in zip(curve.values, parts, strict=False)]
            limits.append(difference_intervals(curve.values[1] - curve.values[0], parts[2], clusters, level))
        for i in range(len(SIDES)):
            values[i][curve.name] = {at: number(v) for at, v in zip(curve.at, parts[i].value, strict=True)}
            intervals[i][curve.name] = {at: interval(*x) for at, *x in zip(curve.at, *limits[i], strict=True)}
        difference[curve.name] = {at: with_ci(*x) for at, *x in zip(curve.at, parts[2].value, *limits[2], strict=True)}
    return values, intervals, difference


def crossing_json(curves: list[Curve], found: Mapping[str, Intervals]) -> dict[str, Any] | None:
    """Where the pass@k curves cross; None where there are none. ci: quantiles of the replicates that cross at all."""
    curve = next((c for c in curves if c.name == "pass_at_k" and c.at), None)
    if curve is None:
        return None
    at = found["crossing"]
    means = [v.mean(axis=0) for v in curve.values]
    direction = int(crossing([int(k) for k in curve.at], *means).direction)
    words = {-1: "base overtakes", 0: "none", 1: "trained overtakes"}
    return {
        "k": number(round(at.value[0], 9)),
        "ci": interval(round(at.low[0], 9), round(at.high[0], 9)),
        "direction": words[direction],
        "share_of_replicates": float(at.defined[0]),
    }


def guessing_json(pair: Pair) -> dict[str, Any] | None:
    """What a blind guesser would reach; None where no guess rate is known."""
    if pair.guess is None or np.isnan(pair.guess).all():
        return None
    known = ~np.isnan(pair.guess)
    ks = powers_of_two_up_to(pair.k)
    guesser = guesser_pass_at_k(pair.guess[known], ks)
    return {
        "n_problems": int(known.sum()),
        "mean_rate": float(pair.guess[known].mean()),
        "pass_at_k": {str(k): number(v) for k, v in zip(ks, guesser, strict=True)},
    }
