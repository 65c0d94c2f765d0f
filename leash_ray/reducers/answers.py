"""How often each distinct answer came: the large state, from which entropies and richness follow."""

import numpy as np
import polars as pl
import pyarrow as pa

from leash_ray.reducers.block import CODE, Block
from leash_ray.reducers.reducer import Ints, ints

_NONE = 2**62  # a first sample index that is none; summing and taking the minimum need no nulls then


class AnswerCounts:
    """(pair, answer) -> ``count`` of scored completions that give it, ``correct`` ones among them, and the smallest
    sample index of a CORRECT one (``first``, null: none). Answer -1 is "NA", the pooled completions without one."""

    name = "answers"
    version = 1
    columns = ("answer",)
    schema = pa.schema(
        [("pair", pa.int32()), ("answer", pa.int32())] + [(c, pa.int64()) for c in ("count", "correct", "first")]
    )

    def measures(self, table: pa.Table) -> dict[str, Ints]:
        return {}

    def update(self, block: Block) -> pa.Table:
        cells = block.cells
        scored = cells.verdict != CODE["ERROR"]
        correct = (cells.verdict == CODE["CORRECT"])[scored]
        count, first = cells.count[scored], cells.first[scored]
        frame = pl.DataFrame(
            {
                "pair": cells.pair[scored],
                "answer": cells.answer[scored],
                "count": count,
                "correct": np.where(correct, count, 0),
                "first": np.where(correct, first, _NONE),
            }
        )
        return _state(frame)

    def merge(self, states: pa.Table, n_pairs: int) -> pa.Table:
        # One integer key: it is quicker to group by than two columns.
        key = (ints(states, "pair").astype(np.int64) << 32) | (ints(states, "answer") + np.int32(1))
        columns = {c: pl.Series(pl.from_arrow(states.column(c))) for c in ("count", "correct", "first")}
        frame = pl.DataFrame({"key": key, **columns}).with_columns(pl.col("first").fill_null(_NONE))
        frame = frame.group_by("key").agg(pl.col("count", "correct").sum(), pl.col("first").min())
        keys = frame["key"].to_numpy()
        pair, answer = (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32) - np.int32(1)
        return _state(frame.with_columns(pair=pair, answer=answer))

    def finalize(self, state: pa.Table, n_pairs: int) -> pl.DataFrame:
        """The state."""
        return pl.DataFrame(pl.from_arrow(state))


def _state(frame: pl.DataFrame) -> pa.Table:
    frame = frame.with_columns(first=pl.when(pl.col("first") < _NONE).then("first"))
    return frame.select(AnswerCounts.schema.names).to_arrow(compat_level=pl.CompatLevel.oldest())
