"""``leash verify --undo``: a verification taken back; the verdicts and verifiers before it hold again.

Stopped in the middle, the same command goes on: a shard that has its old verdicts again no longer says that it is of
the verification. What was asked and what it changed is kept in ``verifications/undone.jsonl``.
"""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from leash_ray.changes import Changes, compare
from leash_ray.errors import UsageError
from leash_ray.files import parquet_files, write_json
from leash_ray.marks import Marks, marks_path, read_marks
from leash_ray.problems_file import read_problems, write_problems
from leash_ray.provenance import now
from leash_ray.run_dir import RunDir
from leash_ray.shard_verdicts import keys_of, own_verifications, with_verifications, write_shard
from leash_ray.types import VERDICT_COLUMNS
from leash_ray.verifications import NUMBER, Reverification, last_verification, verifiers_of


class Undone(NamedTuple):
    """What taking a verification back did."""

    number: str
    changes: Changes
    verifiers: str
    """The problems' verifiers, as they are again."""
    n_made_since: int
    """Completions that were sampled after the verification, and so were judged by its verifiers."""


def undo(run: RunDir) -> Undone:
    """Take the run's last verification back, finished or not; the run must be held by the caller. Marks go on to hold.

    Raises:
        UsageError: there is none, or the completions are others than it verified.
    """
    last = last_verification(run)
    if last is None:
        raise UsageError(f"{run.path} has no verification to take back: its verdicts are those of sampling")
    return take_back(last)


def take_back(last: Reverification, keep_record: bool = True) -> Undone:
    """Take the last verification of a run back. Raises as of :func:`undo`."""
    run, record, marks = last.run, last.record(), read_marks(marks_path(last.run.path))
    if "undoing" not in record:
        record = {**record, "done": None, "undoing": {"done": record["done"]}}
        write_json(last.record_json, record)
    done = record.pop("undoing")["done"]
    total, n_made_since = Changes(), 0
    for shard in parquet_files(run.completions):
        if last.old_path(shard).is_file():
            total.add(_restore(last, shard, marks))
        elif done:
            n_made_since += pq.read_metadata(shard).num_rows
    problems = read_problems(last.problems_before)
    write_problems(run.problems_parquet, problems)
    if keep_record:
        with open(last.folder.parent / "undone.jsonl", "a", encoding="utf-8") as f:
            f.write(json.dumps({"number": last.number, **record, "done": done, "undone": now()}) + "\n")
    last.record_json.unlink()  # first what makes it a verification: if this stops here, the rest is in nobody's way
    shutil.rmtree(last.folder)
    return Undone(last.number, total, verifiers_of(problems), n_made_since)


def _restore(last: Reverification, shard: Path, marks: Marks) -> Changes:
    """Put a shard's old verdicts back, unless it still or again has them."""
    old = pq.read_table(last.old_path(shard), partitioning=None)
    if not last.is_done(shard):
        same = pq.read_table(shard, columns=old.column_names, partitioning=None)
        return compare(same, same)
    table = pq.read_table(shard, partitioning=None)
    if keys_of(old) != keys_of(table):
        raise UsageError(
            f"{shard} has other completions than verification {last.number} verified: put the file back that it had"
        )
    new = with_verifications(table, own_verifications(old), marks)
    new = new.drop_columns([name for name in VERDICT_COLUMNS if name not in old.column_names])
    changes = compare(table, new)
    metadata = {k: v for k, v in (new.schema.metadata or {}).items() if k != NUMBER}
    if earlier := (old.schema.metadata or {}).get(NUMBER):
        metadata[NUMBER] = earlier
    write_shard(shard, new.replace_schema_metadata(metadata))
    return changes
