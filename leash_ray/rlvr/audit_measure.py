"""What an audit's completions say: the leash at one step of training, and what has changed since the audit before.

Two sets of samples are measured. All of them give support (P, E, S, O and their metrics, at equal k: the largest at
which it is known of every problem whether it is found) and coverage at k, which early stopping leaves unbiased. The
first round, of which every problem has the same number from either policy, gives pass@k, entropies and lengths, which
it would not (docs/sampling.md).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leash_ray.files import parquet_files
from leash_ray.rlvr.audit_plan import FOLDER, AuditPlan, completions_folder
from leash_ray.so_far import REPLICATES, Numbers, numbers
from leash_ray.types import Problem, Verdict

CHANGES = ("lost", "regained", "gained", "dropped")
MAX_ANSWER = 200
"""Characters of an answer that are shown."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The numbers of one audit."""

    numbers: Numbers
    """By flat names, with policies named ``base`` and ``trained``."""
    groups: dict[str, str]
    """Problem id -> P, E, S or O."""


def measure(plan: AuditPlan, run_path: Path, step: int) -> Measured:
    """The policy after ``step`` steps against the base.

    Raises:
        UsageError: they share no scored problem.
    """
    from leash_ray.measure.measuring import Measuring
    from leash_ray.measure.settings import MeasureConfig
    from leash_ray.reduce import Reading, reduce_paths

    policy = plan.policy_at(step)
    folders = [completions_folder(run_path) / name for name in (plan.base, policy)]
    how = Measuring(plan.zeta, MeasureConfig(bootstrap=REPLICATES, confidence=plan.confidence))
    every, first = (
        reduce_paths(folders, base=plan.base, trained=policy, measuring=how, parallel=False, reading=reading)
        for reading in (Reading(), Reading(first_k=plan.config.first))
    )
    groups = dict(zip(*(every.per_problem[c].to_pylist() for c in ("problem_id", "group")), strict=True))
    found = _flat(every.to_json(), first.to_json())
    roles = {plan.base: "base", policy: "trained"}
    return Measured({_of_role(name, roles): value for name, value in found.items()}, groups)


def _flat(every: Mapping[str, Any], first: Mapping[str, Any]) -> Numbers:
    """Support and coverage from all samples, the rest from the first round."""
    of_all, of_first = numbers(every), numbers(first)
    found = {n: v for n, v in of_all.items() if n in ("n_problems", "k", "epsilon") or n.startswith("problem/")}
    found |= {n: v for n, v in of_first.items() if n not in found}
    found["k_first"] = of_first["k"]
    for policy, of in first["policies"].items():
        if limits := of["ci"]["pass_at_k"].get("1"):
            found[f"{policy}/pass_at_k/1/low"], found[f"{policy}/pass_at_k/1/high"] = limits
    for policy, of in every["policies"].items():
        found |= {f"{policy}/coverage_at_k/{k}": value for k, value in of["coverage_at_k"].items()}
    return found


def _of_role(name: str, roles: Mapping[str, str]) -> str:
    policy, slash, rest = name.partition("/")
    return roles.get(policy, policy) + slash + rest


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, list[str]]:
    """Problem ids by what became of them from one audit to the next (arXiv 2507.14843, table 4, as it happens).

    ``lost``: the base finds them and the policy does not any more; ``regained``: it does again; ``gained``: it finds
    them and the base does not; ``dropped``: no longer either. At one k a problem near the edge of reach comes and goes
    by chance alone.

    Args:
        before: problem id -> P, E, S or O at the audit before; of a problem that is not there, what the base alone
            says: P where it finds it, else O.
    """
    became = {("P", "S"): "lost", ("S", "P"): "regained", ("O", "E"): "gained", ("E", "O"): "dropped"}
    found: dict[str, list[str]] = {name: [] for name in CHANGES}
    for problem, group in now.items():
        was = before.get(problem, "P" if group in "PS" else "O")
        if change := became.get((was, group)):
            found[change].append(problem)
    return found


def groups_before(run_path: Path, step: int) -> dict[str, str]:
    """Problem id -> group at the last audit before ``step``; empty: there was none."""
    earlier = {int(path.stem.removeprefix("step-")): path for path in (run_path / FOLDER).glob("step-*.json")}
    steps = [s for s in earlier if s < step]
    if not steps:
        return {}
    groups = json.loads(earlier[max(steps)].read_text(encoding="utf-8"))["groups"]
    return {problem: group for group, problems in groups.items() for problem in problems}


def describe(plan: AuditPlan, run_path: Path, step: int, changed: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """A row for each problem that changed: ``change``, ``problem_id``, ``prompt``, ``correct`` (such as "3 of 64") and
    ``answer`` (the first correct one) of the policy that finds or found it: the base's, of a problem that was lost or
    regained; the trained one's, of one that was gained."""
    prompts: dict[str, Problem] = {problem.id: problem for problem in plan.problems}
    finder = {"lost": plan.base, "regained": plan.base, "gained": plan.policy_at(step)}
    known = {name: _correct_of(completions_folder(run_path) / name) for name in dict.fromkeys(finder.values())}
    rows = []
    for change, problems in changed.items():
        for problem in problems:
            correct, answer = known[finder[change]].get(problem, ("", None)) if change in finder else ("", None)
            text = prompts[problem].prompt if problem in prompts else ""
            rows.append({"change": change, "problem_id": problem, "prompt": text, "correct": correct, "answer": answer})
    return rows


def _correct_of(folder: Path) -> dict[str, tuple[str, str | None]]:
    """Problem id -> (how many of a policy's scored completions are right, the answer of the first of them)."""
    import polars as pl

    files = parquet_files(folder)
    if not files:
        return {}
    text = pl.String
    rows = pl.concat(
        pl.read_parquet(path, columns=["problem_id", "sample_index", "verdict", "answer"]).with_columns(
            pl.col("problem_id").cast(text), pl.col("verdict").cast(text)
        )
        for path in files
    ).filter(pl.col("verdict") != Verdict.ERROR)
    right = pl.col("verdict") == Verdict.CORRECT
    of = (
        rows.sort("sample_index")
        .group_by("problem_id")
        .agg(n=pl.len(), c=right.sum(), answer=pl.col("answer").filter(right).first())
    )
    return {
        row["problem_id"]: (f"{row['c']} of {row['n']}", None if row["answer"] is None else row["answer"][:MAX_ANSWER])
        for row in of.iter_rows(named=True)
    }
