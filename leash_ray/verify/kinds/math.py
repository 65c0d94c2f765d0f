"""Mathematics with a reference answer, judged by math-verify behind rules of what may be compared at all.

Options: ``all_of=true`` (a reference that is a list needs all its answers, as OlympiadBench's do), ``ordered=true``
(several answers count in their order only), ``rtol``/``atol`` (how far a number may be off; 0: not at all).
"""

from typing import NamedTuple

from pydantic import Field

from leash_ray.types import Verdict
from leash_ray.verify.kinds import base
from leash_ray.verify.kinds.base import Judgement, Kind, Reading
from leash_ray.verify.marked import last_marked
from leash_ray.verify.math.boxes import boxed_answer, out_of_reach
from leash_ray.verify.math.canonical import MAX_CHARS, canonical_math
from leash_ray.verify.math.compare import Comparison
from leash_ray.verify.math.formula import Unreadable
from leash_ray.verify.math.later import second_thoughts
from leash_ray.verify.math.number import is_exact
from leash_ray.verify.math.prose import Found, answer_in_prose
from leash_ray.verify.math.reference import read_reference
from leash_ray.verify.math.shape import parse_shape
from leash_ray.verify.statements import without_preface

_RIGHT, _WRONG = Verdict.CORRECT, Verdict.INCORRECT


class MathOptions(base.Options):
    """What is asked of an answer."""

    all_of: bool = False
    """Of a reference that is a JSON list, every answer is required; otherwise any of them is right."""
    ordered: bool = False
    """Several answers must stand in the reference's order."""
    rtol: float = Field(0.0, ge=0, lt=1)
    """A number may be off by this share of the reference's."""
    atol: float = Field(0.0, ge=0)
    """A number may be off by this much; a reference's own tolerance, where larger, counts instead."""


class Math(Kind):
    """math-verify behind text rules."""

    options: MathOptions
    Options = MathOptions

    def check_reference(self, reference: str) -> None:
        read_reference(reference, self.options.all_of)

    def warm(self) -> None:
        self.judge("(x-1)(x+1)", "x^{2}-1")

    def canonical(self, text: str) -> str:
        return canonical_math(text)

    def find(self, text: str, thought: bool) -> Reading | None:
        strict = self.options.strict
        marked = _marked(text)
        if marked is None:
            prose = None if strict else answer_in_prose(text)
        else:
            later = marked.denied or second_thoughts(text[marked.end :], without_preface(marked.text))
            if later is False:
                said = marked.text if strict or marked.stage == "boxed" else without_preface(marked.text)
                return self.reading(said, marked.stage, fallback=said != marked.text)
            prose = None if strict or later is True else Found(later, "phrase")
        return None if prose is None else self.reading(prose.text, prose.stage, delimited=False, fallback=True)

    def judge(self, reference: str, content: str) -> Judgement:
        golds, tolerance = read_reference(reference, self.options.all_of)
        if any(gold.text == content for gold in golds):
            return Judgement(_RIGHT, answer=content)
        options = self.options
        atol = max(options.atol, tolerance)
        exact = not atol and not options.rtol
        if exact and is_exact(content) and all(is_exact(gold.text) for gold in golds):
            return Judgement(_WRONG)
        if len(content) > MAX_CHARS:
            return Judgement(_WRONG, "longer than any answer")
        try:
            said = parse_shape(content)
        except Unreadable as e:
            return Judgement(_WRONG, f"not one formula, list, set or relation: {e}")
        for gold in golds:
            comparison = Comparison(atol, options.rtol, options.ordered, allow_percent=not options.strict)
            if gold.shape is not None and comparison.same(gold.shape, said):
                return Judgement(_RIGHT, answer=gold.text, leniency="percent" if comparison.percent else None)
        return Judgement(_WRONG)


class _Marked(NamedTuple):
    """An answer in a box or a tag."""

    text: str
    stage: str
    end: int
    """Where the text goes on after it."""
    denied: bool = False


def _marked(text: str) -> _Marked | None:
    """The last box, or a tag that begins after it."""
    tagged = last_marked(text, ("answer_tag",))
    boxed = boxed_answer(text)
    if tagged and (boxed is None or tagged.end - len(tagged.text) - len("</answer>") >= boxed.end):
        return _Marked(tagged.text, tagged.stage, tagged.end, tagged.denied)
    if boxed is None:
        return None
    return _Marked(out_of_reach(text, boxed) if boxed.said is None else boxed.said, "boxed", boxed.end)
