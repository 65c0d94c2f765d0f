"""Soft support: how many problems lie above epsilon, by the posterior, with intervals."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from leash_ray.measure.columns import Columns
from leash_ray.measure.json import interval, number
from leash_ray.measure.pair import Floats, Pair
from leash_ray.stats.bootstrap import Intervals
from leash_ray.stats.soft import SoftSupport, posterior_above, soft_support
from leash_ray.stats.support import METRICS, epsilon, support_metrics

NAMES = ("P", "E", "S", "O", *METRICS)


def epsilons(pair: Pair, zeta: float) -> Floats:
    """Each problem's own epsilon, [N]: by the fewer of both policies' samples of it; where sampling stopped early, that
    of the k at which all are known."""
    if pair.stopped_early:
        return np.full(len(pair), epsilon(zeta, pair.k_known))
    fewest = np.minimum(pair.base.n, pair.trained.n)
    distinct, back = np.unique(fewest, return_inverse=True)
    return np.array([epsilon(zeta, int(k)) for k in distinct])[back]


def above_epsilon(pair: Pair, zeta: float) -> tuple[Floats, Floats]:
    """P(p > epsilon) of base and of trained, [N] each, under Jeffreys' prior."""
    at = epsilons(pair, zeta)
    base, trained = (posterior_above(side.n, side.c, at) for side in pair.sides)
    return base, trained


def soft_of(pair: Pair, zeta: float, prior: str) -> SoftSupport:
    """Probabilities of P, E, S and O, problem by problem."""
    base, trained = pair.sides
    return soft_support(base.n, base.c, trained.n, trained.c, epsilons(pair, zeta), prior=prior)


def add_soft(columns: Columns, soft: Mapping[str, SoftSupport], n_problems: int) -> None:
    """Their columns, for the bootstrap of :func:`soft_json`. The prior is held as fitted to all problems."""

    def statistic(m: Floats) -> Floats:
        metrics = support_metrics(m[..., 0], m[..., 1], m[..., 2])
        return np.concatenate([n_problems * m, np.stack([metrics[name] for name in METRICS], axis=-1)], axis=-1)

    for prior, of in soft.items():
        columns.add(f"soft/{prior}", np.stack([of.P, of.E, of.S, of.O], axis=1), statistic)


def soft_json(soft: Mapping[str, SoftSupport], found: Mapping[str, Intervals]) -> dict[str, Any]:
    """Expected counts and their metrics with intervals, by the prior that was asked for."""
    out: dict[str, Any] = {}
    for prior, of in soft.items():
        at = found[f"soft/{prior}"]
        out[prior] = {
            **{name: number(value) for name, value in zip(NAMES, at.value, strict=True)},
            "ci": {name: interval(*limits) for name, *limits in zip(NAMES, at.low, at.high, strict=True)},
            "prior": of.prior,
        }
    return out
