"""What is known of problems, from a file beside completions tables that came without a run."""

import json
from pathlib import Path
from typing import Any

from leash_ray.errors import UsageError
from leash_ray.types import Problem

_OWN = ("id", "problem_id", "task", "prompt", "verifier", "reference", "metadata")


def read_known_problems(path: Path) -> list[Problem]:
    """Problems by their ids: a run's ``problems.parquet``, or Parquet or JSONL with ``problem_id`` and further columns,
    which become their metadata.

    Raises:
        UsageError: the file cannot be read, or a row has no id.
    """
    import polars as pl

    try:
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_ndjson(path)
    except (pl.exceptions.PolarsError, OSError) as e:
        raise UsageError(f"cannot read {path} as Parquet or JSONL of problems ({str(e).splitlines()[0]})") from e
    if not {"id", "problem_id"} & set(frame.columns):
        raise UsageError(f"{path} has no column problem_id (or id); it has: {', '.join(frame.columns)}")
    return [_problem(row) for row in frame.iter_rows(named=True)]


def _problem(row: dict[str, Any]) -> Problem:
    metadata = row.get("metadata") or {}
    if isinstance(metadata, str):
        metadata = json.loads(metadata)
    metadata = {**metadata, **{k: v for k, v in row.items() if k not in _OWN and v is not None}}
    task, prompt, verifier, reference = (
        str(row.get(name) or "") for name in ("task", "prompt", "verifier", "reference")
    )
    return Problem(str(row.get("problem_id") or row.get("id")), task, prompt, verifier, reference, metadata)
