"""The paper's two entropies: did a problem's answers become fewer while its tokens became less certain?"""

from collections import Counter
from typing import TYPE_CHECKING, Any

from leash_ray.report import text as fmt
from leash_ray.report.figures.common import data, named_color, rule
from leash_ray.report.read import Support, branch, number
from leash_ray.report.svg import BASE, INK, OTHERS, TRAINED, Figure, figure, missing
from leash_ray.report.text import is_number

if TYPE_CHECKING:
    import pyarrow as pa

COLORS = (BASE, TRAINED, *OTHERS)
REST = "other tasks"


def entropy_quadrants(support: Support, per_problem: "pa.Table | None") -> Figure:
    """A dot a problem: change of token entropy (or surprisal) against change of answer entropy, by task."""
    import altair as alt

    name, title = "entropy_quadrants", "Token entropy against answer entropy"
    if per_problem is None:
        return missing(name, title, "There is no per-problem table to draw it from.")
    rows = per_problem.to_pylist()
    what, defined = "token entropy", _changes(rows, "token_entropy")
    if not defined:
        what, defined = "surprisal a token", _changes(rows, "surprisal")
    if not defined:
        return missing(name, title, "Neither token entropy nor surprisal is known problem by problem.")
    spans = [
        max(1e-3, *map(abs, changes)) * 1.08 for changes in ([t for t, _, _ in defined], [a for _, a, _ in defined])
    ]
    tasks = [task for task, _ in Counter(task for _, _, task in defined).most_common()]
    named = tasks if len(tasks) <= len(COLORS) else tasks[: len(COLORS) - 1]
    labels = [fmt.visible(t) for t in named] + ([REST] if len(named) < len(tasks) else [])
    # On a grid of a hundred a side, so that a page of ten thousand problems stays small.
    cells = Counter(
        (round(t / spans[0], 2) * spans[0], round(a / spans[1], 2) * spans[1], fmt.visible(k) if k in named else REST)
        for t, a, k in defined
    )
    values = [{"x": t, "y": a, "task": k, "n": n} for (t, a, k), n in cells.items()]
    x = alt.X("x:Q", scale=alt.Scale(domain=[-spans[0], spans[0]], nice=False),
              axis=alt.Axis(title=f"change of {what}, nats", tickCount=6, grid=False))  # fmt: skip
    y = alt.Y("y:Q", scale=alt.Scale(domain=[-spans[1], spans[1]], nice=False),
              axis=alt.Axis(title="change of answer entropy, nats", tickCount=6, grid=False))  # fmt: skip
    colors = dict(zip(labels, COLORS, strict=False))
    dots = alt.Chart(data(values)).mark_point(filled=True, opacity=0.6).encode(
        x=x, y=y, color=named_color("task", colors),
        shape=alt.Shape("task:N", scale=alt.Scale(domain=labels)),
        size=alt.Size("n:Q", scale=alt.Scale(domain=[1, max(cells.values()) + 1], range=[40, 300]), legend=None),
    )  # fmt: skip
    corners = _corners(support, defined, spans)
    text = alt.Chart(data(corners)).encode(x=x, y=y, text="n:N")
    halo = text.mark_text(fontSize=14, fontWeight="bold", stroke="white", strokeWidth=5)
    inked = text.mark_text(fontSize=14, fontWeight="bold", color=INK)
    chart = alt.layer(rule("x", 0), rule("y", 0), dots, halo, inked).properties(width=560, height=330)
    said = ", ".join(f"{c['where']} {c['n']}" for c in corners)
    note = "Each dot is a problem; numbers: how many problems are in each corner."
    return figure(name, title, chart, f"Problems by change of {what} and of answer entropy: {said}.", note)


def _changes(rows: list[dict[str, Any]], of_tokens: str) -> list[tuple[float, float, str]]:
    """(change of ``of_tokens``, of answer entropy, task) of the problems of which both are known."""
    found = [(_change(row, of_tokens), _change(row, "answer_entropy"), row.get("task")) for row in rows]
    return [(t, a, str(task or "–")) for t, a, task in found if t is not None and a is not None]


def _change(row: dict[str, Any], name: str) -> float | None:
    base, trained = row.get(f"{name}_base"), row.get(f"{name}_trained")
    return trained - base if is_number(base) and is_number(trained) else None


def _corners(support: Support, defined: list[tuple[float, float, str]], spans: list[float]) -> list[dict[str, Any]]:
    """The counts that were measured or, without them, those of the dots."""
    found = []
    for key, i, j in (("up_up", 1, 1), ("up_down", 1, -1), ("down_up", -1, 1), ("down_down", -1, -1)):
        n = number(branch(support, "entropy_quadrants"), key)
        if n is None:
            n = sum(t * i > 0 and a * j > 0 for t, a, _ in defined)
        found.append(
            {"x": i * spans[0] * 0.92, "y": j * spans[1] * 0.92, "n": fmt.count(n), "where": key.replace("_", " ")}
        )
    return found
