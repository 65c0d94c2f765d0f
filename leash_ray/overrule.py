"""Putting a person's marks into a run's completions, and taking them out again."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from leash_ray.changes import Changes, compare
from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.marks import Key, marks_path, read_marks
from leash_ray.run_dir import RunDir
from leash_ray.shard_verdicts import (
    VERDICT_OF_KEY,
    keys_of,
    overruled,
    own_verifications,
    with_verifications,
    write_shard,
)


def put_marks(run: RunDir) -> Changes:
    """Let the marks that hold overrule the verifier, and no others: where one was withdrawn, the verifier's verdict
    counts again. Only shards where that changes something are written. The run must be held by the caller."""
    marks = read_marks(marks_path(run.path))
    problems = {problem_id for _, problem_id, _ in marks.verdicts}
    total = Changes()
    for shard in parquet_files(run.completions):
        present = pq.read_schema(shard).names
        old = pq.read_table(shard, columns=[c for c in VERDICT_OF_KEY if c in present], partitioning=None)
        if not overruled(old) and problems.isdisjoint(old["problem_id"].unique().to_pylist()):
            total.add(compare(old, old))
            continue
        own = own_verifications(old)
        new = with_verifications(old, own, marks)
        total.add(compare(old, new))
        if overruled(new) != overruled(old) or not new.select(old.column_names).equals(old):
            table = pq.read_table(shard, partitioning=None)
            write_shard(shard, with_verifications(table, own, marks))
    return total


def refuse_unknown(run: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Refuse marks of completions that a run does not have.

    Raises:
        UsageError: names the first.
    """
    keys = [(str(row["policy"]), str(row["problem_id"]), int(str(row["sample_index"]))) for row in rows]
    problems, known = {key[1] for key in keys}, set[Key]()
    for shard in parquet_files(run / "completions"):
        table = pq.read_table(shard, columns=["policy", "problem_id", "sample_index"], partitioning=None)
        if not problems.isdisjoint(table["problem_id"].unique().to_pylist()):
            known.update(keys_of(table))
    for policy, problem_id, sample_index in keys:
        if (policy, problem_id, sample_index) not in known:
            raise UsageError(
                f"{run} has no sample {sample_index} of policy {policy!r} on problem {problem_id!r}: correct the "
                "mark, or take its line out"
            )
