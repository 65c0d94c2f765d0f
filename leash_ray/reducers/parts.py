"""States cut by problem, and as bytes: what is exchanged, spilled and kept on disk.

Both policies of a problem fall into the same part, so parts are merged and finalized one by one.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from leash_ray.reducers.arrays import arrow
from leash_ray.reducers.hashes import by_part, parts_of
from leash_ray.reducers.reducer import ints
from leash_ray.reducers.state import CompletionsState

_META = b"leash_state"


def cut(state: CompletionsState, n_parts: int) -> list[CompletionsState]:
    """A state as ``n_parts`` disjoint ones; merged, they are the state again."""
    of_pair = parts_of(state.words["problem_id"], n_parts)[ints(state.pairs, "problem")]
    number = np.empty(len(of_pair), dtype=np.int32)  # of a pair within its part
    pair_order, pair_ends = by_part(of_pair, n_parts)
    starts = np.concatenate([[0], pair_ends[:-1]])
    number[pair_order] = np.arange(len(of_pair)) - np.repeat(starts, pair_ends - starts)
    pieces: list[dict[str, pa.Table]] = [{} for _ in range(n_parts)]
    for name, table in state.tables.items():
        pair = ints(table, "pair")
        order, ends = by_part(of_pair[pair], n_parts)
        moved = table.set_column(0, table.schema.field(0), arrow(number[pair])).take(arrow(order))
        start = 0
        for of, end in zip(pieces, ends.tolist(), strict=True):
            of[name], start = moved.slice(start, end - start).combine_chunks(), end
    found = []
    for i, tables in enumerate(pieces):
        pairs = state.pairs.take(arrow(pair_order[starts[i] : pair_ends[i]]))
        found.append(
            CompletionsState(
                state.words, pairs, tables, state.policies if not i else {}, state.is_canonical
            ).without_unused_words()
        )
    return found


def to_bytes(
    state: CompletionsState, about: Mapping[str, object] | None = None, compression: str | None = "lz4"
) -> bytes:
    """A state as bytes, with JSON-able facts about it; with zstd they are few, and with lz4 quick to make and read."""
    tables = {
        "pairs": state.pairs,
        **{f"words/{name}": pa.table({"word": words}) for name, words in state.words.items()},
        **{f"tables/{name}": _in_order(t) if compression == "zstd" else t for name, t in state.tables.items()},
    }
    options = pa.ipc.IpcWriteOptions(compression=compression)
    parts, sizes = [], []
    for table in tables.values():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        parts.append(sink.getvalue())
        sizes.append(parts[-1].size)
    head = json.dumps(
        {
            "tables": dict(zip(tables, sizes, strict=True)),
            "policies": dict(state.policies),
            "is_canonical": state.is_canonical,
            "about": dict(about or {}),
        }
    ).encode()
    return b"".join([_META, len(head).to_bytes(8, "little"), head, *map(bytes, parts)])


def _in_order(table: pa.Table) -> pa.Table:
    """Answers of a pair one after another: neighbours that are alike take half the bytes."""
    if "answer" not in table.schema.names or not len(table):
        return table
    key = (ints(table, "pair").astype(np.int64) << 32) | (ints(table, "answer") + np.int32(1))
    return table.take(arrow(np.argsort(key)))


def about_of_file(path: Path) -> dict[str, object]:
    """The facts that :func:`to_bytes` was told, of a file, of which only the head is read.

    Raises:
        ValueError: it is no state, or not whole.
    """
    with open(path, "rb") as f:
        start = f.read(len(_META) + 8)
        rest = f.read(int.from_bytes(start[len(_META) :], "little") if start.startswith(_META) else 0)
        head, stop = _head(memoryview(start + rest))
        if os.fstat(f.fileno()).st_size != stop + sum(head["tables"].values()):
            raise ValueError(f"{path} is not whole")
    return dict(head["about"])


def _head(data: memoryview) -> tuple[dict[str, dict[str, int]], int]:
    if bytes(data[: len(_META)]) != _META:
        raise ValueError("no state")
    start = len(_META) + 8
    stop = start + int.from_bytes(data[len(_META) : start], "little")
    return json.loads(bytes(data[start:stop])), stop


def from_bytes(data: bytes | memoryview | pa.Buffer) -> CompletionsState:
    """What :func:`to_bytes` was given.

    Raises:
        ValueError: they are no state, or not whole.
    """
    buffer = data if isinstance(data, pa.Buffer) else pa.py_buffer(data)
    head, at = _head(memoryview(buffer))
    tables = {}
    for name, size in head["tables"].items():
        tables[name] = pa.ipc.open_stream(buffer.slice(at, size)).read_all()
        at += size
    return CompletionsState(
        {n.removeprefix("words/"): t.column(0).combine_chunks() for n, t in tables.items() if n.startswith("words/")},
        tables["pairs"],
        {n.removeprefix("tables/"): t.combine_chunks() for n, t in tables.items() if n.startswith("tables/")},
        {str(name): int(n) for name, n in head["policies"].items()},
        bool(head["is_canonical"]),
    )
