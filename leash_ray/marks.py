"""A person's marks: verdicts that overrule the verifier's, one completion each, kept in ``audit/marks.jsonl``.

A mark holds for one completion, not for its answer: a right answer may rest on a guess. Later marks of a completion
replace earlier ones, and the mark ``NONE`` withdraws them; nothing is ever erased from the file. How marks come into
the completions is :mod:`leash_ray.overrule`'s affair.
"""

import datetime
import getpass
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from leash_ray.errors import UsageError
from leash_ray.types import Verdict
from leash_ray.verify import Verification

Key = tuple[str, str, int]
"""(policy, problem id, sample index)"""

MARKED = "marked by hand"

WITHDRAWN = "NONE"
"""The mark that takes back the earlier ones: the verifier's verdict counts again."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks that hold."""

    verdicts: Mapping[Key, Verdict] = field(default_factory=dict)
    notes: Mapping[Key, str] = field(default_factory=dict)

    def apply(self, key: Key, own: Verification) -> Verification:
        """What counts of a completion: ``own``, the verifier's verification, unless a mark says otherwise."""
        verdict = self.verdicts.get(key)
        if verdict is None or verdict == own.verdict:
            return own
        note = self.notes.get(key)
        reason = f"{MARKED}{f': {note}' if note else ''}; the verifier said {own.verdict}"
        return own._replace(verdict=verdict, reason=reason, leniency=None)


def marks_path(run: Path) -> Path:
    """Where a run's marks are."""
    return run / "audit" / "marks.jsonl"


def read_marks(path: Path) -> Marks:
    """The marks of a file that hold. No file: no marks.

    Raises:
        UsageError: a line that is no mark; names it.
    """
    verdicts: dict[Key, Verdict] = {}
    notes: dict[Key, str] = {}
    for key, verdict, note in _lines(path) if path.is_file() else []:
        verdicts.pop(key, None)
        notes.pop(key, None)
        if verdict is not None:
            verdicts[key], notes[key] = verdict, note
    return Marks(verdicts, notes)


def mark_row(key: Key, verdict: Verdict | None, note: str = "") -> dict[str, object]:
    """A mark as a line of the file; None withdraws."""
    mark = WITHDRAWN if verdict is None else verdict.value
    return {"policy": key[0], "problem_id": key[1], "sample_index": key[2], "mark": mark, "note": note}


def marks_to_add(path: Path) -> list[dict[str, object]]:
    """The marks of a file of a person's, for :func:`add_marks`.

    Raises:
        UsageError: no such file, a line that is no mark, or none that is marked.
    """
    if not path.is_file():
        raise UsageError(f"no file of marks {path}: copy audit/rare.jsonl of the run, and fill in mark")
    found = [mark_row(key, verdict, note) for key, verdict, note in _lines(path)]
    if not found:
        raise UsageError(
            f"{path} marks nothing: set mark to CORRECT or INCORRECT on some of its lines, or to {WITHDRAWN} to "
            "withdraw a mark"
        )
    return found


def _lines(path: Path) -> Iterator[tuple[Key, Verdict | None, str]]:
    """(completion, mark, note) of JSON objects, one a line: policy, problem_id, sample_index, mark (CORRECT, INCORRECT,
    or NONE, given as None; empty: not marked) and, if wanted, note."""
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if row.get("mark") in (None, ""):
                continue  # listed, not marked
            key = (str(row["policy"]), str(row["problem_id"]), int(row["sample_index"]))
            mark = str(row["mark"]).upper()
            verdict = None if mark == WITHDRAWN else Verdict(mark)
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            raise UsageError(f"{path}, line {number}: not a mark ({e}): {_EXPECTED}") from e
        if verdict not in (Verdict.CORRECT, Verdict.INCORRECT, None):
            raise UsageError(f"{path}, line {number}: mark {verdict} is neither CORRECT nor INCORRECT nor {WITHDRAWN}")
        yield key, verdict, str(row.get("note") or "")


_EXPECTED = (
    'expected {"policy": ..., "problem_id": ..., "sample_index": ..., "mark": "CORRECT", "INCORRECT" or "NONE", '
    '"note": ...}'
)


def add_marks(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Append marks, with who made them and when."""
    path.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with open(path, "a", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps({**row, "by": _user(), "time": now}, ensure_ascii=True) + "\n")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
