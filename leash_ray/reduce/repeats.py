"""Samples that occur more than once, dropped on request: of each, the first copy in the order of the files is kept."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa

from leash_ray.reduce.read import Reading, pieces_of, tables_of
from leash_ray.reduce.sources import File
from leash_ray.reducers import REDUCERS, CompletionsState, state_of_block
from leash_ray.reducers.choose import of_pairs
from leash_ray.reducers.registry import SPREADS
from leash_ray.reducers.samples import Drawn

_PAIR = ["policy", "problem_id"]


def without_repeats(state: CompletionsState, files: Sequence[File], reading: Reading) -> CompletionsState:
    """The state without the later copies. Rows of the pairs that have some are read again, and held in memory. What is
    kept of tasks and not of pairs cannot be taken apart: if there are copies, the state has no more of it."""
    state = state.merge()
    every, errors = (REDUCERS[n].finalize(state.tables[n], len(state.pairs)) for n in ("samples", "errors"))
    pair, _, times = Drawn.of(every, errors).repeated()
    if not len(pair):
        return state
    affected = np.zeros(len(state.pairs), dtype=bool)
    affected[pair] = True
    keys = pl.DataFrame(pl.from_arrow(state.keys)).with_columns(pl.col(_PAIR).cast(pl.String))
    rows = _rows_of(keys.filter(affected), files, reading)
    once = rows.unique([*_PAIR, "sample_index"], keep="first", maintain_order=True)
    counts, reducers = dict(state.policies), [name for name in state.tables if name not in SPREADS]
    for policy, n in (
        keys[pair].with_columns(n=pl.Series(times) - 1).group_by("policy").agg(pl.col("n").sum()).iter_rows()
    ):
        counts[policy] -= n
    again = replace(state_of_block(once.to_arrow(compat_level=pl.CompatLevel.oldest()), reducers=reducers), policies={})
    return replace(of_pairs(state.only(reducers), ~affected), policies=counts).merge(again)


def _rows_of(pairs: pl.DataFrame, files: Sequence[File], reading: Reading) -> pl.DataFrame:
    found = []
    for piece in pieces_of(files):
        for table in tables_of(piece, reading):
            frame = pl.DataFrame(pl.from_arrow(_plain(table)))
            found.append(frame.join(pairs, on=_PAIR, how="semi", maintain_order="left"))
    return pl.concat(found, how="diagonal_relaxed")


def _plain(table: pa.Table) -> pa.Table:
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type) or pa.types.is_integer(field.type):
            kind = pa.large_string() if field.name in (*_PAIR, "task", "verdict", "answer", "leniency") else None
            if kind is not None or not pa.types.is_dictionary(field.type):
                table = table.set_column(i, field.name, table.column(i).cast(kind or pa.int64()))
    return table
