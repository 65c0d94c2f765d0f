"""Support of one unit with all that says how far to trust it: intervals, what chance gives, the k-sweep, a label.

The units are problems, or the distinct correct answers of problems. Whichever they are, problems are resampled: the
answers of a problem come and go together.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from leash_ray.measure.columns import Columns
from leash_ray.measure.json import interval, number
from leash_ray.measure.pair import SIDES, Floats, Ints, Pair, within
from leash_ray.stats.behaviour import behaviour
from leash_ray.stats.bootstrap import Intervals
from leash_ray.stats.hypergeometric import hit, miss
from leash_ray.stats.mcnemar import clustered_p
from leash_ray.stats.null import label_null, split_half_floor
from leash_ray.stats.small_counts import SMALL, jeffreys_support
from leash_ray.stats.support import METRICS, support_metrics
from leash_ray.stats.sweep import Counts, support_sweep


@dataclass(frozen=True, slots=True)
class Units:
    """What may be found, U of them, and how often each policy did. All [U], base's and trained's."""

    name: str
    problem: Ints
    n: tuple[Ints, Ints]
    """Scored samples of the unit's problem."""
    c: tuple[Ints, Ints]
    """Those that find the unit."""
    first: tuple[Ints, Ints]
    """Scored samples before the first one that does; -1: none does."""
    k: int
    """A unit is found if it is among the first k scored samples of its problem."""
    odd: tuple[tuple[Ints, Ints], tuple[Ints, Ints]] | None = None
    """Of base and of trained, those of n and of c with an odd sample index; None: unknown."""

    @property
    def neither_is_known(self) -> bool:
        """Whether units that nobody found are among them."""
        return self.name == "problem"


def units_of(pair: Pair) -> list[Units]:
    """Problems, and answers where they are known."""
    base, trained = pair.sides
    places = np.arange(len(pair))
    counts = (base.n, trained.n), (base.c, trained.c)
    odd = None if base.odd is None or trained.odd is None else (base.odd, trained.odd)
    found = [Units("problem", places, *counts, (base.first, trained.first), pair.k_known, odd)]
    if (correct := pair.correct) is not None:
        n = base.n[correct.problem], trained.n[correct.problem]
        if odd is not None and (c_odd := correct.correct_odd) is not None:
            odd = (odd[0][0][correct.problem], c_odd[0]), (odd[1][0][correct.problem], c_odd[1])
        found.append(Units("answer", correct.problem, n, correct.correct, correct.before, pair.k, odd))
    return found


def _net(units: Units, pair: Pair) -> Ints:
    """Gained minus lost units of each cluster."""
    base, trained = (within(first, units.k).astype(np.int64) for first in units.first)
    of = units.problem if pair.clusters is None else pair.clusters[units.problem]
    return np.bincount(of, weights=trained - base).astype(np.int64)


def _metrics(means: Floats) -> Floats:
    found = support_metrics(means[..., 0], means[..., 1], means[..., 2])
    return np.stack([found[m] for m in METRICS], axis=-1)


def add_support(columns: Columns, units: Units, pair: Pair) -> None:
    """P, E and S of each problem, for the bootstrap of :func:`support_json`."""
    base, trained = (within(first, units.k) for first in units.first)
    groups = (base & trained, ~base & trained, base & ~trained)
    per_problem = [np.bincount(units.problem[g], minlength=len(pair)) for g in groups]
    columns.add(f"support/{units.name}", np.stack(per_problem, axis=1), _metrics)


def support_json(
    units: Units,
    pair: Pair,
    found: Mapping[str, Intervals],
    *,
    zeta: float,
    level: float,
    labels_may_move: bool = True,
) -> dict[str, Any]:
    """What is added to ``support.<unit>``. ``labels_may_move``: whether the units' counts are plain counts of samples,
    so that relabelling the samples says what chance gives; never where sampling stopped early, since then the counts
    depend on the order of the samples."""
    labels_may_move = labels_may_move and not pair.stopped_early
    sweep = support_sweep(
        *units.first,
        units.n[0],
        units.c[0],
        units.n[1],
        units.c[1],
        units.k,
        zeta=zeta,
        neither_is_known=units.neither_is_known,
    )
    P, E, S = (int(count[-1]) if len(count) else 0 for count in (sweep.observed.P, sweep.observed.E, sweep.observed.S))
    limits, method = _limits(units, pair, found[f"support/{units.name}"], (P, E, S), level)
    value = dict(zip(METRICS, found[f"support/{units.name}"].value.tolist(), strict=True))
    shown = behaviour(*(x for m in ("SRR", "NDR", "NSCR") for x in (value[m], limits[m])))  # type: ignore[arg-type]
    return {
        "ci": {name: interval(*pair_) for name, pair_ in limits.items()},
        "ci_method": method,
        "null": _null_json(units, units.k, E, S) if labels_may_move else None,
        "noise_floor": _floors(units) if labels_may_move else None,
        "mcnemar_p": clustered_p(_net(units, pair)),
        "behaviour": {**asdict(shown), "possible": list(shown.possible)},
        "sweep": {
            "k": sweep.ks.tolist(),
            "epsilon": [number(e) for e in sweep.epsilon],
            "observed": _counts_json(sweep.observed),
            "expected": _counts_json(sweep.expected),
        },
    }


