"""pass@k of the ideal, tilted base beside the base and the trained policy."""

from leash_ray.report import text as fmt
from leash_ray.report.figures.common import curve_points, data, k_axis, role_color
from leash_ray.report.read import Support, branch, entries, name_of, number
from leash_ray.report.svg import INK, Figure, figure, missing


def tilted_curves(support: Support) -> Figure:
    """The prediction dashed: as far as it lies above the trained policy, sharpening alone does not explain the loss."""
    import altair as alt

    name, title = "tilt", "What sharpening alone would do"
    found = branch(support, "tilt")
    predicted = [
        {"x": k, "value": value}
        for k, key in entries(found, "pass_at_k").items()
        if (value := number(found, "pass_at_k", key, "predicted")) is not None
    ]
    if not predicted:
        return missing(name, title, "No tilt of the base was fitted.")
    points = curve_points(support, "pass_at_k")
    x = k_axis(p["x"] for p in [*points, *predicted])
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title="pass@k, mean over problems", tickCount=5))
    lines = alt.Chart(data(points)).encode(x=x, y=y, color=role_color(support))
    dashed = alt.Chart(data(predicted)).encode(x=x, y=y)
    chart = alt.layer(
        lines.mark_line(strokeWidth=2.2),
        dashed.mark_line(color=INK, strokeDash=[6, 4], strokeWidth=2),
        dashed.mark_point(color=INK, filled=True, size=30, opacity=1),
    ).properties(width=900, height=280)
    last = predicted[-1]
    measured = number(found, "pass_at_k", f"{last['x']:g}", "measured")
    beta = number(found, "beta")
    said = f"Predicted pass@{last['x']:g} {fmt.rate(last['value'])}, measured {fmt.rate(measured)}"
    note = f"Dashed: the base tilted by exp(β R), β = {beta:.2f}; it has {name_of(support, 'trained')}'s pass@1." if (
        beta is not None
    ) else "Dashed: the tilted base."  # fmt: skip
    return figure(name, title, chart, f"{said}.", fmt.visible(note))
