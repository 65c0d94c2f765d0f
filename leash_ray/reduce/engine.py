"""Pieces -> what their states are finished to, of disjoint problems: with the threads of this process, or on a Ray
cluster. The same either way."""

import logging
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from leash_ray.errors import UsageError
from leash_ray.reduce.read import Piece, Reading, rows_of_piece, state_of_piece
from leash_ray.reducers import CompletionsState
from leash_ray.reducers.accumulator import N_PARTS, Accumulator
from leash_ray.reducers.parts import cut, from_bytes, to_bytes
from leash_ray.reducers.rows import CutRows

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
BUDGET_BYTES = 1 << 30
"""Of states in one process; beyond it they go to disk."""
_TASK_BUDGET_BYTES = 256 << 20
"""The same in a task: there is one on every core."""
_TASKS_PER_CPU = 2
_TASK_PIECES = 256
"""At most, so that little is lost with a worker."""
_WHOLE_BYTES = 256 << 20
"""Of all tasks' states: up to it they are exchanged whole, and merged by the driver."""


def n_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def here(pieces: Sequence[Piece], reading: Reading, finish: Callable[[CompletionsState], T]) -> Iterator[T]:
    """With the threads of this process: Arrow, NumPy and Polars work outside the interpreter's lock."""
    threads = n_threads()
    with Accumulator(BUDGET_BYTES, reducers=reading.reducers) as states:
        _accumulate(states, pieces, reading, threads)
        yield from map(finish, states.parts(threads))


def _accumulate(states: Accumulator, pieces: Sequence[Piece], reading: Reading, threads: int) -> None:
    def work(piece: Piece) -> CompletionsState | list[CompletionsState] | CutRows:
        if states.prefers_rows and piece.is_rows:
            return rows_of_piece(piece, reading, N_PARTS)
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


def on_ray(pieces: Sequence[Piece], reading: Reading, finish: Callable[[CompletionsState], T]) -> Iterator[T]:
    """On the Ray cluster: each task reduces some pieces where it runs, and only states are exchanged.

    Small states are merged and finished by this process. Large ones are cut by problem, each part is sent to where it
    is merged and finished, and this process takes one part after another. What is lost with a worker or a node is done
    again. A user's mistake in a file comes back as a value, not as a task's traceback.

    These are Ray's own tasks. As Ray Data's (:mod:`leash_ray.reduce.dataset`) the same cost two seconds more at start,
    since every worker imports it, and up to 14 ms a task in place of 3 to 6; with its groupby, large states took 15 s,
    not 11 (10M completions of 200,000 problems, two cores).
    """
    import ray

    from leash_ray.cluster import connect

    if len(pieces) < 2:
        yield from here(pieces, reading, finish)
        return
    with Accumulator(BUDGET_BYTES) as small:
        if not ray.is_initialized():
            small.add(state_of_piece(pieces[0], reading))  # a mistake is told before Ray starts
            pieces = pieces[1:]
            connect(data=False)
        cpus = int(ray.cluster_resources().get("CPU", 1))
        n_tasks = _n_tasks(len(pieces), cpus)
        # Neighbours to one task: samplers write a problem's samples near each other, so few tasks meet it.
        bounds = [len(pieces) * i // n_tasks for i in range(n_tasks + 1)]
        task = ray.remote(_partial).options(num_returns=1 + N_PARTS)
        given = ray.put((reading, _WHOLE_BYTES // n_tasks))
        running: dict[Any, list[Any]] = {}
        for a, b in pairwise(bounds):
            told, *sent = task.remote(list(pieces[a:b]), given)
            running[told] = sent
        columns = []  # of each large state its parts
        del told, sent
        try:
            while running:
                (ready,), _ = ray.wait(list(running))
                sent, (is_whole, n_bytes) = running.pop(ready), ray.get(ready)
                _LOG.debug("a task hands over %d bytes", n_bytes)
                if is_whole:
                    small.add(_state(ray.get(sent[0])))
                else:
                    columns.append(sent)
                del sent
        finally:
            for told in running:
                ray.cancel(told)
        if not columns:
            yield from map(finish, small.parts(n_threads()))
            return
        own = cut(CompletionsState.empty().merge(*small.parts()), N_PARTS)
        parts = deque([*column, _sent(state)] for state, *column in zip(own, *columns, strict=True))
        # Few at a time, since what is merged is in memory beside what is still to be merged.
        merge, how, ahead = ray.remote(_merged), ray.put(finish), deque[Any]()
        del columns, own
        for _ in range(N_PARTS):
            while parts and len(ahead) <= cpus:
                ahead.append(merge.remote(how, *parts.popleft()))
            yield _unpacked(ray.get(ahead.popleft()))


def _n_tasks(n_pieces: int, cpus: int) -> int:
    return min(n_pieces, max(_TASKS_PER_CPU * cpus, -(-n_pieces // _TASK_PIECES)))


class _Sent(NamedTuple):
    """Something on its way, as bytes; or what is wrong with a file."""

    data: bytes = b""
    n_bytes: int = 0
    """Before they were compressed."""
    error: str | None = None


class _Told(NamedTuple):
    """What this process needs to know of what a task has made."""

    is_whole: bool
    n_bytes: int


def _sent(state: CompletionsState) -> _Sent:
    return _Sent(to_bytes(state, compression="zstd"))


def _state(sent: _Sent) -> CompletionsState:
    if sent.error is not None:
        raise UsageError(sent.error)
    return from_bytes(sent.data)


def _packed(found: object) -> _Sent:
    data = pickle.dumps(found, protocol=5)
    return _Sent(pa.Codec("zstd").compress(data, asbytes=True), len(data))


def _unpacked(sent: _Sent) -> Any:
    if sent.error is not None:
        raise UsageError(sent.error)
    return pickle.loads(pa.Codec("zstd").decompress(sent.data, sent.n_bytes))


def _partial(pieces: Sequence[Piece], given: tuple[Reading, int]) -> list[_Told | _Sent]:
    """Some pieces' state, and nothing in place of the other parts; where it is larger than so many bytes, its parts.
    What is told comes first."""
    reading, whole_bytes = given
    with Accumulator(_TASK_BUDGET_BYTES, reducers=reading.reducers) as states:
        try:
            _accumulate(states, pieces, reading, 1)
        except UsageError as e:
            return _answer([_Sent(error=str(e))])
        if states.is_cut:
            return _answer(map(_sent, states.parts()))
        (whole,) = states.parts()
    return _answer(map(_sent, cut(whole, N_PARTS) if whole.nbytes > whole_bytes else [whole]))


def _answer(sent: Iterable[_Sent]) -> list[_Told | _Sent]:
    parts = list(sent)
    told = _Told(len(parts) == 1, sum(len(one.data) for one in parts))
    _release()
    return [told, *parts, *[_Sent()] * (N_PARTS - len(parts))]


def _merged(finish: Callable[[CompletionsState], Any], *parts: _Sent) -> _Sent:
    """The states of one part as one, finished."""
    try:
        return _packed(finish(CompletionsState.empty().merge(*map(_state, parts))))
    except UsageError as e:
        return _Sent(error=str(e))
    finally:
        _release()


def _release() -> None:
    """Give memory back: a worker waits with what it has for its next task."""
    pa.default_memory_pool().release_unused()