def _limits(
    units: Units, pair: Pair, found: Intervals, counts: tuple[int, int, int], level: float
) -> tuple[dict[str, tuple[float, float]], str]:
    """Intervals by metric, and how they were found."""
    if min(counts) >= SMALL:
        limits = zip(found.low.tolist(), found.high.tolist(), strict=True)
        return dict(zip(METRICS, limits, strict=True)), "bca" if found.bca.all() else "percentile"
    reached = np.unique(units.problem[(units.c[0] > 0) | (units.c[1] > 0)])
    clusters = reached if pair.clusters is None else np.unique(pair.clusters[reached])
    small = jeffreys_support(*counts, level=level, n_clusters=len(clusters))
    return {m: (float(low), float(high)) for m, (low, high) in zip(METRICS, small, strict=True)}, "jeffreys"


def _null_json(units: Units, k: int, E: int, S: int) -> dict[str, Any]:
    null = label_null(units.n[0], units.c[0], units.n[1], units.c[1], k)
    p = null.p_values(E, S)
    return {
        "E": null.expected,
        "S": null.expected,
        "sd": null.sd,
        "sd_net": null.sd_net,
        "p_E": p.p_E,
        "p_S": p.p_S,
        "p_net": p.p_net,
    }


def _floors(units: Units) -> dict[str, Any] | None:
    """Each policy against itself: E (and as much S) between two halves of its samples, and E and S between the policies
    at as many samples, over all orders; None where they are too few."""
    h = min(int(n.min()) for n in units.n) // 2 if len(units.problem) else 0
    if h < 1:
        return None
    floors = {s: split_half_floor(n, c, h) for s, n, c in zip(SIDES, units.n, units.c, strict=True)}
    found, missed = ([f(n, c, h) for n, c in zip(units.n, units.c, strict=True)] for f in (hit, miss))
    return {
        "k": h,
        **{s: {"E": f.expected, "S": f.expected, "sd": f.sd} for s, f in floors.items()},
        "policies": {"E": float(missed[0] @ found[1]), "S": float(found[0] @ missed[1])},
        "halves": _halves(units),
    }


def _halves(units: Units) -> dict[str, Any] | None:
    """Each policy against itself, by one split: its samples with an even index play base, those with an odd one
    trained. All at as many samples, the fewest that a half has of any problem; of a half with more, the mean over all
    choices of so many. None: some half of a problem is empty."""
    if units.odd is None:
        return None
    odd = units.odd
    even = [(n - of[0], c - of[1]) for n, c, of in zip(units.n, units.c, odd, strict=True)]
    h = min(int(n.min()) for n, _ in (*even, *odd))
    if h < 1:
        return None
    found: dict[str, Any] = {"k": h}
    for side, of_even, of_odd in zip(SIDES, even, odd, strict=True):
        hit_even, hit_odd = (hit(n, c, h) for n, c in (of_even, of_odd))
        miss_even, miss_odd = (miss(n, c, h) for n, c in (of_even, of_odd))
        counts = {"P": hit_even @ hit_odd, "E": miss_even @ hit_odd, "S": hit_even @ miss_odd}
        neither = float(miss_even @ miss_odd) if units.neither_is_known else None
        found[side] = {**{name: float(count) for name, count in counts.items()}, "O": neither}
    return found


def _counts_json(counts: Counts) -> dict[str, list[float | None]]:
    columns = {"P": counts.P, "E": counts.E, "S": counts.S, "O": counts.O, **counts.metrics}
    return {name: [number(v) for v in column] for name, column in columns.items()}
