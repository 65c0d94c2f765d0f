r"""Multiple choice: the letter of one of several choices (GPQA, MMLU, LiveBench's competition problems)."""

import json
import re
from functools import lru_cache
from typing import NamedTuple

from leash_ray.errors import UsageError
from leash_ray.types import Verdict
from leash_ray.verify.kinds.base import Judgement, Kind, Reading
from leash_ray.verify.marked import last_marked
from leash_ray.verify.plain import simple, unwrapped
from leash_ray.verify.statements import Statement, last_lines, last_statement


class Choice(Kind):
    """The letter, whatever stands around it; canonical is the capital letter.

    Reference: the letter, or JSON ``{"answer": "C", "choices": ["...", ...]}``. With the choices, an answer that quotes
    the right one's whole text is right too (leniency ``choice_text``), and a letter past the last choice is wrong.

    Stages: ``pattern``, ``boxed``, ``answer_tag``, ``solution_tag``, ``repeated`` (LiveBench asks for the letter five
    times: "CCCCC"), ``phrase`` and ``last_line``. A phrase with a letter ("The correct answer is (C)") is a format that
    was asked for; a phrase with the choice's text, a letter four or six times, and a last line that is a letter are
    fallbacks.

    The last statement counts: a phrase after the last box or tag overrules it. What is no single letter ("A or C",
    "not (C)", "A long story", a Cyrillic С) stays text, and is wrong unless it is the right choice's text. A letter
    with text ("C: Paris") is wrong where the text is another choice's, or calls the choice wrong.
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
        rejected = {line["letter"].upper() for line in _REJECTED.finditer(text)}
        if rejected:
            reading = self._find(_REJECTED.sub("", text))
            if reading is None or reading.answer.lstrip("(")[0] not in rejected:
                return reading
        return self._find(text)

    def _find(self, text: str) -> Reading | None:
        strict = self.options.strict
        if (marked := last_marked(text)) is not None:
            return self.marked(marked, text)
        if (repeated := _repeated(text, strict)) is not None:
            reading, end = repeated
            return reading and self.settled(reading, text[end:])
        statement = last_statement(text)
        if statement and not statement.unusual and (said := _phrase(statement, strict)):
            return self.settled(said, text[statement.end :])
        return None if strict or (statement and statement.retracted) else _last_line(text)

    def stated(self, statement: Statement) -> Reading | None:
        return _phrase(statement, strict=True)

    def agrees(self, answer: str, said: str) -> bool:
        return answer == said or (answer[:1] == "(" and answer[1:2] == said)

    def differs(self, answer: str, said: str) -> bool:
        other = canonical_choice(said)
        return len(other) == 1 and not self.agrees(answer, other)

    def judge(self, reference: str, content: str) -> Judgement:
        gold = _gold(reference)
        label = _LABELLED.match(content)
        letter = label["letter"] if label else content
        if len(letter) == 1 and "A" <= letter <= "Z":
            if gold.choices and ord(letter) - ord("A") >= len(gold.choices):
                return Judgement(Verdict.INCORRECT, f"there is no choice {letter}", letter)
            if label and not _may_be(label["text"], ord(letter) - ord("A"), gold.choices):
                return Judgement(Verdict.INCORRECT, f"the text behind {letter} is not that choice's")
            return Judgement(Verdict.CORRECT if letter == gold.letter else Verdict.INCORRECT, None, letter)
        letters = [chr(ord("A") + i) for i, choice in enumerate(gold.choices) if choice == content]
        if self.options.strict or len(letters) != 1:
            return Judgement(Verdict.INCORRECT, "not the letter of one choice")
        if letters[0] == gold.letter:
            return Judgement(Verdict.CORRECT, None, gold.letter, "choice_text")
        return Judgement(Verdict.INCORRECT, None, letters[0])


# A line that says why one choice is wrong: where the answer is another, it takes nothing back.
_REJECTED = re.compile(
    r"^[ \t]{0,9}(?:[-*•]\s?)?\*{0,2}(?:option |choice )?\(?(?P<letter>[A-J])[).:]\*{0,2}\s"
    r"(?=[^\n]{0,200}\b(?:wrong|incorrect|not (?:correct|right|true)|false)\b)(?![^\n]*\b(?:answer|instead|wait|but)\b)"
    r"[^\n]{20,}$",
    re.MULTILINE | re.IGNORECASE,
)


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


_LABELLED = re.compile(r"\((?P<letter>[A-Z])\) (?P<text>.+)\Z", re.DOTALL)
"""The canonical form of a letter with text, ``(C) paris``: only judging knows whether it is the choice's."""
_MAX_QUOTE = 300


