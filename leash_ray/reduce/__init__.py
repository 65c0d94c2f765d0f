"""Completions tables, wherever they came from -> estimates. On Ray where there is one; the same numbers without it.

Every piece of a file becomes a :class:`~leash_ray.reducers.CompletionsState` where it is read, and only states travel.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from leash_ray.reduce.read import Reading, pieces_of, pieces_of_states
from leash_ray.reduce.sources import File, find_files, size_bytes
from leash_ray.reducers import CompletionsState, Reduced
from leash_ray.reducers.kept import kept, merge_folders
from leash_ray.reducers.reduced import differences, joined
from leash_ray.reducers.registry import KEPT

if TYPE_CHECKING:
    from leash_ray.estimates import Estimates
    from leash_ray.measure.measuring import Measuring

__all__ = [
    "Reading",
    "compare",
    "find_files",
    "reduce_paths",
    "reduce_state",
    "reduced_parts",
    "worth_ray",
]

T = TypeVar("T")
LARGE_STATES_BYTES = 1 << 30
SMALL_BYTES = 4 << 30  # this process alone has read it before a Ray would have helped


def reduce_paths(
    paths: Sequence[str | Path],
    *,
    base: str,
    trained: str,
    zeta: float = 0.05,
    measuring: "Measuring | None" = None,
    parallel: bool = True,
    from_rows: bool = False,
    keep_states: bool = False,
    drop_duplicates: bool = False,
    reading: Reading | None = None,
) -> "Estimates":
    """Reduce completions tables.

    Args:
        paths: Parquet, JSONL(.gz) or CSV(.gz) files, folders (every Parquet file below, but no hidden or temporary
            names), globs, addresses such as ``s3://bucket/folder``.
        base: policy id of the base.
        trained: policy id of the trained policy.
        zeta: 1 - confidence of the detection limit epsilon; ``measuring`` has its own.
        measuring: how to measure, and what is known of the problems.
        parallel: reduce on the Ray cluster (connecting to it first if need be; its nodes must see the files), or in
            this process.
        from_rows: read all rows, also those whose state is kept beside their file.
        keep_states: keep the states of Parquet files that have none beside them.
        drop_duplicates: of samples that occur more than once, take the first in the order of the files.
        reading: which rows and columns; its policies are set here.

    Raises:
        UsageError: nothing to read there, not a completions table, duplicate keys, unknown policy or verdict.
    """
    from leash_ray.estimates import estimate

    checkpoints = f"{trained.partition('@')[0]}@*"
    reading = replace(reading or Reading(), policies=(base, trained, checkpoints))
    parts = reduced_parts(
        paths,
        reading,
        parallel=parallel,
        from_rows=from_rows,
        keep_states=keep_states,
        drop_duplicates=drop_duplicates,
    )
    found = joined(list(parts))
    return estimate(found, base=base, trained=trained, zeta=zeta, measuring=measuring)


def reduced_parts(
    paths: Sequence[str | Path], reading: Reading | None = None, *, parallel: bool = True, **options: bool
) -> Iterator[Reduced]:
    """The finalized state of completions tables, some problems at a time. Options and errors as of
    :func:`reduce_paths`."""
    return _parts(paths, reading or Reading(), CompletionsState.finalize, parallel=parallel, **options)


def reduce_state(
    paths: Sequence[str | Path], *, policies: Sequence[str] | None = None, parallel: bool = True
) -> CompletionsState:
    """The merged state of completions tables. Arguments and errors as of :func:`reduce_paths`."""
    reading = Reading(policies=None if policies is None else tuple(policies))
    parts = list(_parts(paths, reading, CompletionsState.merge, parallel=parallel))
    return parts[0].merge(*parts[1:])


def _parts(
    paths: Sequence[str | Path],
    reading: Reading,
    finish: Callable[[CompletionsState], T],
    *,
    parallel: bool = True,
    from_rows: bool = False,
    keep_states: bool = False,
    drop_duplicates: bool = False,
) -> Iterator[T]:
    """States of disjoint problems, whose sum is that of all completions, each finished where it was merged. Rows are
    read where no state is kept."""
    from leash_ray.reduce import engine

    files = find_files(paths)
    states, rows = kept(files) if reading.is_all and not from_rows else ([], files)
    pieces = list(pieces_of(rows, keep_states=keep_states and reading.is_all))
    is_large = bool(pieces) or sum(path.stat().st_size for path in states) > LARGE_STATES_BYTES
    pieces += pieces_of_states(states)
    if drop_duplicates:
        finish = partial(_once, finish=finish, files=files, reading=reading)
    yield from (engine.on_ray if parallel and is_large else engine.here)(pieces, reading, finish)
    if reading.is_all and (keep_states or len(states) > 1):
        merge_folders(files)


def _once(
    state: CompletionsState, *, finish: Callable[[CompletionsState], T], files: Sequence[File], reading: Reading
) -> T:
    from leash_ray.reduce.repeats import without_repeats

    return finish(without_repeats(state, files, reading))


def compare(paths: Sequence[str | Path], *, parallel: bool = True) -> list[str]:
    """What differs between reducing the kept states and reducing all rows, in words; nothing: they agree."""
    reading = Reading(reducers=KEPT)
    ways = [joined(list(reduced_parts(paths, reading, parallel=parallel, from_rows=rows))) for rows in (False, True)]
    return differences(*ways)


def worth_ray(paths: Sequence[str | Path]) -> bool:
    """Whether to reduce with Ray: one is running or asked for, or there is more to read than its start costs."""
    ray = sys.modules.get("ray")
    if "RAY_ADDRESS" in os.environ or (ray is not None and ray.is_initialized()):
        return True
    total = 0
    for file in find_files(paths):
        total += size_bytes(file)
        if total > SMALL_BYTES:
            return True
    return False
