"""The figures of a comparison: every number by recipe, what sharpening costs, pass@k of all."""

from collections.abc import Mapping, Sequence
from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.compare.parts import UNIT_WORDS, estimate, has_answers
from leash_ray.report.figures.common import curve_layers, data, k_axis, named_color, rule
from leash_ray.report.numbers import RATE, shown
from leash_ray.report.read import branch, entries, number
from leash_ray.report.svg import BASE, OTHERS, TRAINED, Figure, figure, missing

Comparison = Mapping[str, Any]
PALETTE = (TRAINED, *OTHERS, "#5B6B7B", "#882255", "#999933", "#332288")
"""Of recipes, in their order; the base has its own."""
_PANEL, _COLUMNS = 235, 3


def all_figures(found: Comparison) -> list[Figure]:
    """Every figure of the page."""
    return [recipes_figure(found), trade_figure(found), curves_figure(found)]


def colors_of(found: Comparison) -> dict[str, str]:
    """By recipe's name, as it is printed."""
    names = [fmt.visible(recipe["name"]) for recipe in found["recipes"]]
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def recipes_figure(found: Comparison) -> Figure:
    """A panel a number, a row a recipe: mean with its interval, and a ring a seed."""
    import altair as alt

    panels = [_panel(found, *of) for of in _numbers(found)]
    chart = alt.concat(*[p for p in panels if p is not None], columns=_COLUMNS, spacing={"row": 34, "column": 30})
    said = "; ".join(
        f"{fmt.visible(recipe['name'])}: SRR {shown(estimate(recipe, 'support', 'problem', 'SRR'), RATE)}, "
        f"NSCR {shown(estimate(recipe, 'support', 'problem', 'NSCR'), RATE)}"
        for recipe in found["recipes"]
    )
    level = f"{100 * found['confidence']:g}%"
    note = f"Dots: mean of the seeds, with {level} intervals. Rings: each seed. Dashed: the base, or 0."
    return figure("recipes", "Recipes side by side", chart, f"{said}.", note)


def _numbers(found: Comparison) -> list[tuple[str, tuple[str, ...], float | None]]:
    """(title, path, where the dashed line is) of each panel."""
    last = str(found["k_answers"])
    units = ["problem", *(["answer"] if has_answers(found) else [])]
    made: list[tuple[str, tuple[str, ...], float | None]] = []
    for unit in units:
        of = UNIT_WORDS[unit].removeprefix("distinct correct ")
        made += [
            (f"SRR, {of} kept", ("support", unit, "SRR"), None),
            (f"NDR, {of} new", ("support", unit, "NDR"), None),
            (f"NSCR, {of} on balance", ("support", unit, "NSCR"), 0.0),
        ]
    paths = {"pass@1": ("pass_at_k", "1"), f"pass@{last}": ("pass_at_k", last)}
    for title, path in [*paths.items(), ("answer entropy, nats", ("answer_entropy",))]:
        made.append((title, path, number(found["base"], *path, "value")))
    return made


def _panel(found: Comparison, title: str, path: tuple[str, ...], line: float | None) -> Any:
    import altair as alt

    colors = colors_of(found)
    means: list[dict[str, Any]] = []
    rings: list[dict[str, Any]] = []
    for name, recipe in zip(colors, found["recipes"], strict=True):
        one = estimate(recipe, *path)
        if one.value is None:
            continue
        low, high = one.ci or (one.value, one.value)
        means.append({"recipe": name, "value": one.value, "low": low, "high": high})
        seeds = branch(recipe, *path).get("seeds") or []
        if len(seeds) > 1:
            rings += [{"recipe": name, "value": v} for v in seeds if v is not None]
    if not means:
        return None
    y = alt.Y(
        "recipe:N", sort=list(colors),
        axis=alt.Axis(title=None, labelFontSize=12, labelLimit=150, ticks=False, domain=False, labelPadding=6),
    )  # fmt: skip
    ends = [v for m in means for v in (m["low"], m["high"])] + [r["value"] for r in rings]
    ends += [line] if line is not None else []
    pad = 0.06 * (max(ends) - min(ends) or 1.0)
    scale = alt.Scale(domain=[min(ends) - pad, max(ends) + pad], nice=False, zero=False)
    x = alt.X("value:Q", scale=scale, axis=alt.Axis(title=None, tickCount=4))
    color = alt.Color("recipe:N", scale=alt.Scale(domain=list(colors), range=list(colors.values())), legend=None)
    marks = alt.Chart(data(means)).encode(y=y, color=color)
    layers = [rule("x", line)] if line is not None else []
    layers += [
        marks.mark_rule(strokeWidth=3, opacity=0.45).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        marks.mark_point(filled=True, size=85, opacity=1).encode(x=x),
    ]
    if rings:
        ring = alt.Chart(data(rings)).mark_point(filled=False, size=42, strokeWidth=1.3, opacity=0.9)
        layers.append(ring.encode(y=y, x=x, color=color))
    return alt.layer(*layers).properties(width=_PANEL, height=alt.Step(26), title=title)


