"""A reduced run whose support hangs on single completions, and what tests ask of it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from made_run import make_run

from leash_ray import stages
from leash_ray.run_dir import RunDir
from leash_ray.types import Problem
from leash_ray.verifications import shards_of
from leash_ray.verify import Verification

BOX, SAY = "so \\boxed{%s}", "The answer is %s."
PROBLEMS = [Problem.make("t", f"question {i}", "math", str(i)) for i in range(3)]
TEXTS = {
    "base": [[BOX % 0] * 6, [BOX % 9] * 5 + [SAY % 1], [BOX % 9] * 6],
    "trained": [[BOX % 0] * 5 + ["no idea"], [BOX % 9] * 6, [BOX % 9, BOX % 2] + [SAY % 9] * 4],
}
"""Problem 0: both often. 1: the base once, in words. 2: the trained policy once, in a box."""
IN_WORDS, IN_A_BOX = ("base", PROBLEMS[1].id, 5), ("trained", PROBLEMS[2].id, 1)
"""The completions that decide S and E."""


def rare_run(path: Path, verify: Callable[[Sequence[tuple[Problem, str, str]]], list[Verification]]) -> RunDir:
    """Sampled and reduced."""
    made = make_run(path, PROBLEMS, TEXTS, verify)
    stages.reduce_tables([made.path], "base", "trained", 0.05)
    return made


def rows_of(run: RunDir) -> dict[tuple[str, str, int], tuple[str | None, ...]]:
    """Key -> verdict, answer, reason, stage, leniency."""
    rows = [row for path in shards_of(run) for row in pq.read_table(path).to_pylist()]
    names = ("verdict", "answer", "reason", "stage", "leniency")
    return {(r["policy"], r["problem_id"], r["sample_index"]): tuple(r[name] for name in names) for r in rows}


def counts(support: dict) -> list[int]:
    """P, E, S, O."""
    return [support["support"]["problem"][group] for group in "PESO"]
