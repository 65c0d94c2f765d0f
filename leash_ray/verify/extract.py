r"""Where in a completion its answer is: the stages that kinds of verifiers put together, each linear in the text.

The stages, by the name that is recorded with each completion:

============ ========================================================================================================
pattern      the last match of the task's own regular expression
boxed        the last ``\boxed{...}`` whose braces balance (math: with those that it is listed with)
answer_tag   the last ``<answer>...</answer>``
solution_tag the last ``<solution>...</solution>``
code_block   the last fenced block of code
after_think  all of the text after ``</think>``
whole        all of a text that has no thinking
phrase       the line that follows the last "answer is", "answer:" or ``####``
last_line    the last line, or the last formula or number in it
============ ========================================================================================================

All stages read :func:`body`: what stands in a thinking part is no answer.
"""

import functools
import re
from typing import Literal, NamedTuple

MAX_CHARS = 1_000_000
"""Of what is said after thinking, only the end is read where it is longer."""

UNMARKED = frozenset(("after_think", "whole", "phrase", "last_line"))
"""Stages that take plain text, without marks that say: this is the answer."""

_PATTERN_TIMEOUT_S = 0.5
_TAIL_CHARS = 200
_THINK_TAG = re.compile(r"<(?P<end>/?)think(?:ing)?>", re.IGNORECASE)
_TAGS = {
    name: (re.compile(f"<{name}>", re.IGNORECASE), re.compile(f"</{name}>", re.IGNORECASE))
    for name in ("answer", "solution")
}
# A backslash takes the next character with it, so that \{ is no brace.
_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)


def opens_thinking(prompt: str) -> bool:
    """Whether a prompt ends in an opened thinking, as the chat templates of models that always think do."""
    return prompt[-_TAIL_CHARS:].rstrip().lower().endswith(("<think>", "<thinking>"))


def body(text: str, thinking: bool = False) -> tuple[str, bool] | None:
    """What a completion says after thinking, and whether it thought; None for one that never stopped thinking.

    What follows the last ``</think>`` is said, up to a ``<think>`` that is never closed.

    Args:
        thinking: the prompt opened the thinking already (:func:`opens_thinking`).
    """
    end = again = None
    for tag in _THINK_TAG.finditer(text):
        if tag["end"]:
            end, again = tag, None
        elif again is None:
            again = tag
    if thinking and end is None:
        return None
    start, stop = end.end() if end else 0, again.start() if again else len(text)
    said = text[max(start, stop - MAX_CHARS) : stop]
    if again and not end and not said.strip():
        return None
    return said, end is not None


def last_match(pattern: "re.Pattern[str]", text: str, end: int | None = None) -> "re.Match[str] | None":
    """The last match of a pattern that matches in linear time."""
    found = None
    for found in pattern.finditer(text, 0, len(text) if end is None else end):  # noqa: B007
        pass
    return found


def last_boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{...}`` whose braces balance; None if there is none. Of boxes within each other,
    the outermost."""
    found = boxes(text)
    return text[found[-1].start : found[-1].end] if found else None


class Box(NamedTuple):
    r"""Where a ``\boxed{...}`` is, and its content, in characters."""

    at: int
    start: int
    end: int


def boxes(text: str) -> list[Box]:
    r"""Every ``\boxed{...}`` whose braces balance, in the text's order, except those within another."""
    if "boxed" not in text and "fbox" not in text:
        return []
    opened: list[tuple[int, int] | None] = []  # of each open brace: its box's place and content; None: no box
    found: list[Box] = []
    for match in _BRACES.finditer(text):
        token = match[0]
        if token == "{":
            opened.append(None)
        elif token == "}":
            if (box := opened.pop() if opened else None) is not None:
                while found and found[-1].at > box[0]:
                    found.pop()
                found.append(Box(*box, match.start()))
        elif len(token) > 2:
            opened.append((match.start(), match.end()))
    return found


def last_answer_tag(text: str) -> str | None:
    """The content of the last ``<answer>...</answer>``; None if there is none."""
    found = last_tag(text, "answer")
    return text[found[0] : found[1]] if found else None


def last_tag(text: str, name: Literal["answer", "solution"]) -> tuple[int, int] | None:
    """Where the content of the last tag of that name that is closed is, in characters."""
    opens, closes = _TAGS[name]
    end = last_match(closes, text)
    start = last_match(opens, text, end.start()) if end else None
    return (start.end(), end.start()) if start and end else None


def by_pattern(text: str, pattern: str) -> str | None:
    """The first group (or all) of the last match of a task's own pattern; None if there is none, or if matching takes
    too long."""
    found = None
    try:
        for found in _compiled(pattern).finditer(text, timeout=_PATTERN_TIMEOUT_S):  # noqa: B007
            pass
    except TimeoutError:
        return None
    if found is None:
        return None
    return found[1] if found.re.groups else found[0]


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str):  # type: ignore[no-untyped-def]
    import regex  # unlike re, it can be told when to give up

    return regex.compile(pattern, regex.DOTALL)
