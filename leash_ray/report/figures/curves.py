"""Curves of both policies with bands: pass@k, Cover@tau, distinct correct answers."""

from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.figures.common import curve_layers, curve_points, data, ends_said, k_axis, role_color, rule
from leash_ray.report.read import ROLES, Support, branch, confidence, interval, name_of, number, policy
from leash_ray.report.svg import QUIET, ROLE_COLORS, Figure, figure, missing


def _bands(support: Support, points: list[dict[str, Any]]) -> str:
    return f"Bands: {confidence(support)} intervals." if any("low" in p for p in points) else ""


def pass_at_k(support: Support) -> Figure:
    """Both pass@k curves on a log2 axis, the empirical coverage from first hits as open dots, and where they cross."""
    import altair as alt

    name, title = "pass_at_k", "pass@k of both policies"
    points = curve_points(support, "pass_at_k")
    if not points:
        return missing(name, title, "No pass@k is defined for either policy.")
    ks = [p["x"] for p in points]
    x, color = k_axis(ks), role_color(support)
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title="pass@k, mean over problems", tickCount=5))
    layers, notes = curve_layers(points, x, y, color), [_bands(support, points)]
    covered = [p for p in curve_points(support, "coverage_at_k") if p["x"] <= max(ks)]
    if covered:
        dots = alt.Chart(data(covered)).encode(x=x, y=y, color=color)
        layers.append(dots.mark_point(filled=False, size=95, strokeWidth=1.2, opacity=0.8))
        notes.append("Open circles: share of problems whose first correct sample is among the first k.")
    crossing = branch(support, "crossing")
    at, ci = number(crossing, "k"), interval(crossing, "ci")
    said = f"pass@k curves: {ends_said(points, 'k')}"
    if at is not None:
        if ci:
            span = alt.Chart(data([{"x": ci[0], "x2": ci[1]}])).mark_rect(color=QUIET, opacity=0.1)
            layers.insert(0, span.encode(x=x, x2="x2:Q"))
        layers.insert(1 if ci else 0, rule("x", at).encode(x=x))
        near = f" [{ci[0]:.0f}, {ci[1]:.0f}]" if ci else ""
        notes.append(f"Grey: they cross near k = {at:.0f}{near}.")
        said += f"; they cross near k = {at:.0f}{near}"
    chart = alt.layer(*layers).properties(width=900, height=340)
    return figure(name, title, chart, f"{said}.", " ".join(n for n in notes if n))


def cover_at_tau(support: Support) -> Figure:
    """The share of problems that a policy answers rightly in at least tau of its samples, for all tau."""
    import altair as alt

    name, title = "cover_at_tau", "Cover@τ: problems solved reliably"
    points = curve_points(support, "cover_at_tau")
    if not points:
        return missing(name, title, "Cover@τ was not measured.")
    x = alt.X(
        "x:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title="τ, share of samples that are right", grid=False)
    )
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title="share of problems", tickCount=5))
    chart = alt.layer(*curve_layers(points, x, y, role_color(support))).properties(width=390, height=280)
    return figure(name, title, chart, f"Cover@τ: {ends_said(points, 'τ')}.", _bands(support, points))


def accumulation(support: Support) -> Figure:
    """Distinct correct answers a problem among k samples, and Chao1's estimate of how many there are at least."""
    import altair as alt

    name, title = "distinct_correct", "Distinct correct answers among k samples"
    points = curve_points(support, "distinct_correct_at_k")
    if not points:
        return missing(name, title, "Which answers are correct is not known, so they were not counted.")
    color = role_color(support)
    y = alt.Y("value:Q", axis=alt.Axis(title="mean a problem", tickCount=5), scale=alt.Scale(domainMin=0))
    layers, notes = curve_layers(points, k_axis(p["x"] for p in points), y, color), [_bands(support, points)]
    said = f"Distinct correct answers a problem: {ends_said(points, 'k')}"
    for role in ROLES:
        richness = number(policy(support, role), "chao1_correct_answers")
        if richness is not None:
            layers.append(rule("y", richness, color=ROLE_COLORS[role]))
            said += f"; Chao1 of {name_of(support, role)} {fmt.nats(richness)}"
            notes += [] if "Dashed" in notes[-1] else ["Dashed: Chao1, how many there are at least."]
    chart = alt.layer(*layers).properties(width=390, height=280)
    return figure(name, title, chart, f"{said}.", " ".join(n for n in notes if n))
