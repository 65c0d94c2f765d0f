"""What is known about the completions seen so far: the states of all reducers, and the words that they number.

A commutative monoid: ``empty``, ``update`` with a block of completions, ``merge``; ``finalize`` once at the end. Any
split of the rows into blocks, in any order, finalizes to identical numbers. No Ray.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leash_ray.errors import UsageError
from leash_ray.reducers.arrays import arrow, arrow_table
from leash_ray.reducers.block import block_of
from leash_ray.reducers.columns import united, used
from leash_ray.reducers.reducer import CODES, concat, ints
from leash_ray.reducers.registry import ESTIMATED, REDUCERS, bounded
from leash_ray.types import REQUIRED_COLUMNS

if TYPE_CHECKING:
    from leash_ray.reducers.reduced import Reduced

WORDS = ("policy", "problem_id", "task", "answer")
_PAIRS = ""
"""Where the pairs are, among the tables of reducers."""
_COLUMN_OF = {"problem_id": "problem"}
"""Kind of words -> the column of their numbers, where that has another name."""
READ_COLUMNS = tuple(
    dict.fromkeys([*REQUIRED_COLUMNS, "task", *(c for name in ESTIMATED for c in REDUCERS[name].columns)])
)
"""The columns of a completions table that reducing looks at."""


@dataclass(frozen=True)
class CompletionsState:
    """The states of some reducers."""

    words: Mapping[str, pa.Array]
    """policy, problem_id, task and answer: the texts that numbers in the other tables stand for."""
    pairs: pa.Table
    """(policy, problem_id) as numbers of words. The number of a pair, elsewhere, is its row here."""
    tables: Mapping[str, pa.Table]
    """State of each reducer, by its name."""
    policies: Mapping[str, int] = field(default_factory=dict)
    """policy -> rows, also of the policies that were not asked for."""
    is_canonical: bool = False
    """Whether every word and key occurs once; of blocks they may repeat."""

    @staticmethod
    def empty(reducers: Sequence[str] = ESTIMATED) -> "CompletionsState":
        """The state of no completions: merging it changes nothing."""
        words = {name: pa.array([], pa.large_string()) for name in WORDS}
        tables = {name: REDUCERS[name].schema.empty_table() for name in reducers}
        return CompletionsState(words, _pairs([], []), tables, is_canonical=True)

    def update(self, block: pa.Table | pa.RecordBatch, policies: Sequence[str] | None = None) -> "CompletionsState":
        """This state and a block of completions. See :func:`state_of_block`."""
        return self.merge(state_of_block(block, policies, tuple(self.tables)))

    def merge(self, *others: "CompletionsState") -> "CompletionsState":
        """This state and others: associative and commutative up to the order of rows. It is of the reducers that all of
        them are of; a state of no completions is of any."""
        states = [self, *others]
        if len(states) == 1 and self.is_canonical:
            return self
        of = [state for state in states if len(state.pairs)]
        names = [name for name in of[0].tables if all(name in state.tables for state in of)] if of else []
        names = names or list(dict.fromkeys(name for state in states for name in state.tables))
        words, numbers = _united_words(states)
        pairs, pair_numbers = _united_pairs(states, numbers, len(words["problem_id"]))
        tables = {
            name: REDUCERS[name].merge(
                concat(
                    [
                        _renumbered(state.table(name), {**of, "pair": pair})
                        for state, of, pair in zip(states, numbers, pair_numbers, strict=True)
                    ]
                ),
                len(pairs),
            )
            for name in names
        }
        counts: dict[str, int] = {}
        for state in states:
            for name, n in state.policies.items():
                counts[name] = counts.get(name, 0) + n
        found = CompletionsState(words, pairs, tables, counts, is_canonical=True)
        return found if bounded(tables) is None else found.without_unused_words()

    def finalize(self) -> "Reduced":
        """Per-problem numbers, sorted by key.

        Raises:
            UsageError: some (policy, problem_id, sample_index) occurs more than once, or one problem has two tasks.
        """
        from leash_ray.reducers.reduced import reduced

        return reduced(self.merge())

    def table(self, name: str) -> pa.Table:
        """The state of a reducer, which may be empty where this state is."""
        return self.tables[name] if name in self.tables else REDUCERS[name].schema.empty_table()

    def only(self, reducers: Sequence[str]) -> "CompletionsState":
        """The state of some reducers alone, of those that it has."""
        if all(name in reducers for name in self.tables):
            return self
        return replace(self, tables={name: table for name, table in self.tables.items() if name in reducers})

    def without_unused_words(self) -> "CompletionsState":
        """The same without words that it does not name."""
        words, tables = dict(self.words), {**self.tables, _PAIRS: self.pairs}
        for kind in WORDS:
            column = _COLUMN_OF.get(kind, kind)
            naming = [
                (name, table.schema.names.index(column))
                for name, table in tables.items()
                if column in table.schema.names
            ]
            codes = (
                np.concatenate([ints(tables[name], column) for name, _ in naming]) if naming else np.zeros(0, np.int32)
            )
            codes, words[kind] = used(codes, words[kind])
            start = 0
            for name, place in naming:
                table = tables[name]
                own = arrow(codes[start : start + len(table)])
                start += len(table)
                tables[name] = table.set_column(place, table.schema.field(place), own)
        pairs = tables.pop(_PAIRS)
        return CompletionsState(words, pairs, tables, self.policies, self.is_canonical)

    @property
    def keys(self) -> pa.Table:
        """(policy, problem_id) of each pair, as texts."""
        return pa.table(
            {n: self.words[n].take(self.pairs.column(c)) for n, c in (("policy", "policy"), ("problem_id", "problem"))}
        )

    @property
    def n_rows(self) -> int:
        """Rows in all tables together."""
        return sum(len(table) for table in self.tables.values())

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(x.nbytes for x in (*self.words.values(), *self.tables.values(), self.pairs))


def state_of_block(
    block: pa.Table | pa.RecordBatch,
    policies: Sequence[str] | None = None,
    reducers: Sequence[str] = ESTIMATED,
) -> CompletionsState:
    """The state of one block of completions.

    Args:
        block: a completions table. Strings may be string, large_string, or dictionaries of them; integers of any width;
            any optional column may be missing.
        policies: keep only these policies, and with ``name@*`` the checkpoints of one (all are still counted in
            ``policies``). None: keep all.
        reducers: names of reducers.

    Raises:
        UsageError: a required column is missing or has nulls, a value has the wrong type, a sample index is negative
            or above 2**31 - 1, or a verdict is none of the five.
    """
    if block.num_rows == 0:
        return CompletionsState.empty(reducers)
    chosen = [REDUCERS[name] for name in reducers]
    found = block_of(needed(block), chosen, policies)
    if not found.n_pairs:
        return CompletionsState(**{**vars(CompletionsState.empty(reducers)), "policies": found.policies})
    tables = {one.name: one.update(found) for one in chosen}
    state = CompletionsState(found.words, found.pairs, tables, found.policies)
    return state if bounded(tables) is None else state.without_unused_words()


def needed(block: pa.Table | pa.RecordBatch) -> pa.Table:
    """The columns that reducing looks at.

    Raises:
        UsageError: a required one is missing.
    """
    missing = [c for c in REQUIRED_COLUMNS if c not in block.schema.names]
    if missing:
        raise UsageError(
            f"not a completions table: missing column {', '.join(missing)} (it has: {', '.join(block.schema.names)}); "
            f"needed are {', '.join(REQUIRED_COLUMNS)}"
        )
    return pa.table({c: block.column(c) for c in READ_COLUMNS if c in block.schema.names})


def _united_words(
    states: Sequence[CompletionsState],
) -> tuple[dict[str, pa.Array], list[dict[str, NDArray[np.int32]]]]:
    """The words of all states, and for each state and kind which of them its words are."""
    words: dict[str, pa.Array] = {}
    numbers: list[dict[str, NDArray[np.int32]]] = [{} for _ in states]
    for kind in WORDS:
        words[kind], found = united([state.words[kind] for state in states])
        for of, number_of in zip(numbers, found, strict=True):
            of[kind] = number_of
    return words, numbers


def _united_pairs(
    states: Sequence[CompletionsState], numbers: Sequence[Mapping[str, NDArray[np.int32]]], n_problems: int
) -> tuple[pa.Table, list[NDArray[np.int32]]]:
    """The pairs of all states, and for each state which of them its pairs are."""
    key = np.concatenate(
        [
            of["policy"][ints(state.pairs, "policy")].astype(np.int64) * max(n_problems, 1)
            + of["problem_id"][ints(state.pairs, "problem")]
            for state, of in zip(states, numbers, strict=True)
        ]
    )
    n = int(key.max(initial=-1)) + 1
    if n > 8 * len(key) + 1000:
        present, place = np.unique(key, return_inverse=True)
    else:
        seen = np.zeros(n, dtype=bool)
        seen[key] = True
        present, place = np.flatnonzero(seen), (np.cumsum(seen, dtype=np.int64) - 1)[key]
    stops = np.cumsum([len(state.pairs) for state in states])
    policy, problem = np.divmod(present, max(n_problems, 1))
    return _pairs(policy, problem), np.split(place.astype(np.int32), stops[:-1])


def _pairs(policy: Any, problem: Any) -> pa.Table:
    return arrow_table({"policy": np.asarray(policy, dtype=np.int32), "problem": np.asarray(problem, dtype=np.int32)})


def _renumbered(table: pa.Table, number_of: Mapping[str, NDArray[np.int32]]) -> pa.Table:
    for i, name in enumerate(table.schema.names):
        if name in CODES:
            # -1 (no word) finds the appended -1.
            new = np.append(number_of[name], np.int32(-1))[ints(table, name)]
            table = table.set_column(i, table.schema.field(i), arrow(new))
    return table
