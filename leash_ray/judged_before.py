"""Judgements that a stopped run has stored, so that a resumed one does not ask for them again.

Only what is certain: verdicts of sampling itself, by the same code; of kinds whose judging depends on nothing but the
answer (the pool sees to that); CORRECT and INCORRECT alone, not by a mark, and not by a leniency of judging, which an
answer may owe to how it was written before it became canonical.
"""

import polars as pl

from leash_ray.files import parquet_files
from leash_ray.marks import MARKED
from leash_ray.run_dir import RunDir
from leash_ray.scan import plain_columns
from leash_ray.types import Problem, Verdict
from leash_ray.verifications import last_verification
from leash_ray.verify import Judgement

_COLUMNS = ("problem_id", "answer", "verdict", "reason", "stage", "leniency")


def judged_before(run: RunDir, problems: list[Problem]) -> list[tuple[Problem, str, Judgement]]:
    """(problem, canonical answer, judgement), each once; nothing where other code or verifiers were at work."""
    files = parquet_files(run.completions)
    if not files or not run.one_code or last_verification(run) is not None:
        return []
    own = pl.col("leniency").is_null() | (pl.col("leniency") == pl.col("stage"))  # of the reading, if at all
    distinct = pl.concat(
        plain_columns(file, _COLUMNS)
        .filter(
            pl.col("verdict").is_in([Verdict.CORRECT.value, Verdict.INCORRECT.value]),
            pl.col("answer").is_not_null() & own,
            ~pl.col("answer").str.contains("\\ud", literal=True),  # half a character, written out to be stored
            ~pl.col("reason").fill_null("").str.starts_with(MARKED),
        )
        .select("problem_id", "answer", "verdict", "reason")
        .unique(["problem_id", "answer", "verdict"])
        .collect()
        for file in files
    ).unique(["problem_id", "answer", "verdict"])
    sure = distinct.filter(pl.len().over("problem_id", "answer") == 1)
    known = {problem.id: problem for problem in problems}
    return [
        (known[problem_id], answer, Judgement(Verdict(verdict), reason))
        for problem_id, answer, verdict, reason in sure.iter_rows()
        if problem_id in known
    ]
