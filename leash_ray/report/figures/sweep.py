"""Support against k: expected E and S, and the metrics, for both units."""

from typing import Any

from leash_ray.report.figures.common import METRIC_COLORS, data, k_axis, named_color, same_axis
from leash_ray.report.parts.support import NAMES
from leash_ray.report.read import UNITS, Support, branch, confidence, interval, number
from leash_ray.report.svg import GROUP_COLORS, Figure, figure, missing
from leash_ray.report.text import count, is_number, rate


def support_sweep(support: Support) -> Figure:
    """A column a unit: E and S above, SRR, NDR and NSCR below, with their intervals at the last k."""
    import altair as alt

    name, title = "support_sweep", "Support against k"
    rows: list[list[Any]] = [[], []]
    said = []
    for unit in UNITS:
        found = branch(support, "support", unit, "sweep")
        values, ks = branch(found, "expected") or branch(found, "observed"), found.get("k")
        if not isinstance(ks, list) or len(ks) < 2:
            continue
        x = k_axis(ks, "k (log scale)")
        groups = _long(ks, values, ("E", "S"))
        y = alt.Y("value:Q", axis=alt.Axis(title=None, tickCount=4, minExtent=32), scale=alt.Scale(domainMin=0))
        color = named_color("name", {g: GROUP_COLORS[g] for g in "ES"})
        rows[0].append(_lines(groups, x, y, color).properties(width=370, height=150, title=f"E and S, {NAMES[unit]}"))
        metrics = _long(ks, values, tuple(METRIC_COLORS))
        y = alt.Y(
            "value:Q",
            axis=alt.Axis(title=None, tickCount=5, minExtent=32),
            scale=alt.Scale(domain=[_floor(metrics), 1]),
        )
        color = named_color("name", METRIC_COLORS)
        layers = [_lines(metrics, x, y, color)]
        if ends := _ends(support, unit, ks[-1]):
            bars = alt.Chart(data(ends)).mark_rule(strokeWidth=5, opacity=0.45, clip=False)
            layers.append(bars.encode(x=x, y=same_axis(y, "low:Q"), y2="high:Q", color=color))
        chart = alt.layer(*layers).properties(width=370, height=180, title=f"SRR, NDR and NSCR, {NAMES[unit]}")
        rows[1].append(chart)
        last = {m["name"]: m["value"] for m in groups + metrics}
        parts = [f"{g} {count(last.get(g))}" for g in "ES"] + [f"{m} {rate(last.get(m))}" for m in METRIC_COLORS]
        said.append(f"{NAMES[unit]} at k={ks[-1]}: {', '.join(parts)}")
    if not rows[0]:
        return missing(name, title, "The counts were taken at one k only.")
    panels = [alt.hconcat(*row, spacing=48).resolve_scale(color="shared") for row in rows]
    chart = alt.vconcat(*panels, spacing=30).resolve_scale(color="independent")
    note = f"Expected among k of each problem's samples. Bars: {confidence(support)} intervals at all samples."
    return figure(name, title, chart, f"Support against k. {'; '.join(said)}.", note)


def _long(ks: list[int], values: Any, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"x": k, "name": name, "value": value}
        for name in names
        for k, value in zip(ks, values.get(name) or (), strict=False)
        if is_number(value)
    ]


def _lines(values: list[dict[str, Any]], x: Any, y: Any, color: Any) -> Any:
    import altair as alt

    lines = alt.Chart(data(values)).encode(x=x, y=y, color=color)
    return alt.layer(lines.mark_line(strokeWidth=2.2), lines.mark_point(filled=True, size=30, opacity=1))


def _ends(support: Support, unit: str, k: int) -> list[dict[str, Any]]:
    found = []
    for metric in METRIC_COLORS:
        ci = interval(support, "support", unit, "ci", metric)
        if ci is not None and number(support, "support", unit, metric) is not None:
            found.append({"x": k, "name": metric, "low": ci[0], "high": ci[1]})
    return found


def _floor(values: list[dict[str, Any]]) -> float:
    return min([-0.25, *(v["value"] - 0.15 for v in values)])
