"""Checkpoints along training against one base."""

from typing import Any

from leash_ray.report.figures.common import METRIC_COLORS, data, named_color, rule
from leash_ray.report.parts.series import checkpoint, pass_pair
from leash_ray.report.read import Support, branch
from leash_ray.report.svg import GROUP_COLORS, OTHERS, Figure, figure, missing
from leash_ray.report.text import count, is_number


def series_curves(support: Support) -> Figure:
    """Three panels: E and S; SRR, NDR and NSCR; pass@1 and pass@k, with the base's dashed."""
    import altair as alt

    name, title = "series", "Along training"
    found = branch(support, "series")
    steps = found.get("steps")
    if not isinstance(steps, list) or len(steps) < 2:
        return missing(name, title, "There are fewer than two checkpoints.")
    columns = branch(found, "support")
    rates = [pass_pair(checkpoint(found, i)) for i in range(len(steps))]
    colors = {"pass@1": OTHERS[1], "pass@k": GROUP_COLORS["E"]}
    sets: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
        "E and S, problems": ({g: GROUP_COLORS[g] for g in "ES"}, {g: columns.get(g) for g in "ES"}),
        "SRR, NDR, NSCR": (METRIC_COLORS, {m: columns.get(m) for m in METRIC_COLORS}),
        "pass@1 and pass@k": (colors, {n: [pair[i] for pair in rates] for i, n in enumerate(colors)}),
    }
    panels = []
    for label, (palette, values) in sets.items():
        points = [
            {"step": step, "name": n, "value": v}
            for n, column in values.items()
            for step, v in zip(steps, column or (), strict=False)
            if is_number(v)
        ]
        if not points:
            continue
        layers = _layers(points, palette)
        if label.startswith("pass@"):
            base = pass_pair(branch(support, "policies", str(support.get("base") or "base")))
            layers += [
                rule("y", v, color=c) for v, c in zip(base, colors.values(), strict=True) if v is not None
            ]  # fmt: skip
        panels.append(alt.layer(*layers).properties(width=250, height=170, title=label))
    chart = alt.hconcat(*panels, spacing=40).resolve_scale(color="independent")
    said = ", ".join(f"{g} {count((columns.get(g) or [None])[-1])}" for g in "PESO")
    note = f"Steps {steps[0]:,} to {steps[-1]:,}. Dashed: the base." if len(panels) == 3 else ""
    return figure(name, title, chart, f"{len(steps)} checkpoints; at the last step {said}.", note)


def _layers(points: list[dict[str, Any]], palette: dict[str, str]) -> list[Any]:
    import altair as alt

    lines = alt.Chart(data(points)).encode(
        x=alt.X(
            "step:Q", axis=alt.Axis(title="step", grid=False, tickCount=4, format="d"), scale=alt.Scale(nice=False)
        ),
        y=alt.Y("value:Q", axis=alt.Axis(title=None, tickCount=4)),
        color=named_color("name", palette),
    )
    return [lines.mark_line(strokeWidth=2.2), lines.mark_point(filled=True, size=36, opacity=1)]
