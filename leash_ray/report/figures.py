"""The figures on support: pass@k, P/E/S/O, and each problem before and after. Pure: numbers to SVG."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from leash_ray.report import text as fmt
from leash_ray.report.read import GROUP_WORDS, GROUPS, ROLES, UNITS, Support, curve, name_of, number, policy
from leash_ray.report.rows import solve_rate
from leash_ray.report.svg import GROUP_COLORS, INK, ROLE_COLORS, Figure, figure, missing
from leash_ray.report.text import is_number

if TYPE_CHECKING:
    import pyarrow as pa


def _data(values: list[dict[str, Any]]) -> Any:
    import altair as alt

    return alt.Data(values=values)


def _role_color(support: Support) -> Any:
    import altair as alt

    # By policy name, so that the legend says "trained@200"; two roles of one name share a line anyway.
    names = [fmt.visible(name_of(support, role)) for role in ROLES]
    scale = alt.Scale(domain=names, range=[ROLE_COLORS[role] for role in ROLES])
    return alt.Color("policy:N", scale=scale)


def pass_at_k(support: Support) -> Figure:
    """Both pass@k curves on a log2 axis, and the empirical coverage from first hits as open dots."""
    import altair as alt

    name, title = "pass_at_k", "pass@k of both policies"
    curves = {role: curve(support, role) for role in ROLES}
    if not any(curves.values()):
        return missing(name, title, "No pass@k is defined for either policy.")

    def points(key: str) -> list[dict[str, Any]]:
        return [
            {"policy": fmt.visible(name_of(support, role)), "k": k, "value": value}
            for role in ROLES
            for k, value in curve(support, role, key).items()
        ]

    ks = sorted({k for c in curves.values() for k in c})
    exponents = range(max(ks[-1] - 1, 1).bit_length() + 1)
    ticks = [2**e for e in exponents if 2**e <= ks[-1]]
    if len(ticks) > 10:
        ticks = ticks[::2]
    x = alt.X(
        "k:Q",
        scale=alt.Scale(type="log", base=2, domain=[1, max(ks[-1], 2)], nice=False),
        axis=alt.Axis(values=ticks, title="k, samples a problem (log scale)", format="d", grid=False),
    )
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title="pass@k, mean over problems", tickCount=5))
    color = _role_color(support)
    lines = alt.Chart(_data(points("pass_at_k"))).encode(x=x, y=y, color=color)
    layers = [lines.mark_line(strokeWidth=2.5), lines.mark_point(filled=True, size=38, opacity=1)]
    covered = points("coverage_at_k")
    if covered:
        dots = alt.Chart(_data(covered)).encode(x=x, y=y, color=color)
        layers.append(dots.mark_point(filled=False, size=95, strokeWidth=1.2, opacity=0.8))
    said = [
        f"{name_of(support, role)} from {fmt.rate(c[min(c)])} at k={min(c)} to {fmt.rate(c[max(c)])} at k={max(c)}"
        for role, c in curves.items()
        if c
    ]
    note = "Open circles: share of problems whose first correct sample is among the first k." if covered else ""
    chart = alt.layer(*layers).properties(width=900, height=340)
    return figure(name, title, chart, f"pass@k curves: {'; '.join(said)}.", note)


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
        bars = alt.Chart(_data(values)).encode(
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
    diagonal = alt.Chart(_data([{"base": 0, "trained": 0}, {"base": top, "trained": top}])).encode(x=x, y=y)
    dots = alt.Chart(_data(values)).encode(
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
        mean = alt.Chart(_data([{"base": min(means[0], top), "trained": min(means[1], top)}])).encode(x=x, y=y)
        layers.append(mean.mark_point(shape="cross", filled=True, size=210, color=INK, stroke="white", strokeWidth=1.5))
        said += f"; the mean moved from {show(means[0])} to {show(means[1])}"
        note += f" Cross: the mean, {show(means[0])} → {show(means[1])}."
    if len(defined) < len(pairs):
        note += f" {len(pairs) - len(defined)} problems are undefined for a policy and are not drawn."
    chart = alt.layer(*layers).properties(width=390, height=330)
    return figure(name, title, chart, f"{title}, base against trained: {said}.", note)
