"""What verifying again changed, for the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leash_ray.report import text as fmt
from leash_ray.report.read import GROUPS, ROLES, branch, curve, name_of, number

if TYPE_CHECKING:
    from rich.console import Console

    from leash_ray.changes import Changes

Support = Mapping[str, Any]


def print_changes(
    changes: "Changes", before: Support | None, after: Support | None, console: "Console | None" = None
) -> None:
    """Print the verdicts that changed, with examples, and what became of the support (None: not reduced)."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = console or Console()
    total = sum(changes.verdicts.values())
    out.print(f"{changes.changed:,} of {total:,} verdicts changed")
    table = Table(box=None, pad_edge=False)
    for title in ("policy", "was", "is now", "completions"):
        table.add_column(title, justify="right" if title == "completions" else "left")
    for (policy, old, new), n in sorted(changes.verdicts.items()):
        if old != new:
            table.add_row(Text(fmt.visible(policy)), old, new, fmt.count(n))
    if table.row_count:
        out.print(table)
    for policy, n in sorted(changes.answers.items()):
        out.print(Text(f"{fmt.visible(policy)}: {n:,} completions have another canonical answer and the same verdict"))
    for policy, n in sorted(changes.unverifiable.items()):
        out.print(Text(f"{fmt.visible(policy)}: {n:,} completions keep their verdict: no text, or an unknown problem"))
    for example in changes.examples:
        reason = f" ({fmt.visible(fmt.clip(str(example['reason']), 120))})" if example["reason"] else ""
        answer = fmt.visible(fmt.clip(str(example["answer"]), 60))
        line = (
            f"  {example['policy']} {example['problem_id']}[{example['sample_index']}] {example['old']} → "
            f"{example['new']}: {answer}{reason}"
        )
        out.print(Text(line), soft_wrap=True)
    if before and after:
        out.print()
        for line in support_changes(before, after):
            out.print(Text(line))


def support_changes(before: Support, after: Support) -> list[str]:
    """Lines that say what became of the counts of problems and of pass@k."""
    lines = []
    for group in GROUPS:
        old, new = (number(support, "support", "problem", group) for support in (before, after))
        lines.append(f"{group}: {fmt.count(old)}" if old == new else f"{group}: {fmt.count(old)} → {fmt.count(new)}")
    found = [f"problems  {', '.join(lines)}"]
    for role in ROLES:
        curves = [curve(support, role) for support in (before, after)]
        shared = sorted(curves[0].keys() & curves[1].keys())
        if shared:
            ends = sorted({shared[0], shared[-1]})
            rates = ", ".join(f"pass@{k} {fmt.rate(curves[0][k])} → {fmt.rate(curves[1][k])}" for k in ends)
            found.append(f"{fmt.visible(name_of(after, role))}  {rates}")
    errors = [sum(number(p, "verdicts", "ERROR") or 0 for p in branch(s, "policies").values()) for s in (before, after)]
    if any(errors):
        found.append(f"ERRORs  {fmt.count(errors[0])} → {fmt.count(errors[1])}")
    return found
