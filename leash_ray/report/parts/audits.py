"""The audits while training: a row each, and the problems that the last one still misses."""

from collections.abc import Mapping, Sequence
from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.parts.part import Part
from leash_ray.report.read import GROUPS

Row = Mapping[str, Any]
COLUMNS = (*GROUPS, "SRR", "NSCR", "pass@1", "pass@1 of the base", "answer entropy", "lost", "regained", "seconds")
MAX_LOST = 50


def audits_of(metrics: Sequence[Row]) -> list[Row]:
    """The audits that were measured, by step; one that was done twice (a resumed run) counts once, last."""
    found = {
        int(row["step"]): row
        for row in metrics
        if row.get("stage") == "audit" and fmt.is_number(row.get("step")) and fmt.is_number(row.get("problem/P"))
    }
    return [found[step] for step in sorted(found)]


def audits_part(metrics: Sequence[Row]) -> Part:
    """A row an audit, and what the guard did."""
    audits = audits_of(metrics)
    rows, lines = [], []
    for row in audits:
        low, high = row.get("problem/NSCR/low"), row.get("problem/NSCR/high")
        limits = f" [{fmt.rate(low)}, {fmt.rate(high)}]" if fmt.is_number(low) and fmt.is_number(high) else ""
        cells = [
            *(fmt.count(row.get(f"problem/{g}")) for g in GROUPS),
            fmt.rate(row.get("problem/SRR")),
            fmt.rate(row.get("problem/NSCR")) + limits,
            *(fmt.rate(row.get(f"{role}/pass_at_k/1")) for role in ("trained", "base")),
            fmt.nats(row.get("trained/answer_entropy")),
            *(fmt.count(row.get(name)) for name in ("lost", "regained")),
            fmt.decimal(row.get("seconds")),
        ]
        rows.append((fmt.count(row["step"]), cells))
        if row.get("guard") == "stop":
            lines.append(("leash guard", f"stopped training after step {fmt.count(row['step'])}"))
        elif row.get("guard") == "kl":
            lines.append(
                ("leash guard", f"raised the KL weight to {fmt.plain(row.get('kl_coef'))} after step {row['step']}")
            )
    if failed := [row for row in metrics if row.get("stage") == "audit" and row.get("error")]:
        lines.append(("failed audits", f"{len(failed)}, the last one at step {failed[-1].get('step')}"))
    caption = ""
    if audits:
        n, k = (fmt.count(audits[-1].get(name)) for name in ("n_problems", "k"))
        caption = f"{n} held-out problems, k = {k}; lost and regained since the audit before"
    return Part("audits", "Audits while training", caption, "step", COLUMNS, tuple(rows), tuple(lines))


def lost_part(metrics: Sequence[Row]) -> Part:
    """The problems that were lost at some audit and have not come back since."""
    lost: dict[str, tuple[Any, Row]] = {}
    for audit in audits_of(metrics):
        for change in audit.get("changes") or ():
            problem = str(change.get("problem_id"))
            if change.get("change") == "lost":
                lost[problem] = audit["step"], change
            elif change.get("change") == "regained":
                lost.pop(problem, None)
    rows = tuple(
        (
            fmt.visible(problem),
            [fmt.count(step), fmt.visible(change.get("correct") or fmt.DASH), fmt.visible(_answer(change))],
        )
        for problem, (step, change) in list(lost.items())[:MAX_LOST]
    )
    caption = f"{len(lost)} that the base finds and the last audited policy does not"
    if len(lost) > MAX_LOST:
        caption += f", the first {MAX_LOST} of them"
    columns = ("lost at step", "correct samples of the base", "an answer that was right")
    return Part("audits_lost", "Lost while training", caption, "problem", columns, rows)


def _answer(change: Row) -> str:
    answer = change.get("answer")
    return fmt.DASH if answer is None else fmt.clip(str(answer), 80)