def canonical_choice(text: str) -> str:
    """The capital letter that ``text`` gives, perhaps with the text of the choice, ``(C) paris``; else its plain text
    in lower case, never one letter. Idempotent."""
    text = _unlatexed(unwrapped(text))
    if label := _LABEL.match(text):
        return (label["round"] or label["square"] or label["bare"]).upper()
    if five := _FIVE.match(text):
        return five[1].upper()
    if (quoted := _LABEL_AND_TEXT.match(text)) and not _hedged(quoted["rest"]):
        found = _labelled(quoted["round"] or quoted["bare"], quoted["rest"])
        again = _LABEL_AND_TEXT.match(_unlatexed(unwrapped(found)))
        if again and not _hedged(again["rest"]) and _labelled(again["round"] or again["bare"], again["rest"]) == found:
            return found
    return _text(text)


def _labelled(letter: str, text: str) -> str:
    return f"({letter}) {_text(_unlatexed(text[:_MAX_QUOTE]))}"


_DENIES = re.compile(
    r"\b(?:wrong|incorrect|not correct|not right|ruled out|unlikely|eliminated|impossible|maybe|perhaps|possibly"
    r"|probably)\b"
    r"|\d\s?\\?%\s?[,;)]|\d\s?\\?%.*\d\s?\\?%|\A(?:no|nope|false)\b(?=.*\b(?:true|yes)\b)",
    re.IGNORECASE | re.DOTALL,
)


def _hedged(rest: str) -> bool:
    return bool(_NOT_A_QUOTE.match(rest) or _OTHER_LETTER.search(rest) or _DENIES.search(rest))


_TOKEN = re.compile(r"[-+]?\w+(?:[.^/*+-]+\w+)*%?")
_VERDICTS = {"no", "yes", "true", "false", "correct", "right", "out", "in"}


def _may_be(text: str, at: int, choices: tuple[str, ...]) -> bool:
    """Whether the text behind a letter may stand there: it is that choice's, or about it, and not another's."""
    if not choices:
        return text not in ("no", "false")
    if text in choices:
        return choices[at] == text
    said = _tokens(text)
    if _begins(said, _tokens(choices[at])):
        return True
    return said not in ([word] for word in _VERDICTS) and not any(
        _begins(said, _tokens(choice)) for i, choice in enumerate(choices) if i != at
    )


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.translate(_LATEX_MARKS))


_LATEX_MARKS = str.maketrans("", "", "${}\\")


def _begins(said: list[str], choice: list[str]) -> bool:
    return bool(choice) and said[: len(choice)] == choice


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
# A run is an answer where it has a line to itself, or ends one that says what it is.
_RUN_IS = re.compile(
    r"(?:\A|\b(?:is|be|guess|answer|choose|choice|option|letter)|[:=.!])[\s*_$\"'`(\[{]{0,9}\Z", re.IGNORECASE
)
_RUN_ENDS = re.compile(r"[\s*_$\"'`)\]}.!]{0,9}\Z")
_RUN_SUPPOSED = re.compile(
    r"\b(?:if|suppose|e\.g|example|instance|instruct\w{1,4}|format|like|asked|asks)\b", re.IGNORECASE
)


def _repeated(text: str, strict: bool) -> tuple[Reading | None, int] | None:
    """The last letter that is written five times, and where; None if there is none that is an answer."""
    found = other = None
    for match in _RUN.finditer(text):
        other, found = found, match
    if found is None or (len(found[0]) != 5 and strict):
        return None
    if other is not None and other[1] != found[1] and "\n" not in text[other.end() : found.start()]:
        return _reading(text[other.start() : found.end()], "repeated"), found.end()  # "AAAAA or BBBBB"
    start = text.rfind("\n", 0, found.start()) + 1
    end = text.find("\n", found.end())
    before = text[max(start, found.start() - _RUN_CHARS) : found.start()]
    behind = text[found.end() : len(text) if end < 0 else end][:_RUN_CHARS]
    if not _RUN_IS.search(before) or not _RUN_ENDS.match(behind) or _RUN_SUPPOSED.search(before):
        return None
    return _reading(found[1], "repeated", True, fallback=len(found[0]) != 5), found.end()


_RUN_CHARS = 200


