"""The smallest sample index that is CORRECT, and the smallest that is an ERROR, by (policy, problem)."""

import pyarrow as pa

from leash_ray.reducers.block import CODE, Block
from leash_ray.reducers.reducer import ByPair, least_at


class FirstHits(ByPair):
    """``first_correct`` and ``first_error``; null: none."""

    name = "first_hits"
    least = ("first_correct", "first_error")

    def update(self, block: Block) -> pa.Table:
        cells, found = block.cells, {}
        for name in self.least:
            which = cells.verdict == CODE[name.removeprefix("first_").upper()]
            found[name] = least_at(cells.pair[which], cells.first[which], block.n_pairs)
        return self.dense(block.n_pairs, found)
