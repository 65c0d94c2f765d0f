"""CORRECT completions by half of a problem's samples: one half has the even sample indices, the other the odd ones.

Two halves of one policy differ by sampling alone, as two policies do that are the same: the noise floor. This is one
split, by the order of drawing; what is averaged over all splits follows from the counts of CORRECT samples. How many
samples a half has follows from which samples there are.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl
import pyarrow as pa

from leash_ray.reducers.arrays import arrow_table, numpy
from leash_ray.reducers.block import CODE, Block, Ints
from leash_ray.reducers.columns import numbers
from leash_ray.reducers.reducer import ints


class HalfCounts:
    """(pair, answer) -> ``odd``: CORRECT completions with an odd sample index that give the answer, where there are
    any; answer -1: it is unknown. Sorted by both."""

    name = "halves"
    version = 1
    columns = ("answer",)
    schema = pa.schema([("pair", pa.int32()), ("answer", pa.int32()), ("odd", pa.int64())])

    def measures(self, table: pa.Table) -> Mapping[str, Ints]:
        kind = table.schema.field("sample_index").type
        index = numbers(table, "sample_index", kind if kind == pa.int32() else pa.int64())
        assert index is not None
        return {"odd": (numpy(index) & 1).astype(np.int8)}

    def update(self, block: Block) -> pa.Table:
        cells = block.cells
        odd = cells.sums["odd"] if "odd" in cells.sums else np.zeros_like(cells.count)
        some = (cells.verdict == CODE["CORRECT"]) & (odd > 0)
        return _summed(cells.pair[some], cells.answer[some], odd[some])

    def merge(self, states: pa.Table, n_pairs: int) -> pa.Table:
        return _summed(*(ints(states, name) for name in self.schema.names))

    def finalize(self, state: pa.Table, n_pairs: int) -> pl.DataFrame:
        """The state."""
        return pl.DataFrame(pl.from_arrow(state))


def _summed(pair: Ints, answer: Ints, odd: Ints) -> pa.Table:
    key = key_of(pair, answer)
    order = np.argsort(key, kind="stable")
    key = key[order]
    at = np.flatnonzero(np.diff(key, prepend=-1))
    key, total = key[at], np.add.reduceat(odd[order], at) if len(at) else np.zeros(0, dtype=np.int64)
    columns = {"pair": (key >> 32).astype(np.int32), "answer": (key & 0xFFFFFFFF).astype(np.int32) - np.int32(1)}
    return arrow_table({**columns, "odd": total}, schema=HalfCounts.schema)


def key_of(pair: Ints, answer: Ints) -> Ints:
    """Both in one whole number, ordered as they are."""
    return (pair.astype(np.int64) << 32) | (answer.astype(np.int64) + 1)
