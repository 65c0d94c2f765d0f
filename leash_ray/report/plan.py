"""A plan in the terminal."""

from typing import TYPE_CHECKING

from leash_ray.report import text as fmt

if TYPE_CHECKING:
    from rich.console import Console

    from leash_ray.stats.plan import Plan

_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def plan_rows(plan: "Plan") -> list[tuple[str, str]]:
    """(what, how much), in the order of thinking: what is seen, then what it costs."""
    cost = plan.cost
    rows = [
        ("samples a problem and policy", f"{fmt.count(plan.samples_per_problem)}  (ε = {fmt.rate(plan.epsilon)})"),
        ("problems", fmt.count(plan.problems)),
    ]
    if plan.problems_for_width is not None:
        rows.append(("  for the interval of NSCR", fmt.count(plan.problems_for_width)))
    if plan.problems_for_power is not None:
        rows.append(("  for the power", fmt.count(plan.problems_for_power)))
    if plan.nscr_width is not None:
        rows.append(("expected width of NSCR's interval", fmt.rate(plan.nscr_width)))
    if plan.power is not None:
        rows.append(("power to see E − S (McNemar, exact)", fmt.rate(plan.power)))
    rows.append((f"completions, {cost.policies} policies", fmt.count(cost.completions)))
    if cost.tokens is not None:
        rows.append(("tokens", fmt.count(cost.tokens)))
    if cost.size_bytes is not None:
        rows.append(("on disk", _size(cost.size_bytes)))
    if cost.hours is not None:
        rows.append(("hours of sampling", fmt.decimal(cost.hours) if cost.hours >= 0.1 else "< 0.1"))
    return rows


def _size(size_bytes: float) -> str:
    for unit, name in _SIZES:
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes:.0f} bytes"


def print_plan(plan: "Plan", console: "Console | None" = None) -> None:
    """Print the plan for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("", justify="right")
    for what, how_much in plan_rows(plan):
        table.add_row(Text(what), Text(how_much))
    (console or Console()).print(table)
