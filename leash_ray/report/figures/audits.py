"""The leash while training: what each audit found, with its intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.figures.common import METRIC_COLORS, data, named_color, rule, same_axis
from leash_ray.report.parts.audits import audits_of
from leash_ray.report.svg import GROUP_COLORS, ROLE_COLORS, Figure, figure, missing


def audit_curves(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """Three panels over steps: P, E and S; SRR and NSCR with their intervals; pass@1 of base and trained."""
    import altair as alt

    name, title = "audits", "The leash while training"
    audits = audits_of(metrics)
    if not audits:
        return missing(name, title, "Training was not audited.")
    panels: list[tuple[str, dict[str, str], dict[str, str]]] = [
        ("P, E and S, problems", {g: GROUP_COLORS[g] for g in "PES"}, {g: f"problem/{g}" for g in "PES"}),
        ("SRR and NSCR", {m: METRIC_COLORS[m] for m in ("SRR", "NSCR")}, {m: f"problem/{m}" for m in ("SRR", "NSCR")}),
        ("pass@1", ROLE_COLORS, {role: f"{role}/pass_at_k/1" for role in ROLE_COLORS}),
    ]
    charts = []
    for label, colors, keys in panels:
        points = [point for key, column in keys.items() for row in audits if (point := _point(row, key, column))]
        if points:
            layers = _layers(points, colors)
            if label.startswith("SRR"):
                layers.append(rule("y", 0))
            charts.append(alt.layer(*layers).properties(width=250, height=170, title=label))
    chart = alt.hconcat(*charts, spacing=40).resolve_scale(color="independent")
    last = audits[-1]
    counts = ", ".join(f"{g} {fmt.count(last.get(f'problem/{g}'))}" for g in "PESO")
    note = f"{fmt.count(last.get('n_problems'))} held-out problems, k = {fmt.count(last.get('k'))}. Bands: intervals."
    said = f"{len(audits)} audits; at the last one, after step {fmt.count(last['step'])}, {counts}."
    return figure(name, title, chart, said, note)


def _point(row: Mapping[str, Any], name: str, key: str) -> dict[str, Any] | None:
    value, low, high = (row.get(of) for of in (key, f"{key}/low", f"{key}/high"))
    if not fmt.is_number(value):
        return None
    ends = {"low": low, "high": high} if fmt.is_number(low) and fmt.is_number(high) else {}
    return {"step": row["step"], "name": name, "value": value, **ends}


def _layers(points: list[dict[str, Any]], colors: dict[str, str]) -> list[Any]:
    import altair as alt

    x = alt.X("step:Q", axis=alt.Axis(title="step", grid=False, tickCount=4, format="d"), scale=alt.Scale(nice=False))
    y = alt.Y("value:Q", axis=alt.Axis(title=None, tickCount=4), scale=alt.Scale(zero=False))
    color = named_color("name", colors)
    layers = []
    if banded := [p for p in points if "low" in p]:
        band = alt.Chart(data(banded)).mark_area(opacity=0.16, line=False)
        layers.append(band.encode(x=x, y=same_axis(y, "low:Q"), y2="high:Q", color=color))
    lines = alt.Chart(data(points)).encode(x=x, y=y, color=color)
    return [*layers, lines.mark_line(strokeWidth=2.2), lines.mark_point(filled=True, size=36, opacity=1)]
