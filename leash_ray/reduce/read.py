"""Pieces of files -> blocks of completions: only the columns that are needed, texts as dictionaries where they are."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from leash_ray.errors import UsageError
from leash_ray.files import PARQUET
from leash_ray.reduce.sources import CSV, File, absolute, opened, size_bytes, stream_of
from leash_ray.reducers import READ_COLUMNS, CompletionsState, state_of_block
from leash_ray.reducers.choose import of_policies, of_reducers
from leash_ray.reducers.kept import keep, load, recorded_checksum
from leash_ray.reducers.registry import ESTIMATED, KEPT
from leash_ray.reducers.rows import CutRows, cut_rows

PIECE_ROWS = 1_000_000
"""About 0.15 GB while a piece is reduced."""
_SMALL_BYTES = 4 << 20
_PACKED_BYTES, _PACKED_FILES = 16 << 20, 512
_JSON_BYTES = 32 << 20
_TEXTS = ("policy", "task", "problem_id", "verdict", "answer", "leniency")
_WHOLE_NUMBERS = ("sample_index", "n_tokens")


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read of completions tables, and how."""

    policies: tuple[str, ...] | None = None
    """Only these, and with ``name@*`` the checkpoints of one; None: all."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column -> the tables'."""
    first_k: int | None = None
    """Only samples whose index is below it: as if no more had been drawn."""
    where: str | None = None
    """Only rows of which this SQL condition holds, such as ``n_tokens < 100 and task = 'algebra'``."""
    reducers: tuple[str, ...] = ESTIMATED

    @property
    def is_all(self) -> bool:
        """Whether no rows of a policy are left out, so that states which know nothing of this may stand for them."""
        return self.first_k is None and self.where is None and not self.columns


@dataclass(frozen=True, slots=True)
class Piece:
    """What is read at once: whole small files, or some row groups of a Parquet file."""

    files: tuple[File, ...]
    row_groups: tuple[int, ...] | None = None
    is_kept: bool = False
    """Whether the state is to be kept beside the file, which is one and whole."""
    is_states: bool = False
    """Whether the files are states."""

    @property
    def is_rows(self) -> bool:
        """Whether its rows are read, and its state is not asked for."""
        return not self.is_kept and not self.is_states


def pieces_of(files: Sequence[File], rows: int = PIECE_ROWS, keep_states: bool = False) -> Iterator[Piece]:
    """Pieces of at least one row group and, where row groups allow, at most ``rows`` rows. Small files share one.

    Raises:
        UsageError: a large file is no Parquet.
    """
    pack = _Pack(_PACKED_BYTES)
    for file in map(absolute, files):
        if not str(file).endswith(PARQUET):
            yield Piece((file,))
            continue
        if keep_states and isinstance(file, Path):
            yield Piece((file,), is_kept=True)
            continue
        size = size_bytes(file)
        if size > _SMALL_BYTES:
            yield from (Piece((file,), groups) for groups in _grouped(_row_group_rows(file), rows))
            continue
        if full := pack.add(file, size):
            yield Piece(full)
    if rest := pack.taken():
        yield Piece(rest)


def pieces_of_states(paths: Sequence[Path]) -> Iterator[Piece]:
    """Pieces of states on disk; small ones share one."""
    pack = _Pack(_SMALL_BYTES)
    for path in paths:
        if full := pack.add(absolute(path), path.stat().st_size):
            yield Piece(full, is_states=True)
    if rest := pack.taken():
        yield Piece(rest, is_states=True)


