"""A Ray Data set of completions, wherever it comes from -> its state: the reducers as an aggregation of Ray Data.

For rows that Ray Data has at hand. Files are reduced faster by :func:`leash_ray.reduce.reduce_paths`.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from leash_ray.errors import UsageError
from leash_ray.reducers import CompletionsState, state_of_block
from leash_ray.reducers.accumulator import Accumulator
from leash_ray.reducers.parts import from_bytes, to_bytes

if TYPE_CHECKING:
    import ray.data


def state_of_dataset(data: "ray.data.Dataset", policies: Sequence[str] | None = None) -> CompletionsState:
    """The state of a data set of completions: each block is reduced where it is, and only states come here.

    Args:
        policies: as of :func:`leash_ray.reducers.state_of_block`.

    Raises:
        UsageError: as of :func:`leash_ray.reducers.state_of_block`.
    """
    with Accumulator() as states:
        for row in data.map_batches(
            partial(_state, policies=policies), batch_size=None, batch_format="pyarrow"
        ).iter_rows():
            if row["error"] is not None:
                raise UsageError(row["error"])
            states.add(from_bytes(row["state"]))
        parts = list(states.parts())
    return parts[0].merge(*parts[1:])


def _state(block: pa.Table, policies: Sequence[str] | None) -> pa.Table:
    error, state = None, b""
    try:
        state = to_bytes(state_of_block(block, policies), compression="zstd")
    except UsageError as e:
        error = str(e)  # as a value: a task's traceback tells a user nothing
    return pa.table({"error": pa.array([error], pa.string()), "state": pa.array([state], pa.large_binary())})
