r"""Multiple choice: the letter of one of several choices (GPQA, MMLU, LiveBench's competition problems)."""

import json
import re
from functools import lru_cache
from typing import NamedTuple

from leash_ray.errors import UsageError
from leash_ray.types import Verdict
from leash_ray.verify.extract import last_answer_tag, last_boxed
from leash_ray.verify.kinds.base import Judgement, Kind, Reading
from leash_ray.verify.plain import simple, unwrapped
from leash_ray.verify.statements import last_lines, last_solution_tag, last_statement


class Choice(Kind):
    """The letter, whatever stands around it; canonical is the capital letter.

    Reference: the letter, or JSON ``{"answer": "C", "choices": ["...", ...]}``. With the choices, an answer that quotes
    the right one's whole text is right too (leniency ``choice_text``), and a letter past the last choice is wrong.

    Stages: ``pattern``, ``boxed``, ``answer_tag``, ``solution_tag``, ``repeated`` (LiveBench asks for the letter five
    times: "CCCCC"), ``phrase`` and ``last_line``. A phrase with a letter ("The correct answer is (C)") is a format that
    was asked for; a phrase with the choice's text, a letter four or six times, and a last line that is a letter are
    fallbacks.

    The last statement counts: a phrase after the last box or tag overrules it. What is no single letter ("A or C",
    "not (C)", "A long story", a Cyrillic С) stays text, and is wrong unless it is the right choice's text.
    """

    def check_reference(self, reference: str) -> None:
        _gold(reference)

    def guess_rate(self, reference: str) -> float | None:
        """The share that guessing gets right; None where the reference does not list the choices."""
        n = len(_gold(reference).choices)
        return 1 / n if n else None

    def canonical(self, text: str) -> str:
        return canonical_choice(text)

    def find(self, text: str, thought: bool) -> Reading | None:
        strict = self.options.strict
        for stage, found, start in (
            ("boxed", last_boxed(text), max(text.rfind("boxed{"), text.rfind("fbox{"))),
            ("answer_tag", last_answer_tag(text), text.lower().rfind("</answer>")),
            ("solution_tag", last_solution_tag(text), text.lower().rfind("</solution>")),
        ):
            if found is not None:
                later = _phrase(text[start:], strict=True) if start >= 0 else None
                return later or _reading(found, stage)
        return _repeated(text, strict) or _phrase(text, strict) or (None if strict else _last_line(text))

    def judge(self, reference: str, content: str) -> Judgement:
        gold = _gold(reference)
        if len(content) == 1 and "A" <= content <= "Z":
            if content == gold.letter:
                return Judgement(Verdict.CORRECT)
            known = not gold.choices or ord(content) - ord("A") < len(gold.choices)
            return Judgement(Verdict.INCORRECT, None if known else f"there is no choice {content}")
        letters = [chr(ord("A") + i) for i, choice in enumerate(gold.choices) if choice == content]
        if self.options.strict or len(letters) != 1:
            return Judgement(Verdict.INCORRECT, "not the letter of one choice")
        if letters[0] == gold.letter:
            return Judgement(Verdict.CORRECT, None, gold.letter, "choice_text")
        return Judgement(Verdict.INCORRECT, None, letters[0])


class _Gold(NamedTuple):
    letter: str
    choices: tuple[str, ...]
    """Their texts as answers are normalised; empty where the reference does not list them."""


@lru_cache(maxsize=10_000)
def _gold(reference: str) -> _Gold:
    letter, choices = reference, []
    if reference.lstrip().startswith("{"):
        try:
            row = json.loads(reference)
            letter, choices = row["answer"], row.get("choices", [])
            assert isinstance(letter, str) and isinstance(choices, list) and all(isinstance(c, str) for c in choices)
        except (ValueError, KeyError, AssertionError) as e:
            raise UsageError(
                f'choice: the reference {reference[:80]!r} is not like {{"answer": "C", "choices": ["...", ...]}}'
            ) from e
    found = canonical_choice(letter)
    if not re.fullmatch("[A-Z]", found) or (choices and ord(found) - ord("A") >= len(choices)):
        raise UsageError(f"choice: the reference {reference[:80]!r} names no choice by its letter, such as C")
    return _Gold(found, tuple(_text(_unlatexed(unwrapped(choice))) for choice in choices))


# A letter as a label: (C), [C], C), C., C: or C alone; at its start perhaps the words "option" or "choice".
_NAMED = r"(?i:(?:the )?(?:correct |final )?(?:option|choice|letter|answer)(?: is)?:? )?"
_LABEL = re.compile(rf"{_NAMED}(?:\((?P<round>[A-Za-z])\)|\[(?P<square>[A-Za-z])\]|(?P<bare>[A-Za-z])[).:]?)\Z")
_FIVE = re.compile(r"([A-Za-z])\1{4}\Z")
_LABEL_AND_TEXT = re.compile(
    rf"{_NAMED}(?:\((?P<round>[A-Z])\)|(?P<bare>[A-Z])[).:])[.:,]?\s+(?P<rest>\S.*)\Z", re.DOTALL
)
# Words that make of "(C) ..." a sentence about C, and other letters that make it a hedge.
_NOT_A_QUOTE = re.compile(
    r"(?:is|isn't|was|are|would|could|can|can't|cannot|may|might|seems?|looks?|appears?|or|and|vs|nor|but|not|if|unless"
    r"|has|have|only if|except|both|to|through)\b|[/&,+?=-]",
    re.IGNORECASE,
)
_OTHER_LETTER = re.compile(
    r"(?<![A-Za-z])\(?[A-J]\)|\[[A-J]\]|\b(?:or|and|nor|vs\.?|either|option|choice)\s{1,3}\W?[A-J](?![\w'])"
    r"|[/&]\s?[A-J]\b|\A[A-Z]\Z"
)