class _Pack:
    """Small files, until they are enough for a piece."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._files: list[File] = []
        self._bytes = 0

    def add(self, file: File, n_bytes: int) -> tuple[File, ...]:
        """Take a file; gives all that it holds when they are enough, else none."""
        self._files.append(file)
        self._bytes += n_bytes
        return self.taken() if self._bytes > self._most_bytes or len(self._files) == _PACKED_FILES else ()

    def taken(self) -> tuple[File, ...]:
        """All that it holds, which it then no longer does."""
        files, self._files, self._bytes = tuple(self._files), [], 0
        return files


def _row_group_rows(file: File) -> list[int]:
    try:
        with opened(file) as source:
            metadata = pq.read_metadata(source)
    except (pa.ArrowException, OSError) as e:
        raise UsageError(f"cannot read {file} as Parquet ({_first_line(e)})") from e
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def _grouped(sizes: Sequence[int], limit: int) -> Iterator[tuple[int, ...]]:
    group: list[int] = []
    total = 0
    for i, size in enumerate(sizes):
        if group and total + size > limit:
            yield tuple(group)
            group, total = [], 0
        group.append(i)
        total += size
    if group:
        yield tuple(group)


def state_of_piece(piece: Piece, reading: Reading) -> CompletionsState:
    """The state of a piece's rows.

    Raises:
        UsageError: names the file that cannot be read, or is no completions table.
    """
    if piece.is_states:
        states = [of_policies(load(Path(path), reading.reducers), reading.policies) for path in piece.files]
        return states[0].merge(*states[1:]) if len(states) > 1 else states[0]
    policies, reducers = (None, KEPT) if piece.is_kept else (reading.policies, reading.reducers)
    found = []
    for files, block in _joined(_tables(piece, reading)):
        with _named(files):
            found.append(state_of_block(block, policies, reducers))
    state = found[0].merge(*found[1:]) if len(found) > 1 else found[0] if found else CompletionsState.empty()
    if piece.is_kept and isinstance(piece.files[0], Path):
        keep(piece.files[0], state, recorded_checksum(piece.files[0]))
        state = of_policies(of_reducers(state, reading.reducers), reading.policies)
    return state


def rows_of_piece(piece: Piece, reading: Reading, n_parts: int) -> CutRows:
    """A piece's rows, cut by problem. Raises as :func:`state_of_piece`."""
    found = CutRows.empty(n_parts)
    for files, block in _joined(_tables(piece, reading, dictionaries=False)):
        with _named(files):
            found.add(cut_rows(block, n_parts, reading.policies))
    return found


def tables_of(piece: Piece, reading: Reading) -> Iterator[pa.Table]:
    """A piece's rows, with our names. Raises as :func:`state_of_piece`."""
    return (table for _, table in _tables(piece, reading))


@contextmanager
def _named(files: Sequence[File]) -> Iterator[None]:
    try:
        yield
    except UsageError as e:
        raise UsageError(f"{files[0]}{' or one after it' if len(files) > 1 else ''}: {e}") from e


def _joined(tables: Iterator[tuple[File, pa.Table]]) -> Iterator[tuple[list[File], pa.Table]]:
    """Tables of one schema that follow each other, as one."""
    waiting: list[pa.Table] = []
    files: list[File] = []
    for file, table in tables:
        if waiting and (table.schema != waiting[0].schema or sum(map(len, waiting)) + len(table) > PIECE_ROWS):
            yield files, pa.concat_tables(waiting)
            waiting, files = [], []
        waiting.append(table)
        files.append(file)
    if waiting:
        yield files, pa.concat_tables(waiting)


def _tables(piece: Piece, reading: Reading, dictionaries: bool = True) -> Iterator[tuple[File, pa.Table]]:
    """``dictionaries``: whether answers repeat."""
    for file in piece.files:
        kind = "one JSON object a line"
        try:
            if str(file).endswith(PARQUET):
                kind = "Parquet"
                for table in _parquet(file, piece.row_groups, reading, dictionaries):
                    yield file, _prepared(table, reading)
            else:
                if str(file).endswith(CSV):
                    kind = "CSV"
                blocks = _csv(file, reading) if kind == "CSV" else _jsonl(file, reading)
                for block in blocks:
                    yield file, _prepared(block, reading)
        except (pa.ArrowException, OSError, _polars_error()) as e:
            raise UsageError(f"cannot read {file} as {kind} ({_first_line(e)})") from e


def _polars_error() -> type[Exception]:
    import polars as pl

    return pl.exceptions.PolarsError


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _theirs(reading: Reading) -> dict[str, str]:
    """Our name -> the name in the files, of the columns that are read."""
    names = [*READ_COLUMNS, *(c for c in _asked_about(reading.where) if c not in READ_COLUMNS)]
    return {ours: reading.columns.get(ours, ours) for ours in names}


def condition(where: str) -> Any:
    """A SQL condition as a Polars expression.

    Raises:
        UsageError: it is none.
    """
    import polars as pl

    try:
        return pl.sql_expr(where)
    except pl.exceptions.PolarsError as e:
        raise UsageError(f"--filter {where!r} is no SQL condition ({_first_line(e)})") from e


