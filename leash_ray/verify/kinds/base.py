"""What a kind of verifier is: read a text, then judge what was read.

Reading (:meth:`Kind.read`) is text rules only: it runs in the sampling process for every completion, so it takes time
linear in the text and never raises. Judging (:meth:`Kind.judge`) may hang, crash or run model-written code: it runs
where its :attr:`Kind.lane` says, under limits, once for each distinct (problem, canonical answer).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from leash_ray.errors import UsageError
from leash_ray.types import Verdict
from leash_ray.verify.extract import UNMARKED, body, by_pattern
from leash_ray.verify.marked import Marked, last_marked
from leash_ray.verify.settings import VerifyConfig
from leash_ray.verify.spec import VerifierSpec
from leash_ray.verify.statements import (
    Statement,
    first_turn,
    is_value,
    last_conclusions,
    last_lines,
    last_statement,
    retracted,
    same_turn,
    states,
)

_BEGUN = re.compile(r"<answer>|<solution>|\\boxed\s?\{", re.IGNORECASE)
_GOES_ON = re.compile(r"\w|[-+*/^'’]|[.,]\d|,? (?:or|and)\b|[,;/] ?(?:or |and )?\S{1,12}\Z| [-+*/^=]")
"""What makes another answer of one that it follows: 5 and 5.3, or 5 and "5 or 6"."""


class Reading(NamedTuple):
    """The answer that a text gives."""

    answer: str
    """Canonical: equal answers have equal texts. Key of the cache, and the completion's ``answer``."""
    content: str
    """What is judged: the canonical answer itself, or (code) what it is a digest of."""
    stage: str
    """Which stage of extraction found it, such as ``boxed``; the stages are listed in ``extract.py``."""
    delimited: bool
    """Whether the text itself said where its answer ends. Without that, a text cut by the length limit is TRUNCATED."""
    fallback: bool = False
    """Whether the stage takes a format that was not asked for: a CORRECT verdict then counts as one by leniency."""


class Judgement(NamedTuple):
    """What a verifier said of one answer."""

    verdict: Verdict
    """CORRECT, INCORRECT or ERROR; NO_ANSWER where a judge calls the answer no attempt."""
    reason: str | None = None
    """Why it is ERROR; otherwise, if anything, what decided."""
    answer: str | None = None
    """The canonical answer where judging knows a better one: what an equal answer is written as. None: as read."""
    leniency: str | None = None
    """Name of the processing without which it would not be CORRECT; None: none was needed."""


Lane = Literal["fenced", "open", "thread"]
"""Where judging runs. fenced: verifier processes that may neither write, nor connect, nor start processes. open: such
processes without that fence, for functions of the user's. thread: threads of the pool's own process, for judging that
is itself a subprocess in a sandbox or a request over the network."""

Judge = Callable[[str, str], Judgement]
"""(reference, content) -> judgement. May have a ``close`` method."""


class Options(BaseModel):
    """Options of every kind; a kind adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strict: bool = False
    """Only the format that was asked for, and no processing of the answer beyond its canonical form."""
    pattern: str | None = None
    """A task's own regular expression; its last match (first group, if it has groups) is the answer."""


