"""Everything that is measured of one group of problems: of one task, or of all."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from leash_ray.measure.columns import Columns
from leash_ray.measure.curves import add_curves, crossing_json, curves_json, curves_of, guessing_json
from leash_ray.measure.means import add_means, means_json, means_of, quadrants_json
from leash_ray.measure.measuring import Measuring
from leash_ray.measure.pair import Pair
from leash_ray.measure.soft import add_soft, soft_json, soft_of
from leash_ray.measure.support import add_support, support_json, units_of
from leash_ray.measure.tilting import add_concentration, concentration_of, tilting_json


@dataclass(frozen=True, slots=True)
class Measured:
    """What is added to the estimates of a group, as JSON-able values."""

    support: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By unit."""
    policies: tuple[dict[str, Any], dict[str, Any]] = field(default_factory=lambda: ({}, {}))
    """Of base and of trained."""
    group: dict[str, Any] = field(default_factory=dict)
    """Beside them."""


def measure(pair: Pair, found_by: Pair, how: Measuring) -> Measured:
    """Measure ``pair``; nothing for no problems. ``found_by``: the same, with what counts as found for support."""
    if not len(pair):
        return Measured()
    level = how.config.confidence
    n_clusters = len(pair) if pair.clusters is None else len(np.unique(pair.clusters))
    units, curves, means = units_of(found_by), curves_of(pair), means_of(pair)
    soft = {prior: soft_of(pair, how.zeta, prior) for prior in ("joint", "jeffreys")}
    concentrated = concentration_of(pair, how.config.seed)
    columns = Columns()
    for unit in units:
        add_support(columns, unit, pair)
    add_soft(columns, soft, len(pair))
    add_concentration(columns, concentrated)
    add_curves(columns, curves)
    add_means(columns, means)
    found = columns.intervals(how.resampling(pair.clusters))

    curve_values, curve_limits, curve_changes = curves_json(curves, found, pair.clusters, level)
    mean_values, mean_limits, mean_changes = means_json(means, found)
    policies = tuple(
        {**curve_values[i], **mean_values[i], "ci": {**curve_limits[i], **mean_limits[i]}} for i in range(2)
    )
    return Measured(
        support={
            unit.name: support_json(
                unit, pair, found, zeta=how.zeta, level=level, labels_may_move=not how.config.above_guessing
            )
            for unit in units
        },
        policies=policies,  # type: ignore[arg-type]
        group={
            "confidence": level,
            "n_clusters": n_clusters,
            "above_guessing": how.config.above_guessing,
            "soft_support": soft_json(soft, found),
            "difference": {**curve_changes, **mean_changes},
            "entropy_quadrants": quadrants_json(pair, means),
            "crossing": crossing_json(curves, found),
            "guessing": guessing_json(pair),
            "tilt": tilting_json(pair, found, concentrated),
        },
    )
