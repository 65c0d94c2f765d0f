"""The false-positive audit: the rare correct verdicts of a run, since these decide what counts as expanded or shrunk.

A problem solved by one or two of n samples enters a policy's support by them alone; if their verdicts are wrong, so is
the support. ``leash audit-verdicts`` shows them with their texts and takes a person's marks (:mod:`leash_ray.marks`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.marks import Key, marks_path, read_marks
from leash_ray.problems_file import read_problems
from leash_ray.scan import plain_columns
from leash_ray.types import Problem, Verdict

FEWER_THAN = 3
"""Correct samples of a policy on a problem below which each of them is shown."""

GROUP_ORDER = ("E", "S", "P", "O", "")
"""The verdicts that decide E and S come first."""

_COLUMNS = ("policy", "problem_id", "sample_index", "verdict", "answer", "stage", "leniency", "reason", "text")


@dataclass(frozen=True, slots=True)
class RareVerdict:
    """One CORRECT completion of a problem that its policy solved fewer than ``FEWER_THAN`` times, or a marked one."""

    policy: str
    problem_id: str
    sample_index: int
    verdict: str
    """As it stands, marks included."""
    mark: str
    """A person's mark; empty: none."""
    note: str
    group: str
    """P, E, S or O, as last reduced; empty: unknown."""
    decides: bool
    """Whether the problem counts as expanded or shrunk by such verdicts alone."""
    c: int
    """Correct completions of the policy on the problem."""
    n: int
    """All its completions of the problem."""
    answer: str | None
    stage: str | None
    leniency: str | None
    reason: str | None
    prompt: str
    reference: str
    text: str | None

    @property
    def key(self) -> Key:
        return self.policy, self.problem_id, self.sample_index

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def rare_verdicts(run: Path, fewer_than: int = FEWER_THAN) -> list[RareVerdict]:
    """The rare CORRECT completions of a run, and those that are marked already; what decides E and S comes first.

    Raises:
        UsageError: the run has no completions.
    """
    import polars as pl

    files = parquet_files(run / "completions")
    if not files:
        raise UsageError(f"{run} has no completions yet: run leash sample first")
    marks = read_marks(marks_path(run))
    frames = [plain_columns(file, _COLUMNS) for file in files]
    counts = pl.concat(
        frame.group_by("policy", "problem_id")
        .agg(n=pl.len(), c=(pl.col("verdict") == Verdict.CORRECT.value).sum())
        .collect()
        for frame in frames
    )
    counts = counts.group_by("policy", "problem_id").agg(pl.col("n", "c").sum())
    rare = counts.filter(pl.col("c").is_between(1, fewer_than - 1)).select("policy", "problem_id", rare=pl.lit(True))
    by_hand = pl.DataFrame(list(marks.verdicts), schema=_KEY_SCHEMA, orient="row").with_columns(marked=pl.lit(True))
    found = pl.concat(
        frame.join(rare.lazy(), on=["policy", "problem_id"], how="left")
        .join(by_hand.lazy(), on=list(_KEY_SCHEMA), how="left")
        .filter((pl.col("rare") & (pl.col("verdict") == Verdict.CORRECT.value)) | pl.col("marked"))
        .select(_COLUMNS)
        .collect()
        for frame in frames
    )
    rows = found.join(counts, on=["policy", "problem_id"]).to_dicts()
    groups = _groups(run)
    problems = {problem.id: problem for problem in read_problems(run / "problems.parquet")}
    verdicts = [_rare(row, marks.verdicts, marks.notes, groups, problems, fewer_than) for row in rows]
    return sorted(
        verdicts,
        key=lambda v: (not v.decides, GROUP_ORDER.index(v.group), v.c, v.problem_id, v.policy, v.sample_index),
    )


_KEY_SCHEMA: Mapping[str, Any] = {"policy": str, "problem_id": str, "sample_index": int}


def _rare(
    row: Mapping[str, Any],
    marks: Mapping[Key, Verdict],
    notes: Mapping[Key, str],
    groups: Mapping[str, str],
    problems: Mapping[str, Problem],
    fewer_than: int,
) -> RareVerdict:
    key = (row["policy"], row["problem_id"], row["sample_index"])
    problem = problems.get(row["problem_id"])
    mark = marks.get(key)
    group = groups.get(row["problem_id"], "")
    return RareVerdict(
        **{name: row[name] for name in ("policy", "problem_id", "sample_index", "verdict", "c", "n")},
        **{name: row[name] for name in ("answer", "stage", "leniency", "reason", "text")},
        mark=str(mark.value) if mark else "",
        note=notes.get(key, ""),
        group=group,
        decides=row["c"] < fewer_than and group in ("E", "S"),
        prompt=problem.prompt if problem else "",
        reference=problem.reference if problem else "",
    )


def _groups(run: Path) -> dict[str, str]:
    """problem id -> P, E, S or O, as last reduced."""
    path = run / "per_problem.parquet"
    if not path.is_file():
        return {}
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["problem_id", "group"], partitioning=None)
    return dict(zip(table["problem_id"].to_pylist(), table["group"].to_pylist(), strict=True))


def summary(verdicts: Sequence[RareVerdict]) -> str:
    """One line: how many there are, and how many of them decide something and are not looked at yet."""
    rare = [v for v in verdicts if v.verdict == Verdict.CORRECT.value or v.mark]
    deciding = [v for v in rare if v.decides]
    open_ = [v for v in deciding if not v.mark]
    return (
        f"{len(rare)} rare correct completions, {len(deciding)} of them decide whether a problem counts as expanded or "
        f"shrunk ({len(open_)} not marked)"
    )