def _asked_about(where: str | None) -> list[str]:
    return condition(where).meta.root_names() if where else []


def _prepared(table: pa.Table, reading: Reading) -> pa.Table:
    """With our names, and only the rows that are asked for."""
    if reading.columns:
        names = {theirs: ours for ours, theirs in _theirs(reading).items()}
        table = table.rename_columns([names.get(name, name) for name in table.schema.names])
    if "verdict" in table.schema.names and pa.types.is_boolean(table.schema.field("verdict").type):
        said = pc.if_else(table.column("verdict"), "CORRECT", "INCORRECT")
        table = table.set_column(table.schema.names.index("verdict"), "verdict", said)
    if reading.first_k is not None and "sample_index" in table.schema.names:
        table = table.filter(pc.less(table.column("sample_index"), reading.first_k))
    if reading.where is not None:
        table = _where(table, reading.where)
    return table


def _where(table: pa.Table, where: str) -> pa.Table:
    import polars as pl

    asked = _asked_about(where)
    if missing := [c for c in asked if c not in table.schema.names]:
        raise UsageError(f"--filter names {', '.join(missing)}, which the table lacks")
    frame = pl.DataFrame(pl.from_arrow(table.select(asked)))
    frame = frame.with_columns(pl.col(pl.Categorical).cast(pl.String))
    try:
        holds = frame.select(condition(where).fill_null(False)).to_series()
    except pl.exceptions.PolarsError as e:
        raise UsageError(f"--filter {where!r} cannot be applied ({_first_line(e)})") from e
    return table.filter(pa.array(holds.to_numpy()))


def _parquet(file: File, row_groups: Sequence[int] | None, reading: Reading, dictionaries: bool) -> Iterator[pa.Table]:
    with opened(file) as source:
        with pq.ParquetFile(source) as plain:
            metadata, schema = plain.metadata, plain.schema_arrow
        columns = [c for c in _theirs(reading).values() if c in schema.names]
        # Read as dictionaries, strings that repeat are never spelt out.
        types = {c: schema.field(c).type for c in columns}
        text = [c for c in columns if pa.types.is_string(types[c]) or pa.types.is_large_string(types[c])]
        if not dictionaries:
            text = [c for c in text if c != _theirs(reading)["answer"]]
        with pq.ParquetFile(source, metadata=metadata, read_dictionary=text) as found:
            sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            for groups in [row_groups] if row_groups is not None else _grouped(sizes, PIECE_ROWS):
                yield found.read_row_groups(groups, columns=columns, use_threads=False)


def _jsonl(file: File, reading: Reading) -> Iterator[pa.Table]:
    import polars as pl

    kinds = {**dict.fromkeys(_TEXTS, pl.String()), **dict.fromkeys(_WHOLE_NUMBERS, pl.Int64())}
    schema = {theirs: kinds.get(ours, pl.Float64()) for ours, theirs in _theirs(reading).items()}
    with stream_of(file) as stream:
        rest = b""
        while True:
            data = stream.read(_JSON_BYTES)
            lines, _, after = (rest + data).rpartition(b"\n") if data else (rest, b"", b"")
            rest = after
            if lines.strip():
                frame = pl.read_ndjson(lines, schema=schema)
                leniency = _theirs(reading)["leniency"]
                if frame[leniency].null_count() == len(frame):
                    frame = frame.drop(leniency)  # as if it were missing: null would say that none was needed
                yield frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if not data:
                return


def _csv(file: File, reading: Reading) -> Iterator[pa.Table]:
    from pyarrow import csv

    kinds: dict[str, Any] = {**dict.fromkeys(_TEXTS, pa.string()), **dict.fromkeys(_WHOLE_NUMBERS, pa.int64())}
    types = {theirs: kinds.get(ours, pa.float64()) for ours, theirs in _theirs(reading).items()}
    # An empty field is null, "" between quotes an empty text.
    convert = csv.ConvertOptions(
        column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
    )
    with (
        stream_of(file) as stream,
        csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            read_options=csv.ReadOptions(block_size=_JSON_BYTES),
            convert_options=convert,
        ) as reader,
    ):
        for batch in reader:
            yield pa.table(batch).select([c for c in types if c in batch.schema.names])
