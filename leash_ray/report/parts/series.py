"""Checkpoints along training against one base: support at each step, and what was lost and came back."""

from collections.abc import Mapping
from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.parts.part import Part, Row
from leash_ray.report.read import GROUPS, METRICS, Support, branch, entries, number

COLUMNS = (*GROUPS, *METRICS, "pass@1", "pass@k")


def series_part(support: Support) -> Part:
    """A row a checkpoint; the base's pass@k last, to hold the others against."""
    found = branch(support, "series")
    columns = branch(found, "support")
    rows: list[Row] = []
    for i, step in enumerate(found.get("steps") or ()):
        cells = [fmt.count(_at(columns, g, i)) for g in GROUPS] + [fmt.rate(_at(columns, m, i)) for m in METRICS]
        rows.append((fmt.count(step), cells + [fmt.rate(v) for v in pass_pair(checkpoint(found, i))]))
    if rows:
        base = branch(support, "policies", str(support.get("base") or "base"))
        blank = [""] * len(GROUPS + METRICS)
        rows.append(("base", blank + [fmt.rate(v) for v in pass_pair(base)]))
    n, k = fmt.count(number(found, "n_problems")), fmt.count(number(found, "k"))
    caption = f"{n} problems that all have samples of, k = {k}"
    line = history_line(support)
    lines = (("", line),) if line else ()
    return Part("series", "Along training", caption, "step", COLUMNS, tuple(rows), lines)


def checkpoint(series: Mapping[str, Any], i: int) -> Mapping[str, Any]:
    """The i-th checkpoint's own numbers as a policy, wherever they were measured."""
    names = series.get("policies")
    if not isinstance(names, list) or i >= len(names):
        return {}
    return branch(series, "estimates", names[i], "policies", names[i])


def pass_pair(policy: Mapping[str, Any]) -> list[float | None]:
    """pass@1, and pass@k at the largest k there is."""
    ks = entries(policy, "pass_at_k")
    keys = list(ks.values())
    return [number(policy, "pass_at_k", key) for key in (ks.get(1, "1"), keys[-1] if keys else "1")]


def history_line(support: Support) -> str:
    """How many problems were lost or gained at some step, and came back."""
    said = []
    for name, back_word in (("lost", "came back"), ("gained", "lost again")):
        found = branch(support, "series", name)
        ever, back, last = (number(found, key) for key in ("ever", "came_back", "at_last"))
        if ever is not None:
            said.append(
                f"{name} at some step: {fmt.count(ever)}, {back_word}: {fmt.count(back)}, {name} at the last: "
                f"{fmt.count(last)}"
            )
    return f"problems {'; '.join(said)}" if said else ""


def _at(columns: Mapping[str, Any], name: str, i: int) -> Any:
    column = columns.get(name)
    return column[i] if isinstance(column, list) and i < len(column) else None
