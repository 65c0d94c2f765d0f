"""Pieces -> states of disjoint problems: with the threads of this process, or on a Ray cluster. The same either way."""

import functools
import os
import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pyarrow as pa

from leash_ray.errors import UsageError
from leash_ray.reduce.read import Piece, Reading, state_of_piece
from leash_ray.reducers import CompletionsState
from leash_ray.reducers.accumulator import N_PARTS, Accumulator
from leash_ray.reducers.parts import cut, from_bytes, to_bytes

BUDGET_BYTES = 1 << 30
"""Of states in one process; beyond it they go to disk."""
_TASKS_PER_CPU = 2
_TASK_PIECES = 256
"""At most, so that little is lost with a worker."""
_WHOLE_BYTES = 256 << 20
"""Of all tasks' states: up to it they are exchanged whole, and merged by the driver."""


def n_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def here(pieces: Sequence[Piece], reading: Reading, budget_bytes: int = BUDGET_BYTES) -> Iterator[CompletionsState]:
    """With the threads of this process: Arrow, NumPy and Polars work outside the interpreter's lock."""
    threads = n_threads()
    with Accumulator(budget_bytes) as states:
        _accumulate(states, pieces, reading, threads)
        yield from states.parts(threads)


def _accumulate(states: Accumulator, pieces: Sequence[Piece], reading: Reading, threads: int) -> None:
    def work(piece: Piece) -> CompletionsState | list[CompletionsState]:
        state = state_of_piece(piece, reading)
        return cut(state, N_PARTS) if states.is_cut else state

    if threads == 1:
        for piece in pieces:
            states.add(work(piece))
        return
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Any]] = deque()
        try:
            for piece in pieces:
                ahead.append(pool.submit(work, piece))
                if len(ahead) > threads:
                    states.add(ahead.popleft().result())
            while ahead:
                states.add(ahead.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)


def on_ray(pieces: Sequence[Piece], reading: Reading) -> Iterator[CompletionsState]:
    """On the Ray cluster: each task of Ray Data reduces some pieces, and only states are exchanged.

    Small states are merged by this process. Large ones are cut by problem, each part is sent to where it is merged, and
    this process takes one part after another. That exchange is by Ray's own tasks: Ray Data's groupby took twice as
    long (15 s in place of 8 s for 10M completions of 200,000 problems on two cores). A user's mistake in a file comes
    back as a value, not as a task's traceback.
    """
    import ray

    from leash_ray.cluster import connect, quiet_ray_data

    if len(pieces) < 2:
        yield from here(pieces, reading)
        return
    first = []
    if not ray.is_initialized():
        first, pieces = [state_of_piece(pieces[0], reading)], pieces[1:]  # a mistake is told before Ray starts
        connect()
    quiet_ray_data()
    n_tasks = _n_tasks(len(pieces), int(ray.cluster_resources().get("CPU", 1)))
    # Neighbours to one task: samplers write a problem's samples near each other, so few tasks meet it.
    bounds = [len(pieces) * i // n_tasks for i in range(n_tasks + 1)]
    items = [{"pieces": [pickle.dumps(p) for p in pieces[a:b]]} for a, b in pairwise(bounds)]
    data = ray.data.from_items(items, override_num_blocks=n_tasks).map_batches(
        functools.partial(_partial, reading=reading, whole_bytes=_WHOLE_BYTES // n_tasks),
        batch_size=None,
        batch_format="pyarrow",
    )
    # What it reserves for operators to come, of which there is none, would start the first tasks one by one.
    data.context.op_resource_reservation_enabled = False
    data = data.materialize()
    blocks = data.to_arrow_refs()
    if data.count() == n_tasks:  # no task has cut its state
        with Accumulator(BUDGET_BYTES) as states:
            for state in (*first, *(_state(row) for block in blocks for row in ray.get(block).to_pylist())):
                states.add(state)
            yield from states.parts(n_threads())
        return
    own = cut(first[0], N_PARTS) if first else [CompletionsState.empty()] * N_PARTS
    split, merge = ray.remote(_split).options(num_returns=N_PARTS), ray.remote(_merged)
    columns = [split.remote(block) for block in blocks]
    merged = [merge.remote(i, *parts) for i, parts in enumerate(zip(*columns, strict=True))]
    del blocks, data, columns
    for i in range(N_PARTS):
        state = _state(ray.get(merged[i]))
        merged[i] = None
        yield own[i].merge(state)


def _n_tasks(n_pieces: int, cpus: int) -> int:
    return min(n_pieces, max(_TASKS_PER_CPU * cpus, -(-n_pieces // _TASK_PIECES)))


Row = dict[str, Any]
"""``part``: -1 for a whole state; ``error``: what is wrong with a file, or None; ``state``: bytes."""


def _state(row: Row) -> CompletionsState:
    if row["error"] is not None:
        raise UsageError(row["error"])
    return from_bytes(row["state"])


def _partial(batch: pa.Table, reading: Reading, whole_bytes: int) -> pa.Table:
    """A task's pieces as one state; where that is larger than ``whole_bytes``, as its parts, one row each."""
    with Accumulator(BUDGET_BYTES // 2) as states:
        try:
            for item in batch.column("pieces").to_pylist():
                for piece in item:
                    states.add(state_of_piece(pickle.loads(piece), reading))
        except UsageError as e:
            return _table([{"part": -1, "error": str(e), "state": b""}])
        found = list(states.parts())
    if len(found) == 1 and found[0].nbytes > whole_bytes:
        found = cut(found[0], N_PARTS)
    return _table([_row(i if len(found) > 1 else -1, state) for i, state in enumerate(found)])


def _split(block: pa.Table) -> list[list[Row]]:
    """A block's rows by part; Ray Data makes several blocks of a task's rows where they are large."""
    parts: list[list[Row]] = [[] for _ in range(N_PARTS)]
    for row in block.to_pylist():
        if row["error"] is not None:
            parts[0].append(row)
        elif row["part"] < 0:
            for i, part in enumerate(cut(_state(row), N_PARTS)):
                parts[i].append(_row(i, part))
        else:
            parts[row["part"]].append(row)
    return parts


def _merged(part: int, *blocks: list[Row]) -> Row:
    """The states of one part as one."""
    rows = [row for block in blocks for row in block]
    for row in rows:
        if row["error"] is not None:
            return row
    return _row(part, CompletionsState.empty().merge(*map(_state, rows)))


def _row(part: int, state: CompletionsState) -> Row:
    return {"part": part, "error": None, "state": to_bytes(state, compression="zstd" if part < 0 else "lz4")}


def _table(rows: list[Row]) -> pa.Table:
    schema = pa.schema([("part", pa.int64()), ("error", pa.string()), ("state", pa.large_binary())])
    return pa.Table.from_pylist(rows, schema=schema)