# At a statement's start: a letter in brackets or in bold, perhaps with its text, or a letter alone.
_STARTS = re.compile(
    r"[*_$\"'`\s]{0,4}(?i:(?:option|choice|letter)\s{1,3})?[*_$\"'`\s]{0,4}(?:\\(?:text|textbf|mathrm|mathbf|boxed)\s?\{)?"
    r"(?:\((?P<round>[A-Za-z])\)|\[(?P<square>[A-Za-z])\]|(?P<bare>[A-Za-z])(?![A-Za-z0-9'’(\[+^_-]))(?P<close>[*_$\"'`})]{0,6})"
)
_REASON = re.compile(r"\s*[,;(–—-]?\s*(?:because|since|as|which|where|not|so|i\.e\.)\b", re.IGNORECASE)


def _phrase(statement: Statement, strict: bool) -> Reading | None:
    if statement.retracted:
        return None
    label = _STARTS.match(statement.said)
    letter = _stated(label, statement.said) if label else None
    if label and letter:
        closed = (
            bool(label["round"] or label["square"] or label["close"] or statement.said[label.end() :])
            or statement.ended
        )
        return Reading(letter, letter, "phrase", closed)
    return None if strict else _reading(statement.said, "phrase", statement.ended, fallback=True)


def _stated(label: "re.Match[str]", said: str) -> str | None:
    """The letter of a statement, perhaps with the text that it quotes; None where it is no single letter."""
    letter: str = label["round"] or label["square"] or label["bare"]
    rest = said[label.end() :]
    bracketed = label["bare"] is None or "**" in label["close"]
    if not rest.strip(" .*_$)`\"'}"):
        return letter.upper()
    if reason := _REASON.match(rest):
        return letter.upper() if (bracketed or letter.isupper()) and not _both(rest[reason.end() :]) else None
    if rest[0] in ".:)" or bracketed:
        quoted = rest.lstrip(".:)*_ \t-–—")
        if not letter.isupper() or _hedged(quoted) or rest.lstrip().startswith("?"):
            return None
        new_sentence = bracketed and rest.lstrip("*_$)`\"' ")[:1] in tuple(".,;(")
        return letter if new_sentence else canonical_choice(f"({letter}) {quoted}")
    return None


_BOTH = re.compile(r"\b(?:wrong|incorrect)\b[^.]*\b(?:too|as well|also)\b|\bcould also\b|\bequally\b", re.IGNORECASE)


def _both(reason: str) -> bool:
    return _BOTH.search(reason) is not None


_ALONE = re.compile(r"[*_$(\[`]{0,4}([A-Za-z])[*_$)\].`]{0,5}\Z")


# A last sentence that names one choice as the right one.
_RIGHT_ONE = re.compile(
    r"(?:^|(?<=[.!?]\s))[*_ \t]{0,4}(?i:(?:so|thus|hence|therefore|in conclusion|overall|finally|clearly)[,:]?\s{1,2})?"
    r"(?i:(?:the )?(?:correct |right |best )?(?:option|choice|answer) )?[*_$(\[]{0,4}(?P<letter>[A-J])[*_$)\]]{0,4}"
    r" is (?i:(?:therefore|thus|clearly|indeed) )?(?i:correct|the (?:correct|right|best) (?:answer|option|choice|one))"
    r"[*_]{0,3}[.!]?[*_]{0,3}[ \t]{0,3}$",
    re.MULTILINE,
)
# A text that is one choice with its label and its text: "C. Paris".
_ONE_CHOICE = re.compile(r"[*_]{0,3}(?:\((?P<round>[A-J])\)|(?P<bare>[A-J])[).:])[*_]{0,3} (?P<rest>[^\n]{1,200})\Z")
_SPEAKS = re.compile(
    r"\b(?:or|not|no|none|cannot|wrong|incorrect|false|eliminat\w*|rul(?:e|ed)|[B-J][.):])|n't\b|n’t\b|[?✗✘❌]|[.!]\s",
    re.IGNORECASE,
)


def _last_line(text: str) -> Reading | None:
    named = list(_RIGHT_ONE.finditer(text))
    if named and not text[named[-1].end() :].strip():
        return (
            _reading(named[-1]["letter"], "last_line", False, True) if len({n["letter"] for n in named}) == 1 else None
        )
    if (one := _ONE_CHOICE.match(text.strip())) and not _SPEAKS.search(one["rest"]):
        return _reading(f"({one['round'] or one['bare']}) {one['rest']}", "last_line", False, True)
    lines = last_lines(text, 2)
    if not lines or len(lines[0]) > 20 or not _ALONE.match(simple(lines[0])):
        return None
    if len(lines) > 1 and len(lines[1]) <= 20 and _ALONE.match(simple(lines[1])):
        return None  # a list of letters
    return _reading(lines[0], "last_line", False, True)
