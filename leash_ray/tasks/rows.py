"""Rows into problems: a shape's settings under the spec's, each row's content, and a report of repeated rows."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from leash_ray.errors import UsageError
from leash_ray.tasks.cells import Cells, Place, text_of
from leash_ray.tasks.references import Content, content_of
from leash_ray.tasks.shapes import SHAPES, Shape
from leash_ray.tasks.sources import Row
from leash_ray.tasks.spec import RowsSpec
from leash_ray.tasks.templates import render, template_of
from leash_ray.types import GUESS_RATE, Problem
from leash_ray.verify.spec import VerifierSpec

log = logging.getLogger("leash_ray.tasks")

_PLAIN = Shape(verifier="math", columns={"question": ("problem",), "answer": ("answer",)})
_FAMILY = "jsonl"
"""What ids are hashed with in place of a task's name: one for all sources, since a problem is the same in any file."""
_SHOWN = 5
"""Places that a report of repeated rows names."""


def load_rows(spec: RowsSpec, rows: Iterable[Row]) -> list[Problem]:
    """The distinct problems of ``rows``, in their order; repeated ones are reported.

    Raises:
        UsageError: a row that lacks what the task needs, a reference that no answer could match, an unknown verifier,
            no problems.
    """
    return _Loader(spec).load(rows)


@dataclass
class _Counts:
    rows: int = 0
    left_out: int = 0
    """Rows that ``where`` or the shape leaves out."""


class _Loader:
    def __init__(self, spec: RowsSpec) -> None:
        self.spec = spec
        self.shape = SHAPES[spec.shape] if spec.shape else _PLAIN
        given = {role: (place,) for role, place in spec.columns if place is not None}
        self.places: dict[str, tuple[Place, ...]] = {**self.shape.columns, **given}
        self.checked: dict[str, VerifierSpec] = {}
        if spec.verifier:
            self._verifier(spec.verifier)  # refused before any row is read

    def load(self, rows: Iterable[Row]) -> list[Problem]:
        spec, counts = self.spec, _Counts()
        problems: dict[str, Problem] = {}
        seen = _Seen()
        source = spec.label
        for row in rows:
            source = row.source
            counts.rows += 1
            if not self._is_wanted(row):
                counts.left_out += 1
                continue
            problem = seen.add(row, *self._problem(row))
            if problem and spec.in_split(problem.id):
                problems[problem.id] = problem
                if spec.limit is not None and len(problems) >= spec.limit:
                    break
        if not problems:
            raise UsageError(f"{_path(spec) or source} gives no problems: {self._why_none(counts)}")
        if counts.left_out:
            log.info("%s: %d of %d rows left out", source, counts.left_out, counts.rows)
        seen.report(source)
        return [_with_duplicates(p, seen.repeats.get(p.id, 0)) for p in problems.values()]

    def _why_none(self, counts: _Counts) -> str:
        if not counts.rows:
            return "it is empty"
        if counts.left_out == counts.rows:
            return f"each of its {counts.rows} rows is left out by where, or is not of its shape's kind"
        return f"none of its {counts.rows - counts.left_out} problems is in its split"

    def _is_wanted(self, row: Row) -> bool:
        for column, wanted in self.spec.where.items():
            if column not in row.columns:
                names = ", ".join(sorted(row.columns)) or "none"
                raise UsageError(f"{row.where}: no column {column!r} for where (columns here: {names})")
            if row.columns[column] not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
        return self.shape.keep(row.columns)

    def _problem(self, row: Row) -> tuple[Problem, Content]:
        spec, shape = self.spec, self.shape
        verifier = self._verifier(spec.verifier or (shape.verifier_of or (lambda _: shape.verifier))(row.columns))
        cells = Cells(row.columns, self.places, row.where)
        content = content_of(cells, verifier, shape.shuffle if spec.shuffle is None else spec.shuffle)
        from leash_ray.verify.kinds import kind_of

        try:
            kind_of(str(verifier)).check_reference(content.reference)
            template = spec.prompt or shape.prompt or template_of(verifier.kind, bool(content.choices))
            prompt = render(template, {"question": content.question, **content.slots})
        except UsageError as e:
            raise UsageError(f"{row.where}: {e}") from e
        guess = {} if shape.guess_rate is None else {GUESS_RATE: shape.guess_rate}
        problem = Problem.make(
            task=_FAMILY,
            prompt=prompt,
            verifier=str(verifier),
            reference=content.reference,
            metadata={row.unit: row.number, **guess, **self._metadata(row)},
            key=content.key,
        )
        return replace(problem, task=spec.label), content

    def _verifier(self, name: str) -> VerifierSpec:
        if name not in self.checked:
            from leash_ray.verify.kinds import check_verifier  # here: verify imports what tasks need not

            verifier = VerifierSpec.parse(name)
            if self.spec.strict:
                verifier = verifier.with_options({"strict": True})
            check_verifier(str(verifier))
            self.checked[name] = verifier
        return self.checked[name]

    def _metadata(self, row: Row) -> dict[str, Any]:
        if self.spec.metadata is None:
            return {name: _plain(row.columns[name]) for name in self.shape.metadata if name in row.columns}
        for name in self.spec.metadata:
            if name not in row.columns:
                names = ", ".join(sorted(row.columns)) or "none"
                raise UsageError(f"{row.where}: no column {name!r} for metadata (columns here: {names})")
        return {name: _plain(row.columns[name]) for name in self.spec.metadata}


class _Seen:
    """Where each problem and each question first stood."""

    def __init__(self) -> None:
        self.first: dict[str, str] = {}
        """Problem id -> place."""
        self.asked: dict[str, tuple[str, str]] = {}
        """Question -> problem id and place."""
        self.repeats: dict[str, int] = {}
        self.duplicates: list[str] = []
        self.conflicts: list[str] = []

    def add(self, row: Row, problem: Problem, content: Content) -> Problem | None:
        """Note a row's problem; None if it was there before."""
        if problem.id in self.first:
            self.repeats[problem.id] = self.repeats.get(problem.id, 0) + 1
            self.duplicates.append(f"{row.place} repeats {self.first[problem.id]}")
            return None
        self.first[problem.id] = row.place
        question = json.dumps([content.question.split(), sorted(content.choices)])
        earlier = self.asked.setdefault(question, (problem.id, row.place))
        if earlier[0] != problem.id:
            self.conflicts.append(f"{earlier[1]} and {row.place}")
        return problem

    def report(self, source: str) -> None:
        if self.duplicates:
            n = len(self.duplicates)
            what = "1 duplicate problem" if n == 1 else f"{n} duplicate problems"
            log.warning("%s: %s dropped: %s", source, what, _some(self.duplicates))
        if self.conflicts:
            log.warning("%s: same question with different answers: %s", source, _some(self.conflicts))


def _some(places: list[str]) -> str:
    more = len(places) - _SHOWN
    return ", ".join(places[:_SHOWN]) + (f", and {more} more" if more > 0 else "")


def _with_duplicates(problem: Problem, n: int) -> Problem:
    return replace(problem, metadata={**problem.metadata, "duplicates": n}) if n else problem


def _path(spec: RowsSpec) -> str | None:
    return getattr(spec, "path", None)


def _plain(value: Any) -> str | int | float | bool | None:
    """As JSON has it: metadata are stored as JSON, and grouped by."""
    return value if value is None or isinstance(value, str | bool | int | float) else text_of(value)
