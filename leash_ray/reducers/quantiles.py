"""Where the surprisals and token entropies of completions lie, by policy and task: KLL sketches.

A completion's surprisal is -logprob_sum / n_tokens, its token entropy entropy_sum / n_tokens: means over its tokens,
nats. A sketch (Apache DataSketches; Karnin, Lang and Liberty 2016, arXiv 1603.05346) keeps some of the values, and says
of any of them which share of all is below it, within ``RANK_ERROR`` at ``CONFIDENCE``; sketches merge without losing
that. The 0.9-quantile that it gives is therefore a value whose true rank lies between 0.9 - RANK_ERROR and
0.9 + RANK_ERROR.

Degenerate cases: while there are few values (about K of them) all are kept, and quantiles are exact. Beyond that a
sketch throws away every other value, by a coin that the library does not let anyone seed: other blocks, orders or runs
give other values within the same bound. Unlike all other states, these are not the same to the bit.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leash_ray.reducers.arrays import numpy
from leash_ray.reducers.block import Block, Ints
from leash_ray.reducers.columns import numbers
from leash_ray.reducers.labels import FIELDS
from leash_ray.reducers.reducer import ints

K: Final = 400
"""At most about 3 K values are kept."""
RANK_ERROR: Final = 0.0068
"""Of a sketch with this K, as a share of all values (``kll_floats_sketch.normalized_rank_error``)."""
CONFIDENCE: Final = 0.99
MEASURES: Final = ("surprisal", "token_entropy")
Floats = NDArray[np.float32]


class TokenQuantiles:
    """(policy, task, measure) -> a sketch, as the library writes it. Rows without the value are left out."""

    name = "token_quantiles"
    version = 1
    columns = ("n_tokens", "logprob_sum", "entropy_sum")
    schema = pa.schema([*FIELDS, ("measure", pa.int8()), ("sketch", pa.large_binary())])

    def measures(self, table: pa.Table) -> Mapping[str, Ints]:
        return {}

    def update(self, block: Block) -> pa.Table:
        rows: list[tuple[int, int, int, int, bytes]] = []
        known = [(i, values) for i, values in enumerate(_values_of(block.table)) if values is not None]
        if not known:
            return self.schema.empty_table()
        labels = block.labels
        groups = _places_of(labels.row, len(labels.pair))
        for measure, values in known:
            for g, places in enumerate(groups):
                own = values if places is None else values[places]
                usable = np.isfinite(own)
                own = own if usable.all() else own[usable]
                if len(own):
                    sketch = _sketch()
                    sketch.update(np.ascontiguousarray(own))
                    key = (int(x[g]) for x in (labels.pair, labels.policy, labels.task))
                    rows.append((*key, measure, sketch.serialize()))  # type: ignore[arg-type]
        return self._state(rows)

    def merge(self, states: pa.Table, n_pairs: int) -> pa.Table:
        found: dict[tuple[int, int, int], tuple[int, Any]] = {}
        key = (ints(states, name).tolist() for name in ("policy", "task", "measure", "pair"))
        for policy, task, measure, pair, data in zip(*key, states.column("sketch"), strict=True):
            held = found.get((policy, task, measure))
            sketch = sketch_of(data.as_py())
            if held is None:
                found[policy, task, measure] = pair, sketch
            else:
                held[1].merge(sketch)
                found[policy, task, measure] = min(pair, held[0]), held[1]
        return self._state([(pair, p, t, m, sketch.serialize()) for (p, t, m), (pair, sketch) in sorted(found.items())])

    def finalize(self, state: pa.Table, n_pairs: int) -> pa.Table:
        """The state."""
        return state

    def _state(self, rows: list[tuple[int, int, int, int, bytes]]) -> pa.Table:
        columns = zip(*rows, strict=True) if rows else [()] * len(self.schema)
        return pa.Table.from_arrays(
            [pa.array(list(c), f.type) for c, f in zip(columns, self.schema, strict=True)], schema=self.schema
        )


def _sketch() -> Any:
    import datasketches  # here: only those who ask for quantiles need it

    return datasketches.kll_floats_sketch(K)


def sketch_of(data: bytes) -> Any:
    """A sketch of a state: ``datasketches.kll_floats_sketch``."""
    import datasketches

    return datasketches.kll_floats_sketch.deserialize(data)


def merged(sketches: list[bytes]) -> Any | None:
    """One sketch of several; None: of none."""
    if not sketches:
        return None
    total = sketch_of(sketches[0])
    for one in sketches[1:]:
        total.merge(sketch_of(one))
    return total


def _values_of(table: pa.Table) -> Iterator[Floats | None]:
    """Of each of ``MEASURES``: its value in every row, not finite where there is none, [rows]; None: in no row."""
    tokens = numbers(table, "n_tokens", pa.int64())
    for name, sign in (("logprob_sum", -1.0), ("entropy_sum", 1.0)):
        sums = numbers(table, name, pa.float64())
        if tokens is None or sums is None:
            yield None
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            found = sign * numpy(sums) / numpy(tokens)
        for one in (tokens, sums):
            if one.null_count:
                found[numpy(one.is_null())] = np.nan
        yield found.astype(np.float32)


def _places_of(label: NDArray[np.int32], n: int) -> list[NDArray[np.int64] | None]:
    """Rows of each label; None: all."""
    if n == 1:
        return [None]
    order = np.argsort(label.astype(np.uint16) if n < 1 << 16 else label, kind="stable")
    return list(np.split(order, np.cumsum(np.bincount(label, minlength=n))[:-1]))
