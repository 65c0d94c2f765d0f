r"""Numbers with a tolerance and a unit (SciBench's shape)."""

import json
import re
from decimal import Decimal
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from leash_ray.errors import UsageError
from leash_ray.types import Verdict
from leash_ray.verify.kinds.base import Judgement, Kind, Options, Reading
from leash_ray.verify.marked import Marked, last_marked
from leash_ray.verify.plain import simple
from leash_ray.verify.quantities import Quantity, canonical_quantity, read_quantity
from leash_ray.verify.statements import Statement, last_lines, last_statement, without_connective, without_preface
from leash_ray.verify.units import Mismatch, UnknownUnit, are_units, convert, parse_unit, readable, unit_text, unlatexed


class NumericOptions(Options):
    """How close is right."""

    rtol: float = Field(0.01, ge=0, lt=1, allow_inf_nan=False)
    """Relative to the reference. SciBench's own evaluation uses 0.05."""
    atol: float = Field(0.0, ge=0, allow_inf_nan=False)
    """In the reference's unit. With both, the wider one counts."""
    units: Literal["require", "optional", "stated", "ignore"] = "optional"
    """What an answer without unit is where the reference has one. require: wrong. optional: right by leniency
    ``no_unit``. stated: right, since the question names the unit and asks for the number. A unit that an answer does
    give is always converted, except with ignore, which compares the numbers alone."""


class Numeric(Kind):
    """Right means within the tolerance after converting the answer's unit to the reference's.

    Reference: text ("3.0e8 m/s"), or JSON ``{"answer": "3.0e8", "unit": "m/s", "rtol": 0.01, "atol": 0}``, where unit,
    rtol and atol may be left out; those given count before the options. The unit may have a power of ten, as
    SciBench's do ("$10^8$ J"): an answer without unit is a number of these, or by leniency ``power_of_ten`` the whole
    number. A reference of 0 needs an atol, or else only 0 is right.

    Answers: see :mod:`~leash_ray.verify.quantities`. A range, a list, a sum, an infinity or a sentence is wrong, and so
    is a unit of another dimension. 3.2 ± 0.1 is 3.2 by leniency ``uncertainty`` if the uncertainty is at most a tenth.
    An answer with a unit to a reference without one is wrong, unless its unit is a plain number (%, °): right by
    leniency ``unit``.

    Equal answers: a right one is written as the reference, since what tells 3.00 from 3.01 there is rounding, and not
    another solution. Wrong ones are written as a plain number and unit, and differ when those do.

    Stages: ``pattern``; the last of ``boxed`` (with the unit that stands behind the box, if one does, and what else of
    its formula does), ``answer_tag`` and ``solution_tag``; and as fallbacks ``phrase`` and ``last_line``.
    """

    Options: ClassVar[type[Options]] = NumericOptions

    def check_reference(self, reference: str) -> None:
        _gold(reference)

    def warm(self) -> None:
        convert(1.0, (("km", "1"),), (("m", "1"),))

    def canonical(self, text: str) -> str:
        return canonical_quantity(text)

    def find(self, text: str, thought: bool) -> Reading | None:
        if (marked := last_marked(text)) is not None:
            return self.marked(marked, text)
        return None if self.options.strict else self._loose(text)

    def _loose(self, text: str) -> Reading | None:
        statement = last_statement(text)
        if statement is not None and (answer := canonical_quantity(statement.said)):
            if statement.retracted or statement.unusual:
                return None
            said = Reading(answer, answer, "phrase", statement.ended, True)
            return self.settled(said, text[statement.end :])
        lines = [read_quantity(without_connective(line)) for line in last_lines(text, 2)]
        if (
            not lines
            or lines[0] is None
            or (len(lines) > 1 and lines[1] is not None and lines[1].value != lines[0].value)
        ):
            return None  # or a list of numbers
        return Reading(str(lines[0]), str(lines[0]), "last_line", False, True)

    def marked(self, marked: Marked, text: str, fallback: bool = False) -> Reading | None:
        if marked.stage == "boxed":
            marked = marked._replace(text=_with_unit(marked.text, text[marked.end :]))
        elif not self.options.strict and (said := without_preface(marked.text)) != marked.text:
            marked, fallback = marked._replace(text=said), True
        return super().marked(marked, text, fallback)

    def stated(self, statement: Statement) -> Reading | None:
        for said in (statement.said, _CLAUSE.split(statement.said, maxsplit=1)[0]):
            if read_quantity(said):
                return self.reading(said, "phrase", statement.ended, fallback=True)
        if number := _BEGINS.match(statement.said):  # with words that are no unit: it may be the same number
            return self.reading(number[1], "phrase", statement.ended, fallback=True)
        return None

    def differs(self, answer: str, said: str) -> bool:
        return read_quantity(said) is not None and not self.agrees(answer, canonical_quantity(said))

    def agrees(self, answer: str, said: str) -> bool:
        one, other = read_quantity(answer), read_quantity(said)
        if one is None or other is None:
            return answer == said
        return one == other or (one.value == other.value and not other.unit)

    def judge(self, reference: str, content: str) -> Judgement:
        gold = _gold(reference)
        said = read_quantity(content)
        if said is None:
            return Judgement(Verdict.INCORRECT, "not a single number with its unit")
        leniency = []
        if said.uncertainty is not None:
            if self.options.strict or said.uncertainty > abs(said.value) / 10:
                return Judgement(Verdict.INCORRECT, "the answer has an uncertainty")
            leniency.append("uncertainty")
        try:
            how = self._compare(said, gold)
        except (Mismatch, UnknownUnit) as e:
            return Judgement(Verdict.INCORRECT, str(e) if isinstance(e, Mismatch) else f"no unit is called {e}")
        if how is None:
            return Judgement(Verdict.INCORRECT)
        return Judgement(Verdict.CORRECT, None, gold.text, "+".join([*leniency, *([how] if how else [])]) or None)

    def _compare(self, said: Quantity, gold: "_Gold") -> str | None:
        """The leniency by which the answer is right; empty if it needs none, None if it is wrong."""
        units, strict = self.options.units, self.options.strict
        if units == "ignore":
            return "" if self._close(said.value, gold.number, gold) else None
        whole = gold.number * gold.scale
        if not said.unit and gold.has_unit:
            if units == "require" or (strict and units == "optional"):
                return None
            if self._close(said.value, gold.number, gold):
                return "" if units == "stated" else "no_unit"
            return "power_of_ten" if not strict and gold.scale != 1 and self._close(said.value, whole, gold) else None
        if gold.unit is None:
            raise ValueError(f"the reference's unit cannot be read, and the answer gives {unit_text(said.unit)!r}")
        if said.unit == gold.unit:
            return "" if self._close(said.value, whole, gold) else None
        if not readable(gold.unit):
            raise ValueError(f"the reference's unit {unit_text(gold.unit)!r} is not known: {unit_text(said.unit)!r}?")
        if not gold.has_unit and strict:
            return None
        converted = Decimal(convert(float(said.value), said.unit, gold.unit))
        return ("" if gold.has_unit else "unit") if self._close(converted, whole, gold) else None

    def _close(self, value: Decimal, wanted: Decimal, gold: "_Gold") -> bool:
        rtol = self.options.rtol if gold.rtol is None else gold.rtol
        atol = self.options.atol if gold.atol is None else gold.atol
        # Computed and converted numbers are rounded at the 15th digit.
        allowed = max(Decimal(rtol) * abs(wanted), Decimal(atol)) + abs(wanted) * Decimal("1e-12")
        return value.is_finite() and abs(value - wanted) <= allowed


