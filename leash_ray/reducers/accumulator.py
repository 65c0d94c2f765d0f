"""Many states -> a few, in bounded memory.

While merging makes them small, states are merged a few at a time, small with small: what waits stays small, and no row
is merged more than log times. Where they do not get small (hundreds of distinct answers to each of many problems), they
are cut by problem into parts; beyond a budget the parts go to a temporary folder, and at the end each is merged by
itself.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from leash_ray.reducers.parts import cut, from_bytes, to_bytes
from leash_ray.reducers.state import CompletionsState

N_PARTS = 64
_WIDTH = 16
"""States merged at once."""


class Accumulator:
    """Takes states, gives disjoint parts of their sum."""

    def __init__(self, budget_bytes: int = 1 << 30, folder: Path | None = None) -> None:
        """Holds about ``budget_bytes`` in memory; ``folder``: for what is more (None: the system's temporary one)."""
        self._whole_limit, self._budget, self._folder = budget_bytes // 4, budget_bytes, folder
        self._levels: list[list[CompletionsState]] = [[]]
        self._parts: list[list[CompletionsState]] = []
        self._spill: tempfile.TemporaryDirectory[str] | None = None
        self._n_spilled = 0
        self.spilled_bytes = 0

    def __enter__(self) -> "Accumulator":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._spill is not None:
            self._spill.cleanup()

    @property
    def is_cut(self) -> bool:
        """Whether states are cut by problem."""
        return bool(self._parts)

    def add(self, state: CompletionsState | list[CompletionsState]) -> None:
        """Take a state, or one that is cut already."""
        if isinstance(state, list):
            self._cut_what_is_held()
            self._add_parts(state)
        elif self._parts:
            self._add_parts(cut(state, N_PARTS))
        else:
            self._add_whole(state)

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
        if sum(state.nbytes for part in self._parts for state in part) > self._budget * 3 // 4:
            self._write()

    def _write(self) -> None:
        if self._spill is None:
            self._spill = tempfile.TemporaryDirectory(prefix="leash-reduce-", dir=self._folder)
        for i, part in enumerate(self._parts):
            for state in part:
                data = to_bytes(state)
                self.spilled_bytes += len(data)
                (Path(self._spill.name) / f"{i}-{self._n_spilled}").write_bytes(data)
                self._n_spilled += 1
            part.clear()

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
        states, self._parts[i] = self._parts[i], []
        if self._spill is not None:
            for path in sorted(Path(self._spill.name).glob(f"{i}-*")):
                states.append(from_bytes(path.read_bytes()))
        return states[0].merge(*states[1:]) if states else CompletionsState.empty()