@dataclass(frozen=True)
class Kind:
    """A verifier with its options. Made once for each spec, in each process."""

    spec: VerifierSpec
    options: Any

    lane: ClassVar[Lane] = "fenced"
    runs_on: ClassVar[bool] = True
    """Whether headings such as "Question:" in a completion can begin another question (in a program they do not)."""
    Options: ClassVar[type[Options]] = Options

    @classmethod
    def of(cls, spec: VerifierSpec) -> "Kind":
        """This kind with the options of ``spec``.

        Raises:
            UsageError: an unknown option, or a value of another type.
        """
        try:
            options = cls.Options.model_validate(dict(spec.options))
        except ValidationError as e:
            first = e.errors()[0]
            known = ", ".join(sorted(cls.Options.model_fields))
            where = ".".join(map(str, first["loc"]))
            raise UsageError(f"verifier {spec}: option {where!r}: {first['msg']}; its options: {known}") from e
        return cls(spec, options)

    def check(self) -> None:
        """Refuse what cannot work, before anything is sampled. Raises UsageError."""

    def check_reference(self, reference: str) -> None:
        """Refuse a problem's reference that no answer could match. Raises UsageError. Must be fast, and run no model
        text."""

    def guess_rate(self, reference: str) -> float | None:
        """The share of blind guesses that are right; None: unknown."""
        return None

    def warm(self) -> None:
        """Import what judging needs (seconds), so that no answer's time limit pays for it."""

    def canonical(self, text: str) -> str:
        """What equal answers are written as. Idempotent; empty: no answer."""
        return text.strip()

    def read(self, text: str, thinking: bool = False) -> Reading | None:
        """The answer in ``text``; None when there is none. Linear in the text; never raises.

        The same for all kinds: what stands in the thinking does not count, and the task's own pattern goes before the
        stages of the kind (:meth:`find`).

        Args:
            thinking: the prompt opened the thinking already, so that only what follows its end was said.
        """
        said = body(text, thinking)
        if said is None:
            return None
        text, thought = said
        if self.options.pattern and (found := by_pattern(text, self.options.pattern)) is not None:
            return self.reading(found, "pattern")
        return self._before_next_turn(text, thought) or self.find(text, thought)

    def _before_next_turn(self, text: str, thought: bool) -> Reading | None:
        """The answer of a text that runs on to another question: its own, and not the last one. None where it does not
        run on, or gave no clear answer before."""
        if not self.runs_on or (turn := first_turn(text)) is None:
            return None
        reading = self.find(turn, thought)
        if reading is None or (reading.stage in UNMARKED and reading.stage != "phrase"):
            return None
        return reading._replace(delimited=True)

    def find(self, text: str, thought: bool) -> Reading | None:
        """The answer in what was said after thinking, by the stages of the kind; None when there is none.

        Here: in the last box, else in the last tag, else all that was said.

        Args:
            text: without the thinking.
            thought: whether there was any.
        """
        if (marked := last_marked(text, ("boxed", "answer_tag"))) is not None:
            return self.marked(marked, text)
        return self.reading(text, "after_think" if thought else "whole", delimited=False)

    def marked(self, marked: Marked, text: str, fallback: bool = False) -> Reading | None:
        """The reading of a marked answer of ``text``; None where the text denies it or takes it back."""
        reading = None if marked.denied else self.reading(marked.text, marked.stage, fallback=fallback)
        return reading and self.settled(reading, text[marked.end :])

    def settled(self, reading: Reading, after: str) -> Reading | None:
        """What an answer comes to, given all that the text says after it: itself, the later answer that overrules it,
        or None where it is taken back."""
        after = same_turn(after)
        if not after.strip():
            return reading
        if (marked := last_marked(after)) is not None:
            other = self.reading(marked.text, marked.stage, fallback=True)
            beside = marked.stage != reading.stage and not after[: marked.start].strip()  # the format asked for counts
            if not beside and (marked.denied or other is None or other.answer != reading.answer):
                return self.marked(marked, after, fallback=True)
            after = after[marked.end :]
        if _BEGUN.search(after):  # another answer, that was never ended
            return None
        later = last_statement(after)
        if later is not None and states(later):
            if later.retracted:
                return None
            if (other := self.stated(later)) is not None:
                if not self.agrees(reading.answer, other.answer):
                    return other
                after = after[later.end :]
        lines = {*last_lines(after, 1), after.strip().partition("\n")[0]}
        said = [*last_conclusions(after), *(line for line in lines if self.is_value(line))]
        if any(self.differs(reading.answer, value) for value in said):
            return None
        return None if retracted(after) else reading

    def is_value(self, line: str) -> bool:
        """Whether a line behind an answer is nothing but a value that could be another answer."""
        return is_value(line)

    def differs(self, answer: str, said: str) -> bool:
        """Whether a value that a conclusion names is another one than the answer."""
        other = self.reading(said, "phrase")
        return other is not None and not self.agrees(answer, other.answer) and other.answer not in answer

    def stated(self, statement: Statement) -> Reading | None:
        """The reading of a statement behind a marked answer; None where it says nothing that could overrule one."""
        return self.reading(statement.said, "phrase", statement.ended, fallback=True)

    def agrees(self, answer: str, said: str) -> bool:
        """Whether a later statement says the same as a marked answer; both canonical. Here: it begins with it."""
        rest = said[len(answer) :]
        return said.startswith(answer) and not _GOES_ON.match(rest)

    def reading(self, found: str, stage: str, delimited: bool = True, fallback: bool = False) -> Reading | None:
        """The reading of the text that a stage found; None where that is no answer."""
        answer = self.canonical(found)
        return Reading(answer, answer, stage, delimited, fallback) if answer else None

    def judge(self, reference: str, content: str) -> Judgement:
        """Judge one reading's ``content``. May raise: the pool makes that an ERROR with the reason."""
        raise NotImplementedError

    def judge_in_thread(self, settings: VerifyConfig) -> Judge:
        """For kinds of the lane ``thread``: the function that judges, made once for each pool. It may be called from
        several threads at once, keeps its own limits, and may raise: the pool makes that an ERROR.

        Raises:
            UsageError: ``settings`` lack what it needs, or this machine does.
        """
        raise NotImplementedError
