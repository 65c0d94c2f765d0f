"""Each problem before and after: answer entropy and solve rate, base against trained."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from leash_ray.report import text as fmt
from leash_ray.report.figures.common import data
from leash_ray.report.read import GROUP_WORDS, GROUPS, ROLES, Support, curve, number, policy
from leash_ray.report.rows import solve_rate
from leash_ray.report.svg import GROUP_COLORS, INK, Figure, figure, missing
from leash_ray.report.text import is_number

if TYPE_CHECKING:
    import pyarrow as pa


def answer_entropy(support: Support, per_problem: "pa.Table | None") -> Figure:
    """Each problem's answer entropy, base against trained, with the diagonal and the means."""
    name, title = "answer_entropy", "Answer entropy before and after"
    rows = per_problem.to_pylist() if per_problem is not None else []
    pairs = [(row.get("answer_entropy_base"), row.get("answer_entropy_trained"), row.get("group")) for row in rows]
    means = [number(policy(support, role), "answer_entropy") for role in ROLES]
    return _before_after(
        name, title, pairs, means, "answer entropy, nats", fmt.nats, per_problem is not None, sqrt=False
    )  # fmt: skip


def solve_rates(support: Support, per_problem: "pa.Table | None") -> Figure:
    """Each problem's share of correct samples, base against trained, on square-root axes."""
    name, title = "solve_rates", "Solve rate before and after"
    rows = per_problem.to_pylist() if per_problem is not None else []
    pairs = [(solve_rate(row, "base"), solve_rate(row, "trained"), row.get("group")) for row in rows]
    means = [curve(support, role).get(1) for role in ROLES]
    return _before_after(
        name, title, pairs, means, "share of correct samples", fmt.rate, per_problem is not None, sqrt=True
    )  # fmt: skip


def _before_after(
    name: str, title: str, pairs: list[Any], means: list[Any], what: str, show: Any, has_table: bool, sqrt: bool
) -> Figure:
    """A dot for each place on the plane, its area the number of problems there: many share (0, 0)."""
    import altair as alt

    if not has_table:
        return missing(name, title, "There is no per-problem table to draw it from.")
    defined = [(b, t, g) for b, t, g in pairs if is_number(b) and is_number(t)]
    if not defined:
        return missing(name, title, f"No problem has a defined value for both policies ({what}).")
    top = 1.0 if sqrt else max(0.1, *(max(b, t) for b, t, _ in defined)) * 1.04
    cells = Counter((round(b / top, 2) * top, round(t / top, 2) * top, g) for b, t, g in defined)
    present = [g for g in GROUPS if any(g == cell[2] for cell in cells)]
    words = {g: f"{g} · {GROUP_WORDS[g]}" for g in GROUPS}
    values = [
        {"base": b, "trained": t, "group": words.get(g, "–"), "n": n}
        for (b, t, g), n in sorted(cells.items(), key=lambda item: -item[1])  # small dots above large ones
    ]

    def axis(field: str, kind: Any) -> Any:
        scale = alt.Scale(type="sqrt" if sqrt else "linear", domain=[0, top], nice=False)
        spec = (
            {"values": [0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1], "labelExpr": "'' + datum.value"}
            if sqrt
            else {"tickCount": 5}
        )
        return kind(
            f"{field}:Q",
            scale=scale,
            axis=alt.Axis(title=f"{field}: {what}{', square-root scale' if sqrt else ''}", **spec),
        )

    x, y = axis("base", alt.X), axis("trained", alt.Y)
    diagonal = alt.Chart(data([{"base": 0, "trained": 0}, {"base": top, "trained": top}])).encode(x=x, y=y)
    dots = alt.Chart(data(values)).encode(
        x=x,
        y=y,
        color=alt.Color(
            "group:N",
            scale=alt.Scale(domain=[words[g] for g in present], range=[GROUP_COLORS[g] for g in present]),
            legend=alt.Legend(columns=4, symbolOpacity=1, symbolType="circle", labelFontSize=12, columnPadding=14),
        ),
        size=alt.Size("n:Q", scale=alt.Scale(domain=[1, max(cells.values()) + 1], range=[34, 420]), legend=None),
    )
    layers = [
        diagonal.mark_line(color="#9AA5B1", strokeDash=[4, 4], strokeWidth=1.2),
        dots.mark_circle(opacity=0.6, stroke="white", strokeWidth=0.6),
    ]
    said = f"{len(defined)} problems; " + (
        f"{sum(t < b for b, t, _ in defined)} below the diagonal, {sum(t > b for b, t, _ in defined)} above"
    )
    note = "Each dot is a problem; larger dots are several. Dashed: no change."
    if all(is_number(m) for m in means):
        mean = alt.Chart(data([{"base": min(means[0], top), "trained": min(means[1], top)}])).encode(x=x, y=y)
        layers.append(mean.mark_point(shape="cross", filled=True, size=210, color=INK, stroke="white", strokeWidth=1.5))
        said += f"; the mean moved from {show(means[0])} to {show(means[1])}"
        note += f" Cross: the mean, {show(means[0])} → {show(means[1])}."
    if len(defined) < len(pairs):
        note += f" {len(pairs) - len(defined)} problems are undefined for a policy and are not drawn."
    chart = alt.layer(*layers).properties(width=390, height=330)
    return figure(name, title, chart, f"{title}, base against trained: {said}.", note)
