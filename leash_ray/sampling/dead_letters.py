"""Dead letters: completions that could not be had, though the policy and the verifiers work for others.

Kept in a run's ``dead_letters.jsonl``, one line each time that a range of samples was given up. A line stays when the
samples are there later: which are still missing is said by the completions, not here.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from leash_ray.provenance import now
from leash_ray.sampling.shard import Gap


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Samples ``first_sample..end_sample`` of one problem and policy that were given up."""

    policy: str
    problem_id: str
    first_sample: int
    end_sample: int
    stage: str
    """``prompt``, ``policy`` or ``verifier``: where it failed."""
    reason: str
    tries: int

    @property
    def n(self) -> int:
        return self.end_sample - self.first_sample

    @property
    def pair(self) -> tuple[str, str]:
        return self.policy, self.problem_id

    @staticmethod
    def of(gap: Gap, stage: str, reason: str, tries: int) -> "DeadLetter":
        return DeadLetter(gap.policy, gap.problem, gap.first_sample, gap.end_sample, stage, reason, tries)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def append(path: Path, letters: Iterable[DeadLetter]) -> None:
    """Add lines to the file, each whole on the disk before this returns. One process writes it at a time."""
    lines = [json.dumps({"time": now(), **letter.to_json()}) + "\n" for letter in letters]
    if not lines:
        return
    with open(path, "a+b") as f:
        if f.tell() and not _ends_with_newline(f):
            lines.insert(0, "\n")  # the last line was cut off when its writer was killed
        f.write("".join(lines).encode())
        f.flush()
        os.fsync(f.fileno())


def _ends_with_newline(f: Any) -> bool:
    f.seek(-1, os.SEEK_END)
    return bool(f.read(1) == b"\n")


def read(path: Path) -> list[DeadLetter]:
    """All lines that are whole, oldest first."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
            found.append(DeadLetter(**{name: row[name] for name in DeadLetter.__slots__}))
        except (ValueError, KeyError, TypeError):  # cut off
            continue
    return found
