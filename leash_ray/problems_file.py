"""``problems.parquet``: a run's measured problems, each with the verifier that judges its completions."""

import json
from collections.abc import Sequence
from pathlib import Path

from leash_ray.files import atomic_path
from leash_ray.types import Problem

_TEXTS = ("id", "task", "prompt", "verifier", "reference")


def read_problems(path: Path) -> list[Problem]:
    """The problems of a file that :func:`write_problems` wrote. In one from elsewhere, what is missing is empty; no
    file, no problems."""
    if not path.is_file():
        return []
    import pyarrow.parquet as pq

    rows = pq.read_table(path, partitioning=None).to_pylist()
    return [
        Problem(**{name: row.get(name) or "" for name in _TEXTS}, metadata=json.loads(row.get("metadata") or "{}"))
        for row in rows
    ]


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Write the file whole, or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {name: getattr(problem, name) for name in _TEXTS} | {"metadata": json.dumps(dict(problem.metadata))}
        for problem in problems
    ]
    with atomic_path(path) as tmp:
        pq.write_table(pa.Table.from_pylist(rows), tmp)
