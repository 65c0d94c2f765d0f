"""What training has seen of each problem so far: the same on every worker, and kept in checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leash_ray.rlvr.collectives import all_gather


@dataclass(slots=True)
class Record:
    """Of one problem."""

    n: int = 0
    """Completions that were scored."""
    c: int = 0
    """Of them correct."""
    turns: int = 0
    """Groups."""
    last_n: int = 0
    """Of its latest group: scored."""
    last_c: int = 0
    """Of its latest group: correct."""


@dataclass(slots=True)
class Book:
    """Records by problem id."""

    of: dict[str, Record] = field(default_factory=dict)

    def record(self, problem_id: str) -> Record:
        """Of a problem; empty where it was never trained on."""
        return self.of.get(problem_id) or Record()

    def add(self, seen: Mapping[str, tuple[int, int]]) -> None:
        """Take note of one step's (scored, correct) of this worker's problems, and of all others': every worker calls
        this."""
        for theirs in all_gather(dict(seen)):
            self.add_own(theirs)

    def add_own(self, seen: Mapping[str, tuple[int, int]]) -> None:
        for problem_id, (n, c) in seen.items():
            record = self.of.setdefault(problem_id, Record())
            record.n, record.c, record.turns = record.n + n, record.c + c, record.turns + 1
            record.last_n, record.last_c = n, c

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {i: [r.n, r.c, r.turns, r.last_n, r.last_c] for i, r in self.of.items()}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Book":
        return cls({i: Record(*values) for i, values in state.items()})
