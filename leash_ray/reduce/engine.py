"""Pieces -> states of disjoint problems: with the threads of this process, or on a Ray cluster. The same either way."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

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
    """On the Ray cluster: each task reduces some pieces where it runs, and only states are exchanged.

    Small states are merged by this process as they come. Large ones are cut by problem, each part is sent to where it
    is merged, and this process takes one part after another. What is lost with a worker or a node is done again. A
    user's mistake in a file comes back as a value, not as a task's traceback.

    These are Ray's own tasks. As Ray Data's (:mod:`leash_ray.reduce.dataset`) the same cost two seconds more at start,
    since every worker imports it, and up to 14 ms a task in place of 3; with its groupby, large states took 15 s, not
    11 (10M completions of 200,000 problems, two cores).
    """
    import ray

    from leash_ray.cluster import connect

    if len(pieces) < 2:
        yield from here(pieces, reading)
        return
    with Accumulator(BUDGET_BYTES) as small:
        if not ray.is_initialized():
            small.add(state_of_piece(pieces[0], reading))  # a mistake is told before Ray starts
            pieces = pieces[1:]
            connect()
        cpus = int(ray.cluster_resources().get("CPU", 1))
        n_tasks = _n_tasks(len(pieces), cpus)
        # Neighbours to one task: samplers write a problem's samples near each other, so few tasks meet it.
        bounds = [len(pieces) * i // n_tasks for i in range(n_tasks + 1)]
        task, given = ray.remote(_partial).options(num_returns=2), ray.put((reading, _WHOLE_BYTES // n_tasks))
        running = dict(task.remote(list(pieces[a:b]), given)[::-1] for a, b in pairwise(bounds))
        split, merge = ray.remote(_split).options(num_returns=N_PARTS), ray.remote(_merged)
        columns = []  # of each large state its parts
        try:
            while running:
                (told,), _ = ray.wait(list(running))
                rows = running.pop(told)
                if _is_whole(ray.get(told)):
                    small.add(_state(*ray.get(rows)))
                else:
                    columns.append(split.remote(rows))
        finally:
            for told in running:
                ray.cancel(told)
        if not columns:
            yield from small.parts(n_threads())
            return
        parts = deque(map(list, zip(*columns, strict=True)))
        own = cut(CompletionsState.empty().merge(*small.parts()), N_PARTS)
        # Few at a time, since what is merged is in memory beside what is still to be merged.
        ahead: deque[Any] = deque()
        del columns, rows
        for i in range(N_PARTS):
            while parts and len(ahead) <= cpus:
                ahead.append(merge.remote(*parts.popleft()))
            yield own[i].merge(_state(ray.get(ahead.popleft())))


def _n_tasks(n_pieces: int, cpus: int) -> int:
    return min(n_pieces, max(_TASKS_PER_CPU * cpus, -(-n_pieces // _TASK_PIECES)))


@dataclass(frozen=True, slots=True)
class _Sent:
    """A state, or a part of one, on its way; or what is wrong with a file."""

    state: bytes = b""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    """What this process needs to know of what a task has made."""

    is_whole: bool
    n_bytes: int


def _is_whole(told: _Told) -> bool:
    return told.is_whole


def _state(sent: _Sent) -> CompletionsState:
    if sent.error is not None:
        raise UsageError(sent.error)
    return from_bytes(sent.state)


def _partial(pieces: Sequence[Piece], given: tuple[Reading, int]) -> tuple[list[_Sent], _Told]:
    """Some pieces' state; where it is larger than so many bytes, its parts."""
    reading, whole_bytes = given
    with Accumulator(BUDGET_BYTES // 2) as states:
        try:
            for piece in pieces:
                states.add(state_of_piece(piece, reading))
        except UsageError as e:
            return [_Sent(error=str(e))], _Told(True, 0)
        if states.is_cut:
            return _sent(states.parts(), "lz4")
        (whole,) = states.parts()
    return _sent(cut(whole, N_PARTS), "lz4") if whole.nbytes > whole_bytes else _sent([whole], "zstd")


def _sent(states: Iterable[CompletionsState], compression: str) -> tuple[list[_Sent], _Told]:
    sent = [_Sent(to_bytes(state, compression=compression)) for state in states]
    return sent, _Told(len(sent) == 1, sum(len(one.state) for one in sent))


def _split(parts: list[_Sent]) -> list[_Sent]:
    """A task's parts as objects of their own, each of which goes where it is merged."""
    return parts


def _merged(*parts: _Sent) -> _Sent:
    """The states of one part as one."""
    return _Sent(to_bytes(CompletionsState.empty().merge(*map(_state, parts))))
