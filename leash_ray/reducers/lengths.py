"""How many completions have how many tokens, by policy, task and verdict: exact, so quantiles of length are exact."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import pyarrow as pa

from leash_ray.reducers.arrays import arrow_table, numpy
from leash_ray.reducers.block import MAX_INDEX, VERDICTS, Block, Ints
from leash_ray.reducers.columns import numbers
from leash_ray.reducers.labels import FIELDS
from leash_ray.reducers.reducer import ints


class Lengths:
    """(policy, task, verdict, n_tokens) -> ``count`` of completions. Rows without a length, or with one that is no
    length (negative, or of 2**31 tokens), are not counted."""

    name = "lengths"
    version = 1
    columns = ("n_tokens",)
    schema = pa.schema([*FIELDS, ("verdict", pa.int8()), ("n_tokens", pa.int32()), ("count", pa.int64())])

    def measures(self, table: pa.Table) -> Mapping[str, Ints]:
        return {}

    def update(self, block: Block) -> pa.Table:
        lengths = numbers(block.table, "n_tokens", pa.int64())
        if lengths is None:
            return self.schema.empty_table()
        labels = block.labels
        n_tokens = numpy(lengths)
        kind = labels.row.astype(np.int64) * len(VERDICTS) + block.verdict
        is_length = (n_tokens >= 0) & (n_tokens <= MAX_INDEX)
        if lengths.null_count:
            is_length &= numpy(lengths.is_valid())
        if not is_length.all():
            n_tokens, kind = n_tokens[is_length], kind[is_length]
        width = int(n_tokens.max(initial=0)) + 1
        present, count = _counted(kind * width + n_tokens, len(labels.pair) * len(VERDICTS) * width)
        kind, length = np.divmod(present, width)
        group, verdict = np.divmod(kind, len(VERDICTS))
        found = {
            "pair": labels.pair[group],
            "policy": labels.policy[group],
            "task": labels.task[group],
            "verdict": verdict.astype(np.int8),
            "n_tokens": length.astype(np.int32),
            "count": count,
        }
        return arrow_table(found, schema=self.schema)

    def merge(self, states: pa.Table, n_pairs: int) -> pa.Table:
        frame = pl.DataFrame(pl.from_arrow(states))
        key = ["policy", "task", "verdict", "n_tokens"]
        frame = frame.group_by(key).agg(pl.col("pair").min(), pl.col("count").sum()).sort(key)
        return frame.select(self.schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self.schema)

    def finalize(self, state: pa.Table, n_pairs: int) -> pl.DataFrame:
        """The state, with verdicts spelt out."""
        frame = pl.DataFrame(pl.from_arrow(state)).drop("pair")
        return frame.with_columns(pl.Series("verdict", VERDICTS, dtype=pl.String).gather(ints(state, "verdict")))


def _counted(key: Ints, size: int) -> tuple[Ints, Ints]:
    """The distinct keys below ``size``, ascending, and how often each occurs."""
    if size > 4 * len(key) + 1_000_000:
        return np.unique(key, return_counts=True)
    count = np.bincount(key, minlength=1)
    present = np.flatnonzero(count)
    return present, count[present]
