"""Many states -> a few, in bounded memory.

While merging makes them small, states are merged a few at a time, small with small: what waits stays small, and no row
is merged more than log times. Where they do not get small (hundreds of distinct answers to each of many problems), they
are cut by problem into parts; beyond a budget the parts go to a temporary folder, and at the end each is merged by
itself. Rows that are cut (:mod:`leash_ray.reducers.rows`) are held and written in the same way, and reduced at the end.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from leash_ray.reducers.parts import cut, from_bytes, to_bytes
from leash_ray.reducers.registry import ESTIMATED
from leash_ray.reducers.rows import CutRows, append_rows, rows_of_file, states_of_rows
from leash_ray.reducers.state import CompletionsState

N_PARTS = 64
_WIDTH = 16
"""States merged at once."""
_LARGE_BYTES, _LARGE_ROW_BYTES = 16 << 20, 20
"""Of a state, in all and for each of its rows; of larger ones, cutting the rows costs less (docs/scaling.md)."""


class Accumulator:
    """Takes states and cut rows, gives disjoint parts of their sum."""

    def __init__(
        self, budget_bytes: int = 1 << 30, folder: Path | None = None, reducers: Sequence[str] = ESTIMATED
    ) -> None:
        """Holds about ``budget_bytes`` in memory; ``folder``: for what is more (None: the system's temporary one);
        ``reducers``: that rows are reduced with."""
        self._whole_limit, self._budget, self._folder = budget_bytes // 4, budget_bytes, folder
        self._reducers = reducers
        self._levels: list[list[CompletionsState]] = [[]]
        self._parts: list[list[CompletionsState]] = []
        self._rows = CutRows.empty(N_PARTS)
        self._held_bytes = 0
        """In parts."""
        self._spill: tempfile.TemporaryDirectory[str] | None = None
        self._n_spilled = 0
        self.spilled_bytes = 0
        self.prefers_rows = False
        """Whether states are so large that rows are cut better than reduced."""

    def __enter__(self) -> "Accumulator":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._spill is not None:
            self._spill.cleanup()

    @property
    def is_cut(self) -> bool:
        """Whether states are cut by problem."""
        return bool(self._parts)

    def add(self, found: CompletionsState | list[CompletionsState] | CutRows) -> None:
        """Take a state, or one that is cut already, or rows."""
        if isinstance(found, CompletionsState):
            self.prefers_rows = self.prefers_rows or _is_large(found)
            if not self._parts:
                self._add_whole(found)
                return
            found = cut(found, N_PARTS)
        self._cut_what_is_held()
        if isinstance(found, list):
            self._add_parts(found)
        else:
            self._add_rows(found)

    def _add_whole(self, state: CompletionsState) -> None:
        self._levels[0].append(state)
        for i, level in enumerate(self._levels):
            if len(level) == _WIDTH:
                if i + 1 == len(self._levels):
                    self._levels.append([])
                self._levels[i + 1].append(level[0].merge(*level[1:]))
                level.clear()
        if sum(state.nbytes for level in self._levels for state in level) > self._whole_limit:
            self._settle()

    def _settle(self) -> None:
        """Merge all that is held; cut it if that does not make it small."""
        held = [state for level in self._levels for state in level]
        before = sum(state.nbytes for state in held)
        merged = held[0].merge(*held[1:])
        self._levels = [[], [merged]]
        if merged.nbytes > before // 2 and merged.nbytes > self._whole_limit // 2:
            self._cut_what_is_held()

    def _cut_what_is_held(self) -> None:
        if not self._parts:
            self._parts = [[] for _ in range(N_PARTS)]
            for level in self._levels:
                while level:
                    self._add_parts(cut(level.pop(), N_PARTS))

    def _add_parts(self, states: list[CompletionsState]) -> None:
        for held, state in zip(self._parts, states, strict=True):
            held.append(state)
        self._hold(sum(state.nbytes for state in states))

    def _add_rows(self, rows: CutRows) -> None:
        self._rows.add(rows)
        self._hold(sum(table.nbytes for tables in rows.parts for table in tables))

    def _hold(self, n_bytes: int) -> None:
        self._held_bytes += n_bytes
        if self._held_bytes > self._budget * 3 // 4:
            self._write()
            self._held_bytes = 0

    def _write(self) -> None:
        if self._spill is None:
            self._spill = tempfile.TemporaryDirectory(prefix="leash-reduce-", dir=self._folder)
        folder = Path(self._spill.name)
        for i, (states, tables) in enumerate(zip(self._parts, self._rows.parts, strict=True)):
            for state in states:
                data = to_bytes(state)
                self.spilled_bytes += len(data)
                (folder / f"{i}-{self._n_spilled}").write_bytes(data)
                self._n_spilled += 1
            if tables:
                self.spilled_bytes += append_rows(folder / f"{i}.rows", tables)
            states.clear()
            tables.clear()

    def parts(self, n_threads: int = 1) -> Iterator[CompletionsState]:
        """Canonical states of disjoint problems, whose sum is that of all that were added."""
        if not self._parts:
            held = [state for level in self._levels for state in level]
            yield held[0].merge(*held[1:]) if held else CompletionsState.empty()
            return
        with ThreadPoolExecutor(n_threads) as pool:
            ahead = [pool.submit(self._part, i) for i in range(min(n_threads, N_PARTS))]
            for i in range(N_PARTS):
                found = ahead.pop(0).result()
                if i + n_threads < N_PARTS:
                    ahead.append(pool.submit(self._part, i + n_threads))
                yield found

    def _part(self, i: int) -> CompletionsState:
        states, tables = self._parts[i], self._rows.parts[i]
        self._parts[i], self._rows.parts[i] = [], []
        if self._spill is not None:
            for path in sorted(Path(self._spill.name).glob(f"{i}-*")):
                states.append(from_bytes(path.read_bytes()))
            if (path := Path(self._spill.name) / f"{i}.rows").exists():
                tables += rows_of_file(path)
        states += states_of_rows(tables, self._reducers)
        if i == 0:
            states.append(replace(CompletionsState.empty(self._reducers), policies=self._rows.policies))
        return CompletionsState.empty(self._reducers).merge(*states)


def _is_large(state: CompletionsState) -> bool:
    rows = sum(state.policies.get(name, 0) for name in set(state.words["policy"].to_pylist()))
    return state.nbytes > max(_LARGE_BYTES, _LARGE_ROW_BYTES * rows)
