"""What a reducer is: four pure functions on a small Arrow table.

A state's ``pair`` column (and ``policy``, ``answer``, ``task``) holds numbers of words that are kept once for all
reducers (:class:`~leash_ray.reducers.state.CompletionsState`); before ``merge`` they are brought to one numbering.
``merge`` is associative and commutative up to the order of rows, and everything in a state is an integer count, sum,
minimum or set, so any split of the rows into blocks, in any order, finalizes to the same bits. The one exception are
sketches of quantiles (:mod:`leash_ray.reducers.quantiles`), which are the same within a stated bound.

To add one: a file with such a class, and its name in :mod:`leash_ray.reducers.registry`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from leash_ray.reducers.arrays import arrow, numpy
from leash_ray.reducers.block import Block, Ints

CODES = ("pair", "policy", "answer", "task")
"""Columns of states that hold numbers of words."""


class Reducer(Protocol):
    """Something that is known of completions, and grows with them."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int:
        """Of the state: one that was written by another version is not read."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Optional columns of the completions table that it looks at."""
        ...

    @property
    def schema(self) -> pa.Schema: ...

    def measures(self, table: pa.Table) -> Mapping[str, Ints]:
        """Whole numbers of each row, to be summed over the rows of a cell; [rows] each."""
        ...

    def update(self, block: Block) -> pa.Table:
        """The state of one block."""
        ...

    def merge(self, states: pa.Table, n_pairs: int) -> pa.Table:
        """One state of several, one after another in one table. Of one: its canonical form."""
        ...

    def finalize(self, state: pa.Table, n_pairs: int) -> Any:
        """Numbers per pair, [n_pairs]."""
        ...


class ByPair:
    """A reducer that keeps one row a pair: sums, and smallest values."""

    name: str
    version: int = 1
    columns: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    least: tuple[str, ...] = ()
    """Smallest values; null: none yet."""

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("pair", pa.int32()), *((c, pa.int64()) for c in (*self.sums, *self.least))])

    def measures(self, table: pa.Table) -> Mapping[str, Ints]:
        return {}

    def merge(self, states: pa.Table, n_pairs: int) -> pa.Table:
        pair = ints(states, "pair")
        found: dict[str, Any] = {c: sum_at(pair, ints(states, c), n_pairs) for c in self.sums}
        for c in self.least:
            known = numpy(states.column(c).is_valid())
            found[c] = least_at(pair[known], ints(states.filter(arrow(known)), c), n_pairs)
        return self.dense(n_pairs, found)

    def dense(self, n_pairs: int, values: Mapping[str, Any]) -> pa.Table:
        """A state with a row for every pair."""
        columns = [
            arrow(np.arange(n_pairs, dtype=np.int32)),
            *(v if isinstance(v := values[f.name], pa.Array) else arrow(v) for f in list(self.schema)[1:]),
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)

    def finalize(self, state: pa.Table, n_pairs: int) -> pl.DataFrame:
        return pl.DataFrame(pl.from_arrow(state)).drop("pair")


def ints(table: pa.Table, name: str) -> NDArray[Any]:
    """A column without nulls as an array."""
    return numpy(table.column(name))


def sum_at(place: NDArray[Any], values: ArrayLike, n: int) -> Ints:
    """Sum of the values at each of n places, exact."""
    total = np.zeros(n, dtype=np.int64)
    np.add.at(total, place, values)
    return total


def least_at(place: NDArray[Any], values: Ints, n: int) -> pa.Array:
    """Smallest of the values at each of n places; null: there is none."""
    none = np.iinfo(np.int64).max
    least = np.full(n, none)
    np.minimum.at(least, place, values)
    return arrow(least, missing=least == none)


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables one after another, each column in one piece."""
    return pa.concat_tables(tables).combine_chunks()
