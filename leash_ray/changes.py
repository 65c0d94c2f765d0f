"""What became of stored verdicts when they were replaced."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_EXAMPLES = 3
"""Of each kind of change."""


@dataclass(slots=True)
class Changes:
    """What became of the completions."""

    verdicts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(policy, old verdict, new verdict) -> completions; those that stayed, too."""
    answers: Counter[str] = field(default_factory=Counter)
    """policy -> completions with the old verdict and another canonical answer."""
    unverifiable: Counter[str] = field(default_factory=Counter)
    """policy -> completions that keep their verdict because they have no text, or a problem that is not known."""
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """Completions with another verdict."""
        return sum(n for (_, old, new), n in self.verdicts.items() if old != new)

    def add(self, other: "Changes") -> None:
        self.verdicts += other.verdicts
        self.answers += other.answers
        self.unverifiable += other.unverifiable
        seen = Counter((e["policy"], e["old"], e["new"]) for e in self.examples)
        for example in other.examples:
            kind = (example["policy"], example["old"], example["new"])
            if seen[kind] < _EXAMPLES:
                seen[kind] += 1
                self.examples.append(example)

    def to_json(self) -> dict[str, Any]:
        return {
            "changed": self.changed,
            "verdicts": [
                {"policy": policy, "old": old, "new": new, "completions": n}
                for (policy, old, new), n in sorted(self.verdicts.items())
            ],
            "answers_changed": dict(self.answers),
            "unverifiable": dict(self.unverifiable),
            "examples": self.examples,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Changes":
        """What :meth:`to_json` gave."""
        rows = value["verdicts"]
        return Changes(
            Counter({(row["policy"], row["old"], row["new"]): row["completions"] for row in rows}),
            Counter(value["answers_changed"]),
            Counter(value["unverifiable"]),
            value["examples"],
        )


def compare(old: pa.Table, new: pa.Table) -> Changes:
    """What became of the completions of one shard: ``old`` and ``new`` have the same rows, in the same order."""
    changes = Changes()
    policies = _texts(old, "policy").to_pylist()
    before, after = (_texts(table, "verdict").to_pylist() for table in (old, new))
    changes.verdicts.update(zip(policies, before, after, strict=True))
    answers = pc.not_equal(*(pc.fill_null(_texts(table, "answer"), "") for table in (old, new)))
    shown: Counter[tuple[str, str, str]] = Counter()
    for i in range(len(policies)):
        if before[i] != after[i]:
            kind = (policies[i], before[i], after[i])
            shown[kind] += 1
            if shown[kind] <= _EXAMPLES:
                example = {"policy": policies[i], "old": before[i], "new": after[i]}
                example |= {"problem_id": new["problem_id"][i].as_py(), "sample_index": new["sample_index"][i].as_py()}
                example |= {name: _texts(new, name)[i].as_py() for name in ("answer", "reason", "stage")}
                changes.examples.append(example)
        elif answers[i].as_py():
            changes.answers[policies[i]] += 1
    return changes


def _texts(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column as plain texts; nulls where there is none."""
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), pa.string())])
    return table[name].cast(pa.string())
