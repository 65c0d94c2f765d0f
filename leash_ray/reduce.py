"""Completions tables, wherever they came from -> estimates. Ray Data when parallel; the same numbers without it.

Each file is read in pieces of whole row groups, only the columns that are needed; every piece becomes a
:class:`~leash_ray.reducers.CompletionsState` where it is read, and only states travel.
"""

import functools
import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from leash_ray.errors import UsageError
from leash_ray.estimates import Estimates, estimate
from leash_ray.files import PARQUET, is_visible, parquet_files
from leash_ray.measure.measuring import Measuring
from leash_ray.reducers import READ_COLUMNS, CompletionsState, state_of_block

__all__ = ["Estimates", "find_files", "reduce_paths", "reduce_state"]

_JSONL = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
_PIECE_ROWS = 2_000_000  # about 0.3 GB while a piece is reduced
_SMALL_PIECE_ROWS = 250_000  # below this a task costs more to start than to run
SMALL_BYTES = 64 * 2**20  # read in this process before a Ray would have started
_MERGE_WIDTH = 16  # states merged at once: bounds what waits in memory
_JSONL_TYPES = {c: pl.String() for c in READ_COLUMNS} | {
    "sample_index": pl.Int64(),
    "n_tokens": pl.Int64(),
    "logprob_sum": pl.Float64(),
    "entropy_sum": pl.Float64(),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """What one task reads: whole row groups of a Parquet file, or a whole JSONL file."""

    path: str
    row_groups: list[int] | None = None


def reduce_paths(
    paths: Sequence[str | Path],
    *,
    base: str,
    trained: str,
    zeta: float = 0.05,
    measuring: Measuring | None = None,
    parallel: bool = True,
) -> Estimates:
    """Reduce completions tables.

    Args:
        paths: Parquet or JSONL(.gz) files, folders (every Parquet file below, but no hidden or temporary names), globs.
        base: policy id of the base.
        trained: policy id of the trained policy.
        zeta: 1 - confidence of the detection limit epsilon; ``measuring`` has its own.
        measuring: how to measure, and what is known of the problems.
        parallel: reduce on the Ray cluster (connecting to it first if need be; its nodes must see the files), or in
            this process.

    Raises:
        UsageError: nothing to read there, not a completions table, duplicate keys, unknown policy or verdict.
    """
    checkpoints = f"{trained.partition('@')[0]}@*"
    state = reduce_state(paths, policies=[base, trained, checkpoints], parallel=parallel)
    return estimate(state.finalize(), base=base, trained=trained, zeta=zeta, measuring=measuring)


def reduce_state(
    paths: Sequence[str | Path], *, policies: Sequence[str] | None = None, parallel: bool = True
) -> CompletionsState:
    """The merged state of completions tables. Arguments and errors as of :func:`reduce_paths`."""
    files = find_files(paths)
    names = None if policies is None else tuple(policies)
    partials = _on_ray(files, names) if parallel else (_partial(p, names) for p in _pieces(files, _PIECE_ROWS))
    return _merge_all(partials)


def worth_ray(paths: Sequence[str | Path]) -> bool:
    """Whether to reduce with Ray: one is running or asked for, or there is more to read than its start costs."""
    ray = sys.modules.get("ray")
    if "RAY_ADDRESS" in os.environ or (ray is not None and ray.is_initialized()):
        return True
    return sum(path.stat().st_size for path in find_files(paths)) > SMALL_BYTES


def find_files(paths: Sequence[str | Path]) -> list[Path]:
    """The data files that paths, folders and globs name, each once, sorted.

    Raises:
        UsageError: a path does not exist, has nothing to read, or is no table.
    """
    found: dict[Path, Path] = {}  # by where links lead, so that a file named twice is read once
    for given in paths:
        path = Path(given).expanduser()
        matches = [path]
        if not path.exists():
            globbed = map(Path, glob.glob(str(path), recursive=True))
            # A wildcard finds no hidden or temporary names; a pattern that spells one out does.
            matches = [m for m in globbed if all(is_visible(part) or part in path.parts for part in m.parts)]
            if not matches:
                raise UsageError(f"no such file or folder: {given}")
        files = [file for m in matches for file in (parquet_files(m) if m.is_dir() else [m])]
        if not files:
            raise UsageError(f"no Parquet files in {given} (JSONL files are read when named: {given}/*.jsonl)")
        for file in files:
            if not file.name.endswith(PARQUET + _JSONL):
                raise UsageError(f"cannot read {file}: expected one of {', '.join(PARQUET + _JSONL)}")
            found[file.resolve()] = file
    if not found:
        raise UsageError("no paths to reduce: name completions tables, or the folder that holds them")
    return sorted(found.values())


def _pieces(files: Sequence[Path], rows: int) -> Iterator[Piece]:
    """Pieces of at least one row group and, where row groups allow, at most ``rows`` rows."""
    for file in map(Path.absolute, files):  # workers on a cluster have other working directories
        if file.name.endswith(_JSONL):
            yield Piece(str(file))
        else:
            yield from (Piece(str(file), groups) for groups in _packed(_row_group_rows(file), rows))


def _row_group_rows(file: Path) -> list[int]:
    try:
        metadata = pq.read_metadata(file)
    except (pa.ArrowException, OSError) as e:
        raise UsageError(f"cannot read {file} as Parquet ({e})") from e
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def _packed(sizes: Sequence[int], limit: int) -> Iterator[list[int]]:
    piece: list[int] = []
    total = 0
    for i, size in enumerate(sizes):
        if piece and total + size > limit:
            yield piece
            piece, total = [], 0
        piece.append(i)
        total += size
    if piece:
        yield piece


def _read(piece: Piece) -> pa.Table:
    if piece.row_groups is None:
        frame = pl.read_ndjson(piece.path, schema=_JSONL_TYPES)
        if frame["leniency"].null_count() == len(frame):  # as if it were missing: null would say that none was needed
            frame = frame.drop("leniency")
        return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    metadata = pq.read_metadata(piece.path)
    schema = metadata.schema.to_arrow_schema()
    columns = [c for c in READ_COLUMNS if c in schema.names]
    # Read as dictionaries, strings that repeat are never spelt out.
    types = {c: schema.field(c).type for c in columns}
    text = [c for c in columns if pa.types.is_string(types[c]) or pa.types.is_large_string(types[c])]
    with pq.ParquetFile(piece.path, metadata=metadata, read_dictionary=text) as file:
        return file.read_row_groups(piece.row_groups, columns=columns)


def _partial(piece: Piece, policies: Sequence[str] | None) -> CompletionsState:
    try:
        block = _read(piece)
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as e:
        kind = "one JSON object a line" if piece.row_groups is None else "Parquet"
        raise UsageError(f"cannot read {piece.path} as {kind} ({str(e).splitlines()[0]})") from e
    try:
        return state_of_block(block, policies)
    except UsageError as e:
        raise UsageError(f"{piece.path}: {e}") from e


def _merge_all(states: Iterable[CompletionsState]) -> CompletionsState:
    """Merge a few at a time, small with small: what waits stays small, and no row is merged more than log times."""
    levels: list[list[CompletionsState]] = [[]]
    for state in states:
        levels[0].append(state)
        for i, level in enumerate(levels):
            if len(level) == _MERGE_WIDTH:
                if i + 1 == len(levels):
                    levels.append([])
                levels[i + 1].append(level[0].merge(*level[1:]))
                level.clear()
    return CompletionsState.empty().merge(*(s for level in levels for s in level))


def _on_ray(files: Sequence[Path], policies: Sequence[str] | None) -> Iterator[CompletionsState]:
    """Partial states, made by Ray Data; a user's mistake in a file comes back as a value, not as a task's traceback."""
    import ray

    from leash_ray.cluster import connect, quiet_ray_data

    n_rows = sum(sum(_row_group_rows(f)) for f in files if f.name.endswith(PARQUET))  # refuses before Ray starts
    if not ray.is_initialized():
        connect()
    quiet_ray_data()
    n_cpus = int(ray.cluster_resources().get("CPU", 1))
    limit = min(_PIECE_ROWS, max(_SMALL_PIECE_ROWS, -(-n_rows // (2 * n_cpus))))
    items = [{"path": p.path, "row_groups": p.row_groups} for p in _pieces(files, limit)]
    if not items:  # files without rows
        return
    partial = functools.partial(_partial_rows, policies=policies)
    data = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        partial, batch_size=None, batch_format="pyarrow"
    )
    for row in data.iter_rows():
        if row["error"] is not None:
            raise UsageError(row["error"])
        yield _from_bytes(row)


def _partial_rows(batch: pa.Table, policies: Sequence[str] | None) -> dict[str, list[Any]]:
    """One row per piece: its state as Arrow bytes, or what is wrong with it."""
    out: dict[str, list[Any]] = {"error": [], **{name: [] for name in _STATE_TABLES}}
    for item in batch.to_pylist():
        error, state = None, CompletionsState.empty()
        try:
            state = _partial(Piece(**item), policies)
        except UsageError as e:
            error = str(e)
        out["error"].append(error)
        for name in _STATE_TABLES:
            out[name].append(_to_bytes(getattr(state, name)))
    return out


_STATE_TABLES = ("problems", "answers", "runs", "policies")


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _from_bytes(row: dict[str, Any]) -> CompletionsState:
    return CompletionsState(*(pa.ipc.open_stream(row[name]).read_all() for name in _STATE_TABLES))
