r"""Short answers that must be the reference's text: LiveBench's reasoning, HotpotQA, short facts without a judge."""

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Literal

from leash_ray.errors import UsageError
from leash_ray.types import Verdict
from leash_ray.verify.boxed import denied
from leash_ray.verify.kinds.base import Judgement, Kind, Options, Reading
from leash_ray.verify.marked import Marked, last_marked
from leash_ray.verify.plain import simple, unwrapped
from leash_ray.verify.statements import (
    last_bold,
    last_lines,
    last_statement,
    without_connective,
    without_preface,
    without_stars,
)


class ExactOptions(Options):
    """How texts are compared."""

    format: Literal["boxed", "tag", "solution", "bold", "phrase", "whole"] | None = None
    """The one format that the prompt asks for; any other is then a fallback. None: boxed, tag and solution."""
    case: Literal["ignore", "keep"] = "ignore"
    articles: Literal["keep", "ignore"] = "keep"
    """ignore: without "a", "an" and "the" at the start."""
    type: Literal["text", "list", "unordered", "json"] = "text"
    """list: parts between commas, whose order counts. unordered: the same, and it does not. json: compared by value:
    neither spaces nor the order of keys count, and 1.0 is 1."""


class Exact(Kind):
    r"""Right means the same text after normalising.

    Reference: the text, or a JSON list of texts of which any is right; an answer equal to any of them is written as the
    first. With ``type=json`` it is one JSON value.

    Normalised are: forms of the same character (NFC, full-width letters, quotes, dashes, spaces; never NFKC, which
    makes x² into x2), the case of letters, spaces, what is wrapped around all of the answer (quotes, markdown, dollar
    signs, ``\text{}``), one full stop at the end, and commas between thousands of a whole number.

    Stages: ``pattern``, ``boxed``, ``answer_tag``, ``solution_tag`` (``<solution>``), ``bold`` (the last bold words;
    several in a row are one answer; only with ``format=bold``), ``code_block`` (only with ``type=json``), ``whole``
    (only with ``format=whole``, or a text that is all JSON), and as fallbacks ``phrase`` and ``last_line``.
    """

    Options: ClassVar[type[Options]] = ExactOptions

    def check_reference(self, reference: str) -> None:
        if not all(self._gold(reference)):
            raise UsageError(f"exact: the reference {reference[:80]!r} is empty")
        if self.options.type == "json" and canonical_json(reference) is None:
            raise UsageError(
                f"exact: with type=json the reference must be JSON (no NaN, no key twice): {reference[:80]!r}"
            )

    def find(self, text: str, thought: bool) -> Reading | None:
        asked: str | None = self.options.format
        if asked in _MARKS and (first := _MARKS[asked](text)):
            return self.marked(first, text)
        if asked == "phrase" and (phrase := self._phrase(text, False)):
            return phrase
        if asked == "whole":
            return self.reading(text, "whole", delimited=False)
        if asked and self.options.strict:
            return None
        if other := last_marked(text):
            return self.marked(other, text, fallback=asked is not None)
        if self.options.type == "json" and (found_json := _json_in(text)):
            return self.marked(found_json, text) if isinstance(found_json, Marked) else self.reading(*found_json)
        if self.options.strict:
            return None
        statement = last_statement(text)
        if statement and statement.said and not statement.unusual:
            return self._phrase(text, True)
        return self._last_line(text)

    def _phrase(self, text: str, fallback: bool) -> Reading | None:
        statement = last_statement(text)
        if statement is None or statement.retracted or statement.unusual or not statement.said:
            return None
        said = self.reading(statement.said, "phrase", statement.ended, fallback)
        return said and self.settled(said, text[statement.end :])

    def settled(self, reading: Reading, after: str) -> Reading | None:
        behind = _NEXT_ITEM.match(after)
        if behind and not self.agrees(reading.answer, self.canonical(behind["item"])):
            return None  # one of several lines
        return super().settled(reading, after)

    def _last_line(self, text: str) -> Reading | None:
        lines = last_lines(text, 1)
        return self.reading(without_connective(lines[0]), "last_line", False, True) if lines else None

    def marked(self, marked: Marked, text: str, fallback: bool = False) -> Reading | None:
        if (
            not self.options.strict
            and marked.stage != "boxed"
            and (said := without_preface(marked.text)) != marked.text
        ):
            marked, fallback = marked._replace(text=said), True
        return super().marked(marked, text, fallback)

    def judge(self, reference: str, content: str) -> Judgement:
        gold = self._gold(reference)
        return Judgement(Verdict.CORRECT, None, gold[0]) if content in gold else Judgement(Verdict.INCORRECT)

    def canonical(self, text: str) -> str:
        """What equal answers are written as. Idempotent."""
        options: ExactOptions = self.options
        if options.type == "json":
            value = canonical_json(text)
            return simple(text) if value is None else value
        if options.type == "text":
            return canonical_text(text, options.case == "ignore", options.articles == "ignore")
        return self._canonical_list(text)

    def _canonical_list(self, text: str) -> str:
        options: ExactOptions = self.options
        start = text = unwrapped(text)
        if len(text) > MAX_LIST_CHARS:
            return text
        for _ in range(_ROUNDS):
            parts = _LIST_WRAPPED.sub(r"\1", unwrapped(text)).split(",")
            items = [_item(part, options.case == "ignore", options.articles == "ignore") for part in parts]
            items = items[:-1] if len(items) > 1 and not items[-1] else items
            once = ", ".join(sorted(items) if options.type == "unordered" else items)
            if once == text:
                return text
            text = once
        return start

    def _gold(self, reference: str) -> tuple[str, ...]:
        return _gold(self, reference)


