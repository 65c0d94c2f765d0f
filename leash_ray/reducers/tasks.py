"""Which tasks a problem was said to belong to."""

import numpy as np
import polars as pl
import pyarrow as pa

from leash_ray.reducers.arrays import arrow_table
from leash_ray.reducers.block import Block
from leash_ray.reducers.reducer import Ints, ints


class Tasks:
    """The distinct (pair, task); rows that name no task are none."""

    name = "tasks"
    version = 1
    columns = ("task",)
    schema = pa.schema([("pair", pa.int32()), ("task", pa.int32())])

    def measures(self, table: pa.Table) -> dict[str, Ints]:
        return {}

    def update(self, block: Block) -> pa.Table:
        known = block.cells.task >= 0
        state = arrow_table({"pair": block.cells.pair[known], "task": block.cells.task[known]}, schema=self.schema)
        return self.merge(state, block.n_pairs)

    def merge(self, states: pa.Table, n_pairs: int) -> pa.Table:
        n_tasks = int(ints(states, "task").max(initial=0)) + 1
        pair, task = np.divmod(
            _distinct(ints(states, "pair").astype(np.int64) * n_tasks + ints(states, "task")), n_tasks
        )
        return arrow_table({"pair": pair.astype(np.int32), "task": task.astype(np.int32)}, schema=self.schema)

    def finalize(self, state: pa.Table, n_pairs: int) -> pl.DataFrame:
        """Columns pair and task, sorted by pair."""
        return pl.DataFrame(pl.from_arrow(state)).sort("pair", "task")


def _distinct(key: Ints) -> Ints:
    n = int(key.max(initial=-1)) + 1
    if n > 8 * len(key) + 1000:
        return np.unique(key)
    seen = np.zeros(n, dtype=bool)
    seen[key] = True
    return np.flatnonzero(seen)
