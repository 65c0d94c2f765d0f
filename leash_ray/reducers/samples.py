"""Which samples there are, and which of them are ERRORs: duplicates, gaps, and how many come before one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from leash_ray.reducers import bitsets
from leash_ray.reducers.arrays import arrow_table
from leash_ray.reducers.bitsets import PAIR_SHIFT, WORD_BITS, Bitsets, Ranks, RanksWithout
from leash_ray.reducers.block import CODE, Block, Ints
from leash_ray.reducers.reducer import ints

_WORD_MASK = (1 << PAIR_SHIFT) - 1


class SampleIndices:
    """(pair, word, copy) -> bits (:mod:`leash_ray.reducers.bitsets`): the indices of all samples, or of the ERRORs."""

    version = 1
    columns = ()
    schema = pa.schema([("pair", pa.int32()), ("word", pa.int32()), ("copy", pa.int8()), ("bits", pa.uint64())])

    def __init__(self, name: str, verdict: str | None = None) -> None:
        """Of all samples, or of those with one verdict."""
        self.name = name
        self._verdict = verdict

    def measures(self, table: pa.Table) -> Mapping[str, Ints]:
        return {}

    def update(self, block: Block) -> pa.Table:
        group, index = block.group, block.index
        if self._verdict is not None:
            rows = np.flatnonzero(block.verdict == CODE[self._verdict])
            group, index = group[rows], index[rows]
        value = group.astype(np.int64)
        np.left_shift(value, 32, out=value)
        np.bitwise_or(value, index, out=value)
        found = bitsets.of_values(value)
        # Groups in ascending order are pairs in ascending order.
        pair = np.searchsorted(block.groups, found.key >> PAIR_SHIFT)
        return _state(found._replace(key=(pair << PAIR_SHIFT) | (found.key & _WORD_MASK)))

    def merge(self, states: pa.Table, n_pairs: int) -> pa.Table:
        return _state(self.finalize(states, n_pairs))

    def finalize(self, state: pa.Table, n_pairs: int) -> Bitsets:
        """The multiset."""
        key = ints(state, "pair").astype(np.int64)
        np.left_shift(key, PAIR_SHIFT, out=key)
        np.bitwise_or(key, ints(state, "word"), out=key)
        return bitsets.add(Bitsets(key, ints(state, "copy"), ints(state, "bits")))


def _state(of: Bitsets) -> pa.Table:
    pair, word = (of.key >> PAIR_SHIFT).astype(np.int32), (of.key & _WORD_MASK).astype(np.int32)
    return arrow_table({"pair": pair, "word": word, "copy": of.copy, "bits": of.bits}, schema=SampleIndices.schema)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The samples of all pairs."""

    every: Bitsets
    drawn: Ranks
    """All samples."""
    scored: Ranks | RanksWithout
    """All but ERRORs."""

    @staticmethod
    def of(every: Bitsets, errors: Bitsets) -> "Drawn":
        """From the finalized states of both."""
        drawn = Ranks(*_once(every))
        return Drawn(every, drawn, RanksWithout(drawn, Ranks(*_once(errors))) if len(errors.key) else drawn)

    def repeated(self) -> tuple[Ints, Ints, Ints]:
        """(pair, index, times) of the samples that occur more than once."""
        if (self.every.copy == 1).all():
            return (np.zeros(0, dtype=np.int64),) * 3
        twice = np.isin(self.every.key, self.every.key[self.every.copy > 1])
        key, bits = self.every.key[twice], self.every.bits[twice]
        at = np.flatnonzero(np.diff(key, prepend=-1))
        times = np.add.reduceat(bitsets.bits_of(bits).astype(np.int64), at, axis=0)
        row, bit = np.nonzero(times > 1)
        return key[at][row] >> PAIR_SHIFT, (key[at][row] & _WORD_MASK) * WORD_BITS + bit, times[row, bit]


def _once(of: Bitsets) -> tuple[Ints, bitsets.Bits]:
    """The set."""
    first = of.copy == 1
    return (of.key, of.bits) if first.all() else (of.key[first], of.bits[first])