def trade_figure(found: Comparison) -> Figure:
    """What being right more often with one sample cost in reach: pass@1 against NSCR, a ring a seed."""
    import altair as alt

    name, title = "trade", "Sharper, and at what cost in reach"
    colors = colors_of(found)
    means: list[dict[str, Any]] = []
    rings: list[dict[str, Any]] = []
    for label, recipe in zip(colors, found["recipes"], strict=True):
        x, y = estimate(recipe, "pass_at_k", "1"), estimate(recipe, "support", "problem", "NSCR")
        if x.value is None or y.value is None:
            continue
        (x0, x1), (y0, y1) = x.ci or (x.value, x.value), y.ci or (y.value, y.value)
        means.append({"recipe": label, "x": x.value, "y": y.value, "x0": x0, "x1": x1, "y0": y0, "y1": y1})
        pairs = zip(
            branch(recipe, "pass_at_k", "1")["seeds"],
            branch(recipe, "support", "problem", "NSCR")["seeds"],
            strict=True,
        )
        if len(recipe["seeds"]) > 1:
            rings += [{"recipe": label, "x": a, "y": b} for a, b in pairs if a is not None and b is not None]
    if not means:
        return missing(name, title, "pass@1 or NSCR is not defined for any recipe.")
    base = number(found["base"], "pass_at_k", "1", "value")
    xs, ys = (
        _span([m[k] for m in means for k in ("x0", "x1")], base),
        _span([m[k] for m in means for k in ("y0", "y1")], 0.0),
    )
    x_axis = alt.X(
        "x:Q", scale=alt.Scale(domain=xs, nice=False, zero=False), axis=alt.Axis(title="pass@1", tickCount=6)
    )
    y_axis = alt.Y(
        "y:Q", scale=alt.Scale(domain=ys, nice=False, zero=False), axis=alt.Axis(title="NSCR, problems", tickCount=6)
    )
    marks = alt.Chart(data(means)).encode(color=named_color("recipe", colors))
    layers = [rule("y", 0.0)]
    layers += [rule("x", base)] if base is not None else []
    layers += [
        marks.mark_rule(strokeWidth=2, opacity=0.4).encode(x=_on(x_axis, "x0:Q"), x2="x1:Q", y=y_axis),
        marks.mark_rule(strokeWidth=2, opacity=0.4).encode(x=x_axis, y=_on(y_axis, "y0:Q"), y2="y1:Q"),
        marks.mark_point(filled=True, size=130, opacity=1).encode(x=x_axis, y=y_axis),
    ]
    if rings:
        ring = alt.Chart(data(rings)).mark_point(filled=False, size=50, strokeWidth=1.4, opacity=0.9)
        layers.append(ring.encode(x=x_axis, y=y_axis, color=named_color("recipe", colors)))
    said = "; ".join(f"{m['recipe']}: pass@1 {m['x']:.3f}, NSCR {m['y']:.3f}" for m in means)
    note = "Dashed: the base's pass@1, and neither gain nor loss. Right is sharper, up is wider."
    return figure(name, title, alt.layer(*layers).properties(width=560, height=330), f"{said}.", note)


def _span(values: Sequence[float], also: float | None) -> list[float]:
    ends = [*values, *([also] if also is not None else [])]
    pad = 0.05 * (max(ends) - min(ends) or 1.0)
    return [min(ends) - pad, max(ends) + pad]


def _on(axis: Any, field: str) -> Any:
    other = axis.copy()
    other["shorthand"] = field
    return other


def curves_figure(found: Comparison) -> Figure:
    """pass@k of the base and of every recipe."""
    import altair as alt

    name, title = "pass_at_k_recipes", "pass@k"
    colors = {"base": BASE, **colors_of(found)}
    points: list[dict[str, Any]] = []
    for label, of in zip(colors, [found["base"], *found["recipes"]], strict=True):
        for k, key in entries(of, "pass_at_k").items():
            one = estimate(of, "pass_at_k", key)
            if one.value is not None:
                ends = {"low": one.ci[0], "high": one.ci[1]} if one.ci else {}
                points.append({"recipe": label, "x": k, "value": one.value, **ends})
    if not points:
        return missing(name, title, "pass@k is not defined at any k.")
    few = len(colors) <= 3  # more bands than that hide each other
    drawn = points if few else [{k: v for k, v in p.items() if k not in ("low", "high")} for p in points]
    y = alt.Y(
        "value:Q", scale=alt.Scale(zero=False), axis=alt.Axis(title="pass@k, mean over problems and seeds", tickCount=6)
    )
    layers = curve_layers(drawn, k_axis(p["x"] for p in points), y, named_color("recipe", colors))
    last = max(p["x"] for p in points)
    said = "; ".join(f"{p['recipe']} {p['value']:.3f}" for p in points if p["x"] == last)
    note = (
        f"Bands: {100 * found['confidence']:g}% intervals."
        if few
        else "Intervals are in the first figure and the tables."
    )
    return figure(name, title, alt.layer(*layers).properties(width=900, height=330), f"pass@{last:g}: {said}.", note)