def canonical_choice(text: str) -> str:
    """The capital letter that ``text`` gives, else its plain text in lower case, never one letter. Idempotent."""
    text = _unlatexed(unwrapped(text))
    if label := _LABEL.match(text):
        return (label["round"] or label["square"] or label["bare"]).upper()
    if five := _FIVE.match(text):
        return five[1].upper()
    if (quoted := _LABEL_AND_TEXT.match(text)) and not _hedged(quoted["rest"]):
        return quoted["round"] or quoted["bare"]
    return _text(text)


def _hedged(rest: str) -> bool:
    return bool(_NOT_A_QUOTE.match(rest) or _OTHER_LETTER.search(rest))


_PAREN_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|rm|bf)\s*\{\s*([()\[\]A-Za-z.:\s]{1,8})\s*\}")


def _unlatexed(text: str) -> str:
    r"""``(\text{C})`` and ``\textbf{(C) }8`` as (C) and (C) 8."""
    return unwrapped(_PAREN_TEXT.sub(r"\1 ", text).replace("( ", "(").replace(" )", ")")) if "\\" in text else text


def _text(text: str) -> str:
    return unwrapped(unwrapped(text).lower())


def _reading(found: str, stage: str, delimited: bool = True, fallback: bool = False) -> Reading | None:
    answer = canonical_choice(found)
    return Reading(answer, answer, stage, delimited, fallback) if answer else None


_RUN = re.compile(r"(?<![A-Za-z])([A-Z])\1{3,5}(?![A-Za-z])")


def _repeated(text: str, strict: bool) -> Reading | None:
    found = other = None
    for match in _RUN.finditer(text):
        other, found = found, match
    if found is None or (len(found[0]) != 5 and strict):
        return None
    if other is not None and other[1] != found[1] and "\n" not in text[other.end() : found.start()]:
        return _reading(text[other.start() : found.end()], "repeated")  # "AAAAA or BBBBB"
    return _reading(found[1], "repeated", True, fallback=len(found[0]) != 5)


# At a statement's start: a letter in brackets or in bold, perhaps with its text, or a letter alone.
_STARTS = re.compile(
    r"[*_$\"'`\s]{0,4}(?i:(?:option|choice|letter)\s{1,3})?[*_$\"'`\s]{0,4}(?:\\(?:text|textbf|mathrm|mathbf|boxed)\s?\{)?"
    r"(?:\((?P<round>[A-Za-z])\)|\[(?P<square>[A-Za-z])\]|(?P<bare>[A-Za-z])(?![A-Za-z0-9'’(\[+^_-]))(?P<close>[*_$\"'`})]{0,6})"
)
_REASON = re.compile(r"\s*[,;(–—-]?\s*(?:because|since|as|which|where|not|so|i\.e\.)\b", re.IGNORECASE)


def _phrase(text: str, strict: bool) -> Reading | None:
    statement = last_statement(text)
    if statement is None or statement.retracted:
        return None
    label = _STARTS.match(statement.said)
    letter = _stated_letter(label, statement.said) if label else None
    if label and letter:
        closed = (
            bool(label["round"] or label["square"] or label["close"] or statement.said[label.end() :])
            or statement.ended
        )
        return Reading(letter, letter, "phrase", closed)
    return None if strict else _reading(statement.said, "phrase", statement.ended, fallback=True)


def _stated_letter(label: "re.Match[str]", said: str) -> str | None:
    letter: str = label["round"] or label["square"] or label["bare"]
    rest = said[label.end() :]
    bracketed = label["bare"] is None or "**" in label["close"]
    if not rest.strip(" .*_$)`\"'}"):
        return letter.upper()
    if reason := _REASON.match(rest):
        return letter.upper() if (bracketed or letter.isupper()) and not _both(rest[reason.end() :]) else None
    if rest[0] in ".:)" or bracketed:
        quoted = rest.lstrip(".:)*_ \t-–—")
        return (
            letter.upper() if letter.isupper() and not _hedged(quoted) and not rest.lstrip().startswith("?") else None
        )
    return None


_BOTH = re.compile(r"\b(?:wrong|incorrect)\b[^.]*\b(?:too|as well|also)\b|\bcould also\b|\bequally\b", re.IGNORECASE)


def _both(reason: str) -> bool:
    return _BOTH.search(reason) is not None


_ALONE = re.compile(r"[*_$(\[`]{0,4}([A-Za-z])[*_$)\].`]{0,5}\Z")


def _last_line(text: str) -> Reading | None:
    lines = last_lines(text, 2)
    if not lines or len(lines[0]) > 20 or not _ALONE.match(simple(lines[0])):
        return None
    if len(lines) > 1 and len(lines[1]) <= 20 and _ALONE.match(simple(lines[1])):
        return None  # a list of letters
    return _reading(lines[0], "last_line", False, True)
