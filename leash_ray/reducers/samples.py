"""Which samples there are, and which of them are ERRORs: duplicates, gaps, and how many come before one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leash_ray.reducers import bitsets
from leash_ray.reducers.arrays import arrow_table
from leash_ray.reducers.bitsets import PAIR_SHIFT, WORD_BITS, Bitsets, Ranks
from leash_ray.reducers.block import CODE, Block, Ints
from leash_ray.reducers.reducer import ints

_WORD_MASK = (1 << PAIR_SHIFT) - 1


class SampleIndices:
    """(pair, word, copy, error) -> bits (:mod:`leash_ray.reducers.bitsets`); ``error``: of the ERRORs alone. Rows that
    are not of ERRORs are of all samples."""

    name = "samples"
    version = 1
    columns = ()
    schema = pa.schema(
        [("pair", pa.int32()), ("word", pa.int32()), ("copy", pa.int8()), ("error", pa.bool_()), ("bits", pa.uint64())]
    )

    def measures(self, table: pa.Table) -> Mapping[str, Ints]:
        return {}

    def update(self, block: Block) -> pa.Table:
        error = np.flatnonzero(block.verdict == CODE["ERROR"])
        every = _of_rows(block, slice(None))
        return _state(every, _of_rows(block, error))

    def merge(self, states: pa.Table, n_pairs: int) -> pa.Table:
        return _state(*_sets(states))

    def finalize(self, state: pa.Table, n_pairs: int) -> "Drawn":
        every, errors = _sets(state)
        return Drawn(every, _ranks(every, None), _ranks(every, errors))


@dataclass(frozen=True, slots=True)
class Drawn:
    """The samples of all pairs."""

    every: Bitsets
    drawn: Ranks
    """All samples."""
    scored: Ranks
    """All but ERRORs."""

    def repeated(self) -> tuple[Ints, Ints, Ints]:
        """(pair, index, times) of the samples that occur more than once."""
        twice = np.isin(self.every.key, self.every.key[self.every.copy > 1])
        key, bits = self.every.key[twice], self.every.bits[twice]
        if not len(key):
            return key, key, key
        at = np.flatnonzero(np.diff(key, prepend=-1))
        times = np.add.reduceat(bitsets.bits_of(bits).astype(np.int64), at, axis=0)
        row, bit = np.nonzero(times > 1)
        return key[at][row] >> PAIR_SHIFT, (key[at][row] & _WORD_MASK) * WORD_BITS + bit, times[row, bit]


def _ranks(every: Bitsets, errors: Bitsets | None) -> Ranks:
    once = every.copy == 1
    key, bits = every.key[once], every.bits[once]
    if errors is None or not len(errors.key):
        return Ranks(key, bits)
    bits = bits.copy()
    first = errors.copy == 1
    bits[np.searchsorted(key, errors.key[first])] &= ~errors.bits[first]
    some = bits > 0
    return Ranks(key[some], bits[some])


def _of_rows(block: Block, rows: slice | NDArray[np.int64]) -> Bitsets:
    value = block.group[rows].astype(np.int64)
    np.left_shift(value, 32, out=value)
    np.bitwise_or(value, block.index[rows], out=value)
    found = bitsets.of_values(value)
    # Groups in ascending order are pairs in ascending order.
    pair = np.searchsorted(block.groups, found.key >> PAIR_SHIFT)
    return found._replace(key=(pair << PAIR_SHIFT) | (found.key & _WORD_MASK))


def _sets(state: pa.Table) -> tuple[Bitsets, Bitsets]:
    """All samples, and the ERRORs."""
    key = (ints(state, "pair").astype(np.int64) << PAIR_SHIFT) | ints(state, "word")
    copy, bits, error = ints(state, "copy"), ints(state, "bits"), ints(state, "error")
    every, errors = (bitsets.add(Bitsets(key[of], copy[of], bits[of])) for of in (~error, error))
    return every, errors


def _state(every: Bitsets, errors: Bitsets) -> pa.Table:
    key, copy, bits = bitsets.concat(every, errors)
    return arrow_table(
        {
            "pair": (key >> PAIR_SHIFT).astype(np.int32),
            "word": (key & _WORD_MASK).astype(np.int32),
            "copy": copy,
            "error": np.arange(len(key)) >= len(every.key),
            "bits": bits,
        },
        schema=SampleIndices.schema,
    )