class _Gold(NamedTuple):
    number: Decimal
    scale: Decimal
    """The power of ten in front of the unit."""
    unit: tuple[tuple[str, str], ...] | None
    """None: one that the rules cannot read."""
    has_unit: bool
    rtol: float | None
    atol: float | None
    text: str
    """Canonical."""


@lru_cache(maxsize=10_000)
def _gold(reference: str) -> _Gold:
    row: dict[str, Any] = {"answer": reference}
    if reference.lstrip().startswith("{"):
        try:
            row = json.loads(reference)
        except ValueError as e:
            raise UsageError(f"numeric: the reference {reference[:80]!r} is not JSON: {e}") from e
        if "answer" not in row or row.keys() - {"answer", "unit", "rtol", "atol"}:
            raise UsageError(f"numeric: a JSON reference has answer, and perhaps unit, rtol, atol; got {sorted(row)}")
    answer = read_quantity(str(row["answer"]))
    if answer is None or answer.uncertainty is not None:
        raise UsageError(f"numeric: the reference's answer {str(row['answer'])[:80]!r} is no number, such as 3.0e8 m/s")
    rtol, atol = (_tolerance(row, name) for name in ("rtol", "atol"))
    given = simple(str(row.get("unit") or "").replace("$", " "))
    scale, unit = Decimal(1), parse_unit(given)
    if answer.unit:
        if given:
            raise UsageError(f"numeric: the reference has its unit twice: {row['answer']!r} and {row['unit']!r}")
        given, unit = unit_text(answer.unit), answer.unit
    elif unit is None and (scaled := read_quantity(given)):
        scale, unit = scaled.value, scaled.unit
    text = str(Quantity(answer.value * scale, unit or ()))
    return _Gold(answer.value, scale, unit, bool(given), rtol, atol, text)


def _tolerance(row: dict[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise UsageError(f"numeric: the reference's {name} {value!r} is not a number from 0 up")
    return float(value)


_CLAUSE = re.compile(r"[,;(–—]\s|\.(?:\s|\Z)|\s(?:because|since|as|which|where|so|when|for|and not|not|i\.e\.)\s")
_BEGINS = re.compile(
    r"(?:about |approximately |around |roughly |≈ ?|~ ?|\$|\*\*)?([-+−]?\d[\d,]*(?:\.\d+)?(?![\w.^]))", re.ASCII
)
_BEHIND_CHARS = 60
_BEHIND_END = re.compile(r"\n|[,;:](?:\s|\Z)|\.(?:\s|\Z)")
_MAX_UNIT_WORDS = 6


def _with_unit(found: str, behind: str) -> str:
    r"""A boxed number with the unit behind it: ``\boxed{0.5} \text{ km}`` must not pass for 0.5 m, and neither must
    "\boxed{0.5} km is the distance"."""
    number = read_quantity(found)
    if number is None or number.unit:
        return found
    behind = behind[:_BEHIND_CHARS]
    end = _BEHIND_END.search(behind)
    words = unlatexed((behind[: end.start()] if end else behind).replace("\\)", " ")).split(" ")
    if not end and len(behind) == _BEHIND_CHARS:
        words = words[:-1]  # may be cut
    for n in range(min(len(words), _MAX_UNIT_WORDS), 0, -1):
        unit = parse_unit(" ".join(words[:n]))
        if unit and are_units(unit):
            if words[n : n + 1] and words[n][0].isdigit():  # 5 h 30 min
                return f"{found} {' '.join(words[: n + 1])}"
            return str(number._replace(unit=unit))
    return found
