"""Rows cut by problem before they are reduced.

Where a block has few rows of each (policy, problem, answer), its state is hardly smaller than its rows, and costs far
more to make, to cut and to merge. Cut rows are cheaper to hold and to write; all rows of a part, reduced together, are
many of each of few problems. What comes of a part is what merging the blocks' states would give.

Values are checked when rows are cut, while it is known where they come from.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from leash_ray.reducers.arrays import arrow
from leash_ray.reducers.block import VERDICTS, chosen, sample_indices, verdicts
from leash_ray.reducers.columns import Coded, coded, coded_without_null, numbers, used
from leash_ray.reducers.hashes import by_part, parts_of
from leash_ray.reducers.registry import ESTIMATED
from leash_ray.reducers.state import CompletionsState, needed, state_of_block

BLOCK_ROWS = 2_000_000
"""Reduced at once, at most, where tables are no larger."""
_TINY = 127
"""Words that have numbers of 8 bits."""


class CutRows(NamedTuple):
    """Rows of one block or more, by part."""

    parts: list[list[pa.Table]]
    policies: dict[str, int]
    """policy -> rows, also of the policies that were not asked for."""

    @classmethod
    def empty(cls, n_parts: int) -> "CutRows":
        return cls([[] for _ in range(n_parts)], {})

    def add(self, other: "CutRows") -> None:
        """Take the rows of another block."""
        for held, tables in zip(self.parts, other.parts, strict=True):
            held += tables
        for name, n in other.policies.items():
            self.policies[name] = self.policies.get(name, 0) + n


def cut_rows(block: pa.Table, n_parts: int, policies: Sequence[str] | None = None) -> CutRows:
    """A block as ``n_parts`` disjoint ones, in which rows keep their order. Arguments and errors as of
    :func:`~leash_ray.reducers.state.state_of_block`; parts are those of :func:`~leash_ray.reducers.parts.cut`."""
    found = CutRows.empty(n_parts)
    if not block.num_rows:
        return found
    table, policy, present = chosen(needed(block), policies)
    found.policies.update(present)
    if not table.num_rows:
        return found
    problem = used(*coded_without_null(table, "problem_id"))
    of_word = parts_of(problem.words, n_parts)
    order, ends = by_part(of_word[problem.codes], n_parts)
    word_order, word_ends = by_part(of_word, n_parts)
    place = np.empty(len(of_word), dtype=np.int32)  # of a word among those in the order of parts
    place[word_order] = np.arange(len(of_word), dtype=np.int32)
    words = problem.words.take(arrow(word_order))

    columns = {
        "policy": _labels(policy),
        "verdict": _labels(Coded(verdicts(table).astype(np.int32), pa.array(VERDICTS))),
    }
    columns["sample_index"] = arrow(sample_indices(table).astype(np.int32, copy=False))
    for name in table.schema.names:
        if name not in ("problem_id", *columns):
            column = _plain(table, name)
            if column is not None:
                columns[name] = column
    rows = pa.table(columns).take(arrow(order))
    codes = place[problem.codes][order]
    start = word_start = 0
    for part, end, word_end in zip(found.parts, ends.tolist(), word_ends.tolist(), strict=True):
        ids = pa.DictionaryArray.from_arrays(
            arrow(codes[start:end] - np.int32(word_start)), words.slice(word_start, word_end - word_start)
        )
        if end > start:
            part.append(rows.slice(start, end - start).append_column("problem_id", ids))
        start, word_start = end, word_end
    return found


def _labels(of: Coded) -> pa.Array:
    """A few words as a dictionary; many, of which a part may have few, spelt out."""
    missing = of.codes < 0
    if len(of.words) > _TINY:
        return of.words.take(arrow(of.codes, missing if missing.any() else None))
    codes = arrow(of.codes.astype(np.int8), missing if missing.any() else None)
    return pa.DictionaryArray.from_arrays(codes, of.words)


def _plain(table: pa.Table, name: str) -> pa.Array | None:
    """An optional column, of a type that is as small as may be; None: it is as good as missing."""
    kind = table.schema.field(name).type
    if name in ("task", "leniency"):
        return _labels(coded(table, name))
    if name == "answer":
        if pa.types.is_string(kind):
            return table.column(name)
        codes, words = coded(table, name)
        return words.take(arrow(codes, codes < 0))
    small, large = (pa.int32(), pa.int64()) if name == "n_tokens" else (pa.float32(), pa.float64())
    return numbers(table, name, small if kind == small else large)


def append_rows(path: Path, tables: Iterable[pa.Table]) -> int:
    """Write tables of any schemas to the end of a file; how many bytes."""
    with pa.OSFile(str(path), "ab") as file:
        before = file.tell()
        for table in tables:
            with pa.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)
        return int(file.tell()) - int(before)


def rows_of_file(path: Path) -> Iterator[pa.Table]:
    """The tables that were written to a file."""
    with pa.memory_map(str(path)) as file:
        while file.tell() < file.size():
            yield pa.ipc.open_stream(file).read_all()


def states_of_rows(tables: Iterable[pa.Table], reducers: Sequence[str] = ESTIMATED) -> list[CompletionsState]:
    """States, as few as may be, of the rows of one part, as they were cut; they count none of ``policies``."""
    alike: defaultdict[pa.Schema, list[pa.Table]] = defaultdict(list)
    states: list[CompletionsState] = []

    def reduce(some: list[pa.Table]) -> None:
        states.append(replace(state_of_block(pa.concat_tables(some), reducers=reducers), policies={}))
        some.clear()

    for table in tables:
        some = alike[table.schema]
        if some and sum(map(len, some)) + len(table) > BLOCK_ROWS:
            reduce(some)
        some.append(table)
    for some in alike.values():
        reduce(some)
    return states
