"""The report as one HTML page that needs nothing beside itself.

Prompts and completions are untrusted: the template escapes them, unprintable characters are made
visible, and a content security policy lets no script run but the page's own (by its hash) and no
resource load from anywhere.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leash_ray.report import prompts as asked
from leash_ray.report import text as fmt
from leash_ray.report.figures import all_figures
from leash_ray.report.numbers import MEAN, RATE, Kind, shown
from leash_ray.report.parts import detailed
from leash_ray.report.parts.audits import audits_part, lost_part
from leash_ray.report.parts.chance import chance_part
from leash_ray.report.parts.policies import columns, count_rows, other_rows, pass_rows
from leash_ray.report.parts.support import support_part
from leash_ray.report.read import (
    GROUP_WORDS,
    GROUPS,
    ROLES,
    UNITS,
    Support,
    both,
    branch,
    confidence,
    curve,
    cut_shares,
    cuts,
    estimate,
    has_intervals,
    name_of,
    number,
    policy,
)
from leash_ray.report.rows import MAX_EXAMPLES, MAX_ROWS, select, solve_rate, sorted_rows
from leash_ray.report.sentence import answer
from leash_ray.report.svg import Figure, inline
from leash_ray.report.verdicts import bounds_rows, leniency_rows, rare_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from leash_ray.audit import RareVerdict


def render_html(
    support: Support,
    per_problem: "pa.Table | None",
    metrics: Sequence[Mapping[str, Any]],
    examples: Mapping[str, Mapping[str, Any]],
    run: Mapping[str, Any],
    figures: Mapping[str, Figure] | None = None,
    leniency: Mapping[str, Mapping[str, int]] | None = None,
    rare: Sequence["RareVerdict"] = (),
) -> str:
    """The whole page. ``figures``: those already drawn, to spare drawing them twice; ``leniency``: of
    :func:`~leash_ray.report.verdicts.leniency_counts`; ``rare``: of :func:`~leash_ray.audit.rare_verdicts`."""
    import jinja2
    from markupsafe import Markup

    from leash_ray.audit import summary

    support, run = fmt.clean(dict(support)), fmt.clean(dict(run))
    figures = figures if figures is not None else all_figures(support, per_problem, metrics)
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    env = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    env.lstrip_blocks = True
    env.filters["csp_hash"] = lambda script: base64.b64encode(hashlib.sha256(str(script).encode()).digest()).decode()
    env.filters["svg"] = lambda figure: Markup(inline(figure.svg))  # drawn by us from numbers; Vega escapes its text
    sampling, prompts = branch(run, "sampling"), branch(run, "prompts")
    page = env.get_template("page.html.j2").render(
        run={"name": None, "task": None, "seed": None, **run},
        names={role: name_of(support, role) for role in ROLES},
        n_problems=fmt.count(number(support, "n_problems")),
        k=fmt.count(number(support, "k")),
        epsilon=fmt.rate(number(support, "epsilon")),
        confidence=fmt.plain(1 - zeta) if (zeta := number(support, "zeta")) is not None else fmt.DASH,
        answer=asked.with_caution(answer(support, sampling), support, prompts),
        cards=_cards(support),
        figures=figures,
        policy_columns=columns(support),
        policy_tables=[pass_rows(support), [*other_rows(support), *count_rows(support)]],
        parts={
            "support": support_part(support),
            "chance": chance_part(support),
            **detailed(support),
            **{part.name: part for part in (audits_part(metrics), lost_part(metrics)) if part},
        },
        intervals=confidence(support) if has_intervals(support) else None,
        leniency_rows=leniency_rows(support, leniency or {}),
        bounds_rows=bounds_rows(support),
        rare=rare_rows(rare),
        rare_summary=summary(rare),
        problems=_problems(per_problem, examples),
        groups=GROUP_WORDS,
        sampling={key: fmt.plain(value) for key, value in sampling.items()},
        cuts=cuts(sampling),
        cut_shares=cut_shares(support),
        prompts=asked.summary(support, prompts),
        prompt_examples=asked.examples(support, prompts),
        facts=_facts(run),
        versions=branch(run, "versions"),
        config=json.dumps(run.get("config"), indent=2, ensure_ascii=False, default=str) if run.get("config") else "",
    )
    return str(page)


def _cards(support: Support) -> list[dict[str, str]]:
    """The key numbers: what, before, after, and one line of explanation."""
    curves = {role: curve(support, role) for role in ROLES}
    shared = sorted(curves["base"].keys() & curves["trained"].keys())
    made = []

    def before_after(label: str, show: Any, pair: Sequence[Any], note: str) -> None:
        made.append({"label": label, "before": show(pair[0]), "after": show(pair[1]), "note": note})

    def change(what: str, kind: Kind, *path: str) -> str:
        """What the number is and, where it was measured, how it changed."""
        found = both(support, *path)[2]
        return what if found.value is None else f"{what}; {shown(found, kind, signed=True)}"

    before_after("pass@1", fmt.rate, [curves[r].get(1) for r in ROLES], change("one sample", RATE, "pass_at_k", "1"))
    last = shared[-1] if shared else None
    if last and last > 1:
        note = change(f"one right in {last}", RATE, "pass_at_k", str(last))
        before_after(f"pass@{last}", fmt.rate, [curves[r].get(last) for r in ROLES], note)
    entropy = [number(policy(support, r), "answer_entropy") for r in ROLES]
    before_after("Answer entropy", fmt.nats, entropy, change("nats, mean", MEAN, "answer_entropy"))
    distinct = [number(policy(support, r), "distinct_correct_answers") for r in ROLES]
    if any(d is not None for d in distinct):
        before_after("Distinct correct answers", fmt.nats, distinct, "mean a problem")
    for unit in UNITS:
        lost, gained = (number(support, "support", unit, g) for g in ("S", "E"))
        if lost is None and gained is None:
            continue
        kind = "problems" if unit == "problem" else "correct answers"
        made.append({"label": f"Lost / gained {kind}", "lost": fmt.count(lost), "gained": fmt.count(gained),
                     "note": f"NSCR {shown(estimate(branch(support, 'support', unit), 'NSCR'))}"})  # fmt: skip
    return made


def _facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The run's own description, in the order in which a reader asks for it."""
    facts = []
    for key in ("name", "task", "models", "seed", "started", "command", "leash_ray", "git_commit"):
        value = run.get(key)
        if value in (None, "", {}, []):
            continue
        if isinstance(value, Mapping):
            value = "; ".join(f"{k}: {v}" for k, v in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        facts.append(({"leash_ray": key}.get(key, key.capitalize().replace("_", " ")), str(value)))
    return facts


def _problems(per_problem: "pa.Table | None", examples: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The rows of the per-problem table, and what to say about how many there are."""
    if per_problem is None or per_problem.num_rows == 0:
        return None
    everything = sorted_rows(per_problem)
    shown = select(everything, MAX_ROWS)
    with_examples = {str(row.get("problem_id")) for row in select(shown, MAX_EXAMPLES)} & set(examples)
    totals, counts = (Counter(row.get("group") for row in rows) for rows in (everything, shown))
    rows = []
    for row in shown:
        pid = str(row.get("problem_id"))
        rates = [solve_rate(row, role) for role in ROLES]
        example = _example(examples[pid]) if pid in with_examples else None
        rows.append(
            {
                "id": fmt.visible(pid),
                "task": fmt.visible(row.get("task") or ""),
                "group": row.get("group") if row.get("group") in GROUPS else fmt.DASH,
                "prompt": example["prompt"] if example else "",
                "cells": [
                    *((fmt.rate(r), r) for r in rates),
                    *((fmt.count(row.get(f"c_{role}")), row.get(f"c_{role}")) for role in ROLES),
                    *_pairs(row, "answer_entropy", fmt.nats),
                    *_pairs(row, "distinct_correct_answers", fmt.count),
                ],
                "detail": [
                    (role, _counts(row, role), example[role] if example else None) for role in ROLES
                ],
            }
        )  # fmt: skip
    return {
        "rows": rows,
        "total": len(everything),
        "with_examples": len(with_examples),
        "counts": [(g, counts[g], totals[g]) for g in GROUPS if totals[g]],
        "several_tasks": len({row.get("task") for row in everything}) > 1,
    }


def _pairs(row: Mapping[str, Any], name: str, show: Any) -> list[tuple[str, Any]]:
    return [(show(row.get(f"{name}_{role}")), row.get(f"{name}_{role}")) for role in ROLES]


def _counts(row: Mapping[str, Any], role: str) -> str:
    """Such as "12 of 256 correct, first at index 3; 40 distinct answers"."""
    text = f"{fmt.count(row.get(f'c_{role}'))} of {fmt.count(row.get(f'n_{role}'))} correct"
    if fmt.is_number(first := row.get(f"first_correct_{role}")) and first >= 0:
        text += f", first at index {fmt.count(first)}"
    if fmt.is_number(distinct := row.get(f"distinct_answers_{role}")):
        text += f"; {fmt.count(distinct)} distinct answers"
    return text


def _example(example: Mapping[str, Any]) -> dict[str, Any]:
    """One problem's prompt and completions, fit to print."""
    shown: dict[str, Any] = {"prompt": fmt.visible(fmt.clip(str(example.get("prompt") or "")))}
    for role in ROLES:
        shown[role] = [
            {
                "verdict": fmt.visible(one.get("verdict") or fmt.DASH),
                "answer": None if one.get("answer") is None else fmt.visible(fmt.clip(str(one["answer"]), 200)),
                "n": fmt.count(one.get("n")),
                "text": None if one.get("text") is None else fmt.visible(fmt.clip(str(one["text"]))),
            }
            for one in example.get(role) or []
        ]
    return shown
