"""Sums over tokens, by (policy, problem): how many, their log-probabilities, and their entropy.

Log-probabilities and entropies are summed in fixed point, in units of 2**-24 nats: exact for float32 values from 0.5
nats upwards, within 3e-8 nats a completion below; a float sum would depend on the order of the blocks. A value that is
null makes the means that need it missing: how many rows have one is kept.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leash_ray.reducers.arrays import numpy
from leash_ray.reducers.block import Block, Ints
from leash_ray.reducers.columns import numbers
from leash_ray.reducers.reducer import ByPair, sum_at

NATS_UNIT: Final = 2.0**-24
MAX_NATS: Final = 2.0**24
"""Beyond this a log-probability is no log-probability, and sums could overflow."""


class TokenSums(ByPair):
    """``n_tokens`` over the rows that have it (``n_tokens_rows``); ``logprob_units`` and ``logprob_tokens`` over rows
    with both a log-probability and a token count (``logprob_rows``); ``entropy_units`` of the mean entropy of a
    completion's tokens, over rows that have both (``entropy_rows``). Units are NATS_UNIT."""

    name = "tokens"
    columns = ("n_tokens", "logprob_sum", "entropy_sum")
    sums = (
        "n_tokens",
        "n_tokens_rows",
        "logprob_units",
        "logprob_tokens",
        "logprob_rows",
        "entropy_units",
        "entropy_rows",
    )

    def measures(self, table: pa.Table) -> Mapping[str, Ints]:
        """Without those that are the number of rows, or the same as another one."""
        tokens = numbers(table, "n_tokens", pa.int64())
        nats, entropy = (numbers(table, name, pa.float64()) for name in ("logprob_sum", "entropy_sum"))
        if tokens is None:
            return {}
        found: dict[str, Ints] = {}
        has_tokens = None
        if tokens.null_count:
            has_tokens = numpy(tokens.is_valid())
            found["n_tokens_rows"] = has_tokens.astype(np.int64)
        n_tokens = numpy(tokens) if has_tokens is None else np.where(has_tokens, numpy(tokens), 0)
        found["n_tokens"] = n_tokens
        for name, values in (("logprob", nats), ("entropy", entropy)):
            if values is None:
                continue
            each = numpy(values)
            if values.null_count:
                each = np.where(numpy(values.is_valid()), each, np.nan)
            with np.errstate(invalid="ignore", divide="ignore"):
                each = each / n_tokens if name == "entropy" else each
            least = 0.0 if name == "entropy" else -MAX_NATS
            if has_tokens is None and each.min() >= least and each.max() <= MAX_NATS:  # not where one is NaN
                found[f"{name}_units"] = _units(each)
                continue
            usable = (each >= least) & (each <= MAX_NATS)
            if has_tokens is not None:
                usable &= has_tokens
            found |= {f"{name}_units": _units(np.where(usable, each, 0.0)), f"{name}_rows": usable.astype(np.int64)}
            if name == "logprob" and "logprob_rows" in found:
                found["logprob_tokens"] = np.where(usable, n_tokens, 0)
        return found

    def update(self, block: Block) -> pa.Table:
        sums, count = block.cells.sums, block.cells.count
        zero = np.zeros_like(count)

        def of(name: str) -> Ints:
            if name in sums:
                return sums[name]
            if name.endswith("_rows"):  # all rows have it, or none
                of_value = name.removesuffix("_rows")
                return count if of_value in sums or f"{of_value}_units" in sums else zero
            return sums["n_tokens"] if name == "logprob_tokens" and "logprob_units" in sums else zero

        return self.dense(block.n_pairs, {c: sum_at(block.cells.pair, of(c), block.n_pairs) for c in self.sums})


def _units(nats: NDArray[np.float64]) -> Ints:
    units = nats / NATS_UNIT
    return np.rint(units, out=units).astype(np.int64)
