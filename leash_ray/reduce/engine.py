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
_TASKS_PER_CPU = 4
_WHOLE_BYTES = 256 << 20  # states that are exchanged whole, merged by the driver


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
    """On the Ray cluster, by Ray Data: each task reduces some pieces, and only states are exchanged.

    Small states are merged by this process. Large ones are cut by problem, sent to each other by part, and merged where
    they meet. A user's mistake in a file comes back as a value, not as a task's traceback.
    """
    import ray

    from leash_ray.cluster import connect, quiet_ray_data

    if len(pieces) < 2:
        yield from here(pieces, reading)
        return
    first = state_of_piece(pieces[0], reading)  # refuses before Ray starts, and says how large states are
    is_cut = first.nbytes * len(pieces) > _WHOLE_BYTES
    if not ray.is_initialized():
        connect()
    quiet_ray_data()
    n_tasks = min(len(pieces) - 1, _TASKS_PER_CPU * int(ray.cluster_resources().get("CPU", 1)))
    rest = pieces[1:]
    # Neighbours to one task: samplers write a problem's samples near each other, so few tasks meet it.
    bounds = [len(rest) * i // n_tasks for i in range(n_tasks + 1)]
    items = [{"pieces": [pickle.dumps(p) for p in rest[a:b]]} for a, b in pairwise(bounds)]
    data = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        functools.partial(_partial, reading=reading, is_cut=is_cut), batch_size=None, batch_format="pyarrow"
    )
    if not is_cut:
        with Accumulator(BUDGET_BYTES) as states:
            states.add(first)
            for row in data.iter_rows():
                states.add(_state(row))
            yield from states.parts(n_threads())
        return
    own = cut(first, N_PARTS)
    for row in data.groupby("part").map_groups(_merged, batch_format="pyarrow").iter_rows():
        state = _state(row)
        yield own[row["part"]].merge(state)
        own[row["part"]] = CompletionsState.empty()
    yield from (state.merge(CompletionsState.empty()) for state in own if len(state.pairs))


def _state(row: dict[str, Any]) -> CompletionsState:
    if row["error"] is not None:
        raise UsageError(row["error"])
    return from_bytes(row["state"])


def _partial(batch: pa.Table, reading: Reading, is_cut: bool) -> pa.Table:
    """A task's pieces as one state, or as its parts, one row each; or what is wrong with a file."""
    rows: list[tuple[int, str | None, bytes]] = []
    with Accumulator(BUDGET_BYTES // 2) as states:
        try:
            for item in batch.column("pieces").to_pylist():
                for piece in item:
                    state = state_of_piece(pickle.loads(piece), reading)
                    states.add(cut(state, N_PARTS) if is_cut else state)
            if is_cut:
                rows = [(i, None, to_bytes(part, compression="zstd")) for i, part in enumerate(states.parts())]
            else:
                whole = list(states.parts())
                rows = [(0, None, to_bytes(whole[0].merge(*whole[1:]), compression="zstd"))]
        except UsageError as e:
            rows = [(0, str(e), b"")]
    return _table(rows)


def _merged(group: pa.Table) -> pa.Table:
    """The states of one part as one."""
    rows = group.to_pylist()
    part = rows[0]["part"]
    for row in rows:
        if row["error"] is not None:
            return _table([(part, row["error"], b"")])
    states = [from_bytes(row["state"]) for row in rows]
    return _table([(part, None, to_bytes(states[0].merge(*states[1:])))])


def _table(rows: list[tuple[int, str | None, bytes]]) -> pa.Table:
    parts, errors, states = zip(*rows, strict=True)
    return pa.table(
        {
            "part": pa.array(parts, pa.int64()),
            "error": pa.array(errors, pa.string()),
            "state": pa.array(states, pa.large_binary()),
        }
    )
