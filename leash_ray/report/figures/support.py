"""Support in pictures: P, E, S and O as bars, and E and S beside what chance alone gives."""

from collections.abc import Mapping
from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.figures.common import data
from leash_ray.report.numbers import around
from leash_ray.report.parts.chance import at_k
from leash_ray.report.read import GROUP_WORDS, GROUPS, ROLES, UNITS, Support, branch, name_of, number
from leash_ray.report.svg import GROUP_COLORS, INK, QUIET, Figure, figure, missing


def support_bars(support: Support) -> Figure:
    """P, E, S and O as bars with their counts, for both units of support."""
    import altair as alt

    name, title = "support", "Preserved, expanded, shrunk, out of support"
    panels, said, absent = [], [], []
    for unit in UNITS:
        counts = {g: number(support, "support", unit, g) for g in GROUPS}
        if all(counts[g] is None for g in "PES"):
            absent.append(f"The counts by {unit} are missing.")
            continue
        values = [
            {"group": f"{g} · {GROUP_WORDS[g]}", "n": n, "label": fmt.count(n), "color": GROUP_COLORS[g]}
            for g, n in counts.items()
            if n is not None
        ]
        most = max([1, *(n for n in counts.values() if n is not None)])
        bars = alt.Chart(data(values)).encode(
            y=alt.Y(
                "group:N",
                sort=None,
                axis=alt.Axis(title=None, labelFontSize=13, ticks=False, domain=False, labelPadding=8),
            ),
            x=alt.X("n:Q", scale=alt.Scale(domain=[0, most * 1.15], nice=False), axis=None),
        )
        kind = "problems" if unit == "problem" else "distinct correct answers"
        panels.append(
            alt.layer(
                bars.mark_bar(height=22).encode(color=alt.Color("color:N", scale=None)),
                bars.mark_text(align="left", dx=6, fontSize=13, color=INK).encode(text="label:N"),
            ).properties(width=300, height=alt.Step(32), title=kind)
        )
        said.append(f"{kind}: " + ", ".join(f"{g} {fmt.count(n)}" for g, n in counts.items()))
    if not panels:
        return missing(name, title, "The support counts are missing.")
    chart = alt.hconcat(*panels, spacing=48)
    return figure(name, title, chart, f"Support. {'; '.join(said)}.", " ".join(absent))


def against_chance(support: Support) -> Figure:
    """Measured E and S as dots; what chance and each policy against itself give as intervals of two standard
    deviations."""
    import altair as alt

    name, title = "against_chance", "E and S against chance"
    panels, said = [], []
    for unit in UNITS:
        found = branch(support, "support", unit)
        intervals, dots = _chance_rows(support, found)
        if not intervals:
            continue
        order = list(dict.fromkeys(row["row"] for row in sorted(intervals + dots, key=lambda r: r["order"])))
        axis = alt.Axis(title=None, labelLimit=260, labelFontSize=12, ticks=False, domain=False)
        y = alt.Y("row:N", sort=order, axis=axis)
        most = max(row["high"] for row in intervals + dots) * 1.08
        x = alt.X(
            "low:Q", scale=alt.Scale(domain=[0, max(most, 1)], nice=False), axis=alt.Axis(title=None, tickCount=5)
        )
        ranges = alt.Chart(data(intervals)).encode(y=y, x=x)
        marks = alt.Chart(data(dots)).encode(y=y, x=x)
        kind = "problems" if unit == "problem" else "distinct correct answers"
        panels.append(
            alt.layer(
                ranges.mark_rule(color=QUIET, strokeWidth=6, opacity=0.45).encode(x2="high:Q"),
                ranges.mark_tick(color=INK, thickness=2, size=14).encode(x=alt.X("mean:Q")),
                marks.mark_point(filled=True, size=90, opacity=1).encode(color=alt.Color("color:N", scale=None)),
                marks.mark_text(dy=-12, fontSize=12, color=INK).encode(text="label:N"),
            ).properties(width=290, height=alt.Step(36), title=kind)
        )
        null = branch(found, "null")
        said.append(
            f"{kind}: E {fmt.count(number(found, 'E'))}, S {fmt.count(number(found, 'S'))}; "
            f"by chance alone {around(number(null, 'E'), number(null, 'sd'))} each"
        )
    if not panels:
        return missing(name, title, "What chance alone would give was not measured.")
    chart = alt.hconcat(*panels, spacing=30)
    note = "Dots: measured. Bars: mean and two standard deviations of what no change at all gives."
    return figure(name, title, chart, f"{'; '.join(said)}.", note)


def _chance_rows(support: Support, unit: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(intervals, dots), each with its row and the order of the rows."""
    intervals, dots = [], []

    def measured(order: int, k: Any, found: Mapping[str, Any]) -> None:
        for g in "ES":
            n = number(found, g)
            if n is not None:
                label = {"row": f"measured, k = {fmt.count(k)}", "order": order, "label": g, "color": GROUP_COLORS[g]}
                dots.append({**label, "low": n, "high": n})

    def expected(order: int, label: str, found: Mapping[str, Any]) -> None:
        mean, sd = number(found, "E"), number(found, "sd")
        if mean is not None and sd is not None:
            ends = {"low": max(0.0, mean - 2 * sd), "high": mean + 2 * sd, "mean": mean}
            intervals.append({"row": label, "order": order, **ends})

    expected(1, "chance alone", branch(unit, "null"))
    floor = branch(unit, "noise_floor")
    for i, role in enumerate(ROLES):
        expected(3 + i, f"{fmt.visible(name_of(support, role))} against itself", branch(floor, role))
    measured(0, number(support, "k"), unit)
    if (k := number(floor, "k")) is not None:
        measured(2, k, at_k(unit, int(k)))
    return intervals, dots