@lru_cache(maxsize=10_000)
def _gold(kind: Exact, reference: str) -> tuple[str, ...]:
    if kind.options.type == "json":
        return (kind.canonical(reference),)
    texts: list[str] = [reference]
    if reference.lstrip().startswith("["):
        try:
            given = json.loads(reference)
        except ValueError:
            given = None
        if isinstance(given, list) and given and all(isinstance(t, str) for t in given):
            texts = given
    return tuple(kind.canonical(t) for t in texts)


def _bold(text: str) -> Marked | None:
    if (found := last_bold(text)) is None:
        return None
    around = denied(text[max(0, found.start() - 60) : found.start()], text[found.end() : found.end() + 60])
    return Marked(without_stars(found[0]), "bold", found.end(), around, found.start())


# The line right behind an answer, where it is a word or two.
_NEXT_ITEM = re.compile(r"[ \t]*\n(?:[-*•][ \t]+)?(?P<item>(?!```)[^\s.!?:]{1,20}(?: [^\s.!?:]{1,20})?)[ \t]*(?:\n|\Z)")


_MARKS: dict[str | None, Callable[[str], Marked | None]] = {
    "boxed": lambda text: last_marked(text, ("boxed",)),
    "tag": lambda text: last_marked(text, ("answer_tag",)),
    "solution": lambda text: last_marked(text, ("solution_tag",)),
    "bold": _bold,
}
"""Formats that a prompt may ask for -> how they are found."""


_ARTICLE = re.compile(r"(?:(?:a|an|the) )+(?=\S)", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:(?:,|\{,\})\d{3})+\Z", re.ASCII)
_COMMA = re.compile(r"(?<!\d) ?, ?|(?<=\d) ?, ?(?!\d)")
_LIST_WRAPPED = re.compile(r"\A[\[({](.*)[\])}]\Z", re.DOTALL)
_ROUNDS = 8


def canonical_text(text: str, ignore_case: bool, ignore_articles: bool) -> str:
    """The rules of :class:`Exact` for one text. Idempotent: a text that does not settle in 8 rounds stays as it was."""
    start = text = simple(text)
    for _ in range(_ROUNDS):
        once = unwrapped(text.lower() if ignore_case else text)
        if ignore_articles and (article := _ARTICLE.match(once)):
            once = once[article.end() :]
        if _THOUSANDS.match(once):
            once = once.replace("{,}", "").replace(",", "")
        once = simple(_COMMA.sub(", ", once))
        if once == text:
            return text
        text = once
    return start


_AND = re.compile(r"(?:and )+", re.IGNORECASE)  # "a, b, and c"


def _item(text: str, ignore_case: bool, ignore_articles: bool) -> str:
    text = canonical_text(text, ignore_case, ignore_articles)
    given = _AND.match(text)
    return canonical_text(text[given.end() :], ignore_case, ignore_articles) if given else text


MAX_JSON_CHARS = 20_000
MAX_LIST_CHARS = 20_000
"""A longer text is no list: it stays as it is."""
_MAX_DEPTH = 100
_MAX_DIGITS = 300


def canonical_json(text: str) -> str | None:
    """JSON with sorted keys and no spaces, whole numbers without a point. None for what is no JSON, or has a key twice,
    NaN, an infinity, numbers of more than 300 characters, over 100 levels or over 20,000 characters."""
    text = text.strip()
    if len(text) > MAX_JSON_CHARS or _depth(text) > _MAX_DEPTH:
        return None
    try:
        value = json.loads(
            text, parse_int=_whole, parse_float=_decimal, parse_constant=_refuse, object_pairs_hook=_distinct
        )
        # ASCII: an escaped half of a surrogate pair must not become a character that no table can store.
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None


def _depth(text: str) -> int:
    """At most how deep the brackets nest; those within strings are counted too."""
    depth = deepest = 0
    for char in text:
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("too long a number")
    return int(digits)


def _decimal(digits: str) -> float | int:
    value = float(digits)
    if len(digits) > _MAX_DIGITS or value in (float("inf"), float("-inf")):
        raise ValueError("too long or too large a number")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice")
    return found


_FENCE = re.compile(r"^[ \t]{0,3}```[^\n`]*$", re.MULTILINE)


def _json_in(text: str) -> Marked | tuple[str, str, bool] | None:
    """The last fenced block, or all of a text that is one JSON value."""
    fences = list(_FENCE.finditer(text))
    if len(fences) >= 2:
        return Marked(text[fences[-2].end() : fences[-1].start()], "code_block", fences[-1].end())
    return (text, "whole", False) if canonical_json(text) is not None else None
