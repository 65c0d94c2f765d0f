"""P, E, S, O and their metrics with intervals: by problem, by probability, and by distinct correct answer."""

from collections.abc import Mapping
from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.numbers import COUNT, RATE, Estimate, shown
from leash_ray.report.parts.part import Part
from leash_ray.report.read import GROUPS, METRICS, UNITS, Support, branch, confidence, estimate, has_intervals, number

SOFT = "joint"
"""The prior whose soft support is shown: it is the least biased one (stats/soft.py)."""
NAMES = {"problem": "problems", "answer": "answers"}


def support_part(support: Support) -> Part:
    """A row for each of P, E, S, O and the metrics; a column for each way to count them."""
    columns = {NAMES[unit]: counted(branch(support, "support", unit)) for unit in UNITS}
    lines: list[tuple[str, str]] = []
    if soft := branch(support, "soft_support", SOFT):
        columns = {"problems": columns["problems"], "soft problems": soft_cells(soft), "answers": columns["answers"]}
        lines.append(
            (
                "soft problems",
                "weighed by the probability, given all samples, that solve rates exceed ε",
            )
        )
    caption = "P found by both, E only by trained, S only by base, O by neither"
    if has_intervals(support):
        caption += f"; {confidence(support)} intervals"
    rows = tuple((name, [cells[name] for cells in columns.values()]) for name in (*GROUPS, *METRICS))
    return Part("support", "Support", caption, "", tuple(columns), rows, tuple(lines))


def counted(unit: Mapping[str, Any]) -> dict[str, str]:
    """Counts as they are, metrics with their intervals."""
    return {
        **{g: fmt.count(number(unit, g)) for g in GROUPS},
        **{m: shown(estimate(unit, m), RATE) for m in METRICS},
    }


def soft_cells(soft: Mapping[str, Any]) -> dict[str, str]:
    """Expected counts and their metrics, all with intervals."""
    return {
        **{g: shown(estimate(soft, g), COUNT) for g in GROUPS},
        **{m: shown(estimate(soft, m), RATE) for m in METRICS},
    }


TASK_COLUMNS = ("n", *GROUPS, "NSCR", "pass@1", "pass@k")


def tasks_part(support: Support) -> Part:
    """Empty when there are fewer than two tasks."""
    from leash_ray.report.read import ROLES, curve, name_of

    tasks = branch(support, "by_task")
    rows = []
    for task in sorted(tasks) if len(tasks) > 1 else ():
        part = {**{role: name_of(support, role) for role in ROLES}, **branch(tasks, task)}
        # A task may hold the whole object's shape or, for short, its counts of problems directly.
        counts = branch(part, "support", "problem") or branch(part, "problem") or part
        curves = [curve(part, role) for role in ROLES]
        last = max((max(c) for c in curves if c), default=1)
        rates = [" → ".join(fmt.rate(c.get(k)) for c in curves) for k in (1, last)]
        cells = [fmt.count(number(part, "n_problems")), *(fmt.count(number(counts, g)) for g in GROUPS)]
        net = shown(estimate(counts, "NSCR") if "NSCR" in counts else Estimate())
        rows.append((fmt.visible(task), [*cells, net, *rates]))
    return Part(
        "tasks", "By task", "n problems; pass@k at the largest k, base → trained", "task", TASK_COLUMNS, tuple(rows)
    )
