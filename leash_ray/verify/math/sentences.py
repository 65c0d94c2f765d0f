"""What a sentence says a value is: "the answer is 42", "Therefore, the sum is 42", ``#### 42``.

A number that merely stands in a sentence is no answer: "so it is not 42", "So 42 is the sum of 7 and 35."
"""

import re
from typing import NamedTuple

from leash_ray.verify.extract import last_match
from leash_ray.verify.math.canonical import canonical_math
from leash_ray.verify.math.formula import Unreadable
from leash_ray.verify.math.shape import Leaf, Relation, is_name, parse_shape
from leash_ray.verify.math.units import UNITS
from leash_ray.verify.statements import last_statement, retracted

MAX_LINE = 1000
"""A longer line is no answer."""
SENTENCE_END = re.compile(r"(?<=[^.])\.\s+(?=[A-Z])|\.\s*\Z")  # "5!" and "5?" are no 5
_NUMBER = r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?\.?[0-9]+(?:\s*/\s*[0-9]+)?"
VALUE = rf"(?P<value>\$\$?[^$]+\$\$?|\\\([^)]*\\\)|\\\[[^\]]*\\\]|[-−]?(?:\\?\$)?{_NUMBER}\s*\\?%?)"
_REST = r"(?P<rest>[^0-9$\\!?]*)"
_STARTS = re.compile(rf"{VALUE}{_REST}\Z")
_REASON = re.compile(rf"{VALUE},?\s+(?:because|since)\b")
CONCLUDES = re.compile(
    r"(?:so|thus|therefore|hence|finally|this gives|in total|altogether|it follows"
    r"|we (?:get|find|obtain|have|conclude))\b",
    re.IGNORECASE,
)
_SAYS = re.compile(
    rf"(?:\b(?:is|are|equals?|makes?|gives?|gets?|has|have|obtain|find|total of)|[=:])\s+{VALUE}{_REST}\Z",
    re.IGNORECASE,
)
DOUBT = re.compile(
    r"\b(?:not|never|cannot|or|if|unless|maybe|perhaps|possibly|might|would|could|wrong|incorrect|guess|suppose|assume|"
    r"whether|except|but|either|neither|nor|between|about|instead|than)\b|n['’]t\b|\?",
    re.IGNORECASE,
)
_FILLERS = frozenset({"in", "all", "total", "altogether", "long", "old", "each", "left", "there", "now"})


_TRIES = re.compile(r"\b(?:tests?|try|check|consider|let|set|pick|take|plug|substitute|need|want)\b", re.IGNORECASE)


class Stated(NamedTuple):
    """What a phrase says the answer is."""

    said: str
    """The rest of its line, or the next."""
    retracted: bool
    """Whether what follows takes it back, or may do so."""
    unusual: bool = False
    """Whether it may be another answer than the one that was asked for."""


def last_stated(text: str) -> Stated | None:
    """The last "answer is" that is no supposition, or what stands behind a later ``####`` or heading."""
    statement = last_statement(text)
    mark = last_match(_MARK, text)
    if mark is None or (statement is not None and statement.start > mark.start()):
        return None if statement is None else Stated(statement.said, statement.retracted, statement.unusual)
    line, _, rest = text[mark.end() :].lstrip().partition("\n")
    return Stated(line.strip(), retracted(line) or retracted(rest))


_MARK = re.compile(r"####[ \t:]{0,9}|answer:?\*\*[ \t:]{0,9}(?=\n)", re.IGNORECASE)


def value_stated(said: str) -> str | None:
    """The answer in what follows "the answer is"; None where that is none."""
    if len(said) > MAX_LINE or (said.rstrip("* ").endswith("!") and "$" not in said):  # "5!" may be five, or 120
        return None
    return _after_phrase(first_sentence(said))


def first_sentence(line: str) -> str:
    """A line up to its first full stop, without bold marks."""
    return SENTENCE_END.split(line.replace("**", ""), maxsplit=1)[0].strip()


def last_sentence(line: str) -> str:
    """The last sentence of a line, without its full stop; empty where it is a question."""
    sentence = ["", *(part for part in SENTENCE_END.split(line.replace("**", "")) if part.strip())][-1].strip()
    return "" if re.search(r"[?!]\s", sentence) else sentence


def _after_phrase(said: str) -> str | None:
    """What follows "the answer is", as it stands, or its value where only known units and the like come after."""
    if (reason := _REASON.match(said)) and not re.search(r"\bso\b|[.?!]\s", said) and not DOUBT.search(said):
        return reason["value"].strip()
    if (match := _STARTS.match(said)) and _harmless(match["rest"]):
        return match["value"].strip() + _unit(match["rest"])
    if len(re.findall(r"[A-Za-z]{2,}", said)) > 3 and not re.search(r"[0-9\\$=]", said):
        return None  # "the answer is hard to find"
    return said.rstrip(".,;:").strip() or None


def conclusion(sentence: str) -> str | None:
    """The value that "Therefore, the sum is 42" ends with."""
    if not CONCLUDES.match(sentence) or DOUBT.search(sentence) or _TRIES.search(sentence):
        return None
    match = _SAYS.search(sentence)
    if not match or not _harmless(match["rest"]):
        return None
    said = match["value"].strip() + _unit(match["rest"])
    before = sentence[: match.start()]
    if match[0].startswith("="):  # what equals it belongs to it: 2x = 10 says not what x is
        side = _left_side(before)
        return f"{side}={said}" if side else said
    clause = _NEW_CLAUSE.split(before)[-1]
    return None if re.search(r"[0-9$\\=+*/^<>]", clause) else said  # "the value of 2x is 10"


def _left_side(before: str) -> str:
    """The formula that a text ends with: its last words that are none."""
    words = before.split()
    n = 0
    while n < len(words) and not re.search(r"[A-Za-z]{2}|[,;:.]\Z", words[-1 - n]):
        n += 1
    return " ".join(words[len(words) - n :])


_NEW_CLAUSE = re.compile(r",\s(?:which|so|giving|making|for a total)\b")


def _harmless(rest: str) -> bool:
    """Whether words after a value leave it as it is."""
    words = re.findall(r"[^\s.,;:!*)]+", rest)
    if rest[:1] in ("k", "K"):  # 5K may be 5000
        return False
    known = (w.lower() in _FILLERS or w in UNITS or (len(w) > 1 and w.lower() in UNITS) for w in words)
    return len(words) <= 4 and all(known)


def _unit(rest: str) -> str:
    """A unit right behind the value, for judging to look at."""
    words = rest.split()
    return f" \\text{{{words[0].strip('.,;:!*')}}}" if words and words[0].strip(".,;:!*") in UNITS else ""


def bare(answer: str) -> str:
    """A canonical text without unit and name, to see whether a text says the same again."""
    text = canonical_math(answer)
    try:
        shape = parse_shape(text)
    except Unreadable:
        return text
    if isinstance(shape, Relation) and shape.ops == ("=",):
        left, right = shape.sides
        shape = right if isinstance(left, Leaf) and is_name(left.text) else shape
    return shape.text if isinstance(shape, Leaf) else text
