"""The figures of a report. Pure: numbers to SVG."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from leash_ray.report.figures.audits import audit_curves
from leash_ray.report.figures.curves import accumulation, cover_at_tau, pass_at_k
from leash_ray.report.figures.quadrants import entropy_quadrants
from leash_ray.report.figures.series import series_curves
from leash_ray.report.figures.spread import answer_entropy, solve_rates
from leash_ray.report.figures.support import against_chance, support_bars
from leash_ray.report.figures.sweep import support_sweep
from leash_ray.report.figures.tilt import tilted_curves
from leash_ray.report.read import Support
from leash_ray.report.svg import Figure
from leash_ray.report.training import training_curves

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "accumulation",
    "against_chance",
    "all_figures",
    "answer_entropy",
    "audit_curves",
    "cover_at_tau",
    "entropy_quadrants",
    "pass_at_k",
    "series_curves",
    "solve_rates",
    "support_bars",
    "support_sweep",
    "tilted_curves",
]


def all_figures(
    support: Support, per_problem: "pa.Table | None", metrics: Sequence[Mapping[str, Any]]
) -> dict[str, Figure]:
    """Every figure of the report by its name."""
    made = [
        pass_at_k(support),
        support_bars(support),
        against_chance(support),
        support_sweep(support),
        cover_at_tau(support),
        accumulation(support),
        answer_entropy(support, per_problem),
        solve_rates(support, per_problem),
        entropy_quadrants(support, per_problem),
        tilted_curves(support),
        series_curves(support),
        training_curves(metrics),
        audit_curves(metrics),
    ]
    return {figure.name: figure for figure in made}
