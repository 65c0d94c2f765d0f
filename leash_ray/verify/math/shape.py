r"""What an answer is made of: numbers and formulas in lists, sets, tuples, intervals, unions, matrices and relations.

Only shapes of the same kind are ever compared part by part, so ``\{5,6\}``, "5 or 6" and ``(5,6)`` are none of them 5.
"""

import itertools
import re
from collections.abc import Container
from dataclasses import dataclass
from typing import TypeAlias

from leash_ray.verify.math.formula import Unreadable
from leash_ray.verify.math.number import canonical_number
from leash_ray.verify.math.units import Measured, split_unit

MAX_DEPTH = 6
MAX_PARTS = 400


@dataclass(frozen=True, slots=True)
class Leaf:
    """A formula, a number or words, with the unit taken off."""

    text: str
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Many:
    """Several answers (``1, 2``; "1 or 2"), or the elements of a set; their order is of no account."""

    items: "tuple[Shape, ...]"
    is_set: bool
    by_or: bool = False


@dataclass(frozen=True, slots=True)
class Ordered:
    """A tuple or an interval: which of them, the text alone does not say."""

    opening: str
    items: "tuple[Shape, ...]"
    closing: str


@dataclass(frozen=True, slots=True)
class Union:
    parts: "tuple[Shape, ...]"


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: "tuple[tuple[Shape, ...], ...]"


@dataclass(frozen=True, slots=True)
class Relation:
    """``x = 5``, ``1 < x \\leq 2``; ``ops`` has one less than ``sides``."""

    sides: "tuple[Shape, ...]"
    ops: tuple[str, ...]


Shape: TypeAlias = Leaf | Many | Ordered | Union | Matrix | Relation

_TOKEN = re.compile(
    r"\\begin\{[a-z]+\}|\\end\{[a-z]+\}|\\[a-zA-Z]+|\\.|\s?(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])\s?|.", re.DOTALL
)
_OPENING = {"(": 1, "[": 1, "{": 1, "\\{": 1, "\\langle": 1}
_BRACKETED = tuple(_OPENING)
_CLOSING = {")": 1, "]": 1, "}": 1, "\\}": 1, "\\rangle": 1}
_RELATIONS = {
    "=": "=", "<": "<", ">": ">", "\\leq": "<=", "\\geq": ">=", "\\neq": "!=", "\\approx": "~", "\\in": "in",
    "\\equiv": "equiv",
}  # fmt: skip
_COMMAS = frozenset({",", ";"} | {f"{a}{word}{b}" for word in ("and", "or") for a in ("", " ") for b in ("", " ")})
_THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_MATRIX = re.compile(r"\\begin\{([pb]?)matrix\}(.*)\\end\{\1matrix\}\Z", re.DOTALL)
_ALL_REALS = ("(-\\infty,\\infty)", "\\mathbb{R}", "\\mathbb R")


def parse_shape(text: str, depth: int = 0) -> Shape:
    """The shape of a canonical text.

    Raises:
        Unreadable: its brackets do not balance, or it is nested deeper than any answer.
    """
    if depth > MAX_DEPTH:
        raise Unreadable("nested too deep")
    text = text.strip()
    if text in _ALL_REALS[1:]:
        text = _ALL_REALS[0]
    if match := _MATRIX.match(text):
        return _matrix(match[2], depth)
    if "\\pm" in text and (both := _plus_and_minus(text)):
        return Many(tuple(parse_shape(t, depth + 1) for t in both), False)
    tokens = _top_level(text)
    if not depth and _THOUSANDS.search(text):
        tokens = _with_whole_thousands(tokens)
        text = "".join(tokens)
    parts, seps = _split(tokens, _COMMAS)
    if len(parts) > 1:
        # ", and" and a last comma make empty parts
        items = tuple(parse_shape(p, depth + 1) for p in parts if p.strip())
        if len(items) == 1:
            raise Unreadable("a list of one")
        return Many(items, False, any("or" in sep for sep in seps))
    sides, ops = _split(tokens, _RELATIONS.keys())
    if len(sides) > 1:
        return _relation(sides, [_RELATIONS[op] for op in ops], depth)
    parts, _ = _split(tokens, ("\\cup",))
    if len(parts) > 1:
        return Union(tuple(parse_shape(p, depth + 1) for p in parts))
    if len(tokens) == 1 and tokens[0][:1] in "([\\" and (inside := _inside(text)):
        return _bracketed(*inside, depth)
    measured: Measured = split_unit(text)
    number = canonical_number(measured.text) if measured.unit else None
    return Leaf(number or measured.text, measured.unit)


def _relation(sides: list[str], ops: list[str], depth: int) -> Shape:
    if "" in (side.strip() for side in sides):
        raise Unreadable("a relation without a side")
    if ops == ["in"]:
        if not is_name(sides[0].strip()):
            raise Unreadable("an element of something")
        return parse_shape(sides[1], depth + 1)
    if set(ops) & {"in", "equiv"}:
        raise Unreadable("relations")
    return Relation(tuple(parse_shape(side, depth + 1) for side in sides), tuple(ops))


def _bracketed(opening: str, inner: str, closing: str, depth: int) -> Shape:
    if opening == "\\{":
        if not inner.strip():
            return Leaf("\\emptyset")
        found = parse_shape(inner, depth + 1)
        if isinstance(found, Many) and not found.is_set:
            return Many(found.items, True)
        if isinstance(found, Relation) or "|" in inner or "\\mid" in inner or ":" in inner:
            raise Unreadable("a set by its property")
        return Many((found,), True)
    parts, seps = _split(_top_level(inner), _COMMAS)
    if len(parts) == 1:
        if (opening, closing) == ("(", ")"):
            return parse_shape(inner, depth + 1)
        raise Unreadable("one thing in brackets")
    if set(seps) - {",", ";"} or not all(p.strip() for p in parts):
        raise Unreadable("a tuple with gaps")
    return Ordered(opening, tuple(parse_shape(p, depth + 1) for p in parts), closing)


def _matrix(body: str, depth: int) -> Shape:
    rows = [row for row in body.split("\\\\") if row.strip()]
    if "\\begin" in body or not rows:
        raise Unreadable("a matrix of matrices")
    return Matrix(tuple(tuple(parse_shape(x, depth + 1) for x in row.split("&")) for row in rows))


def _plus_and_minus(text: str) -> tuple[str, str] | None:
    if text.count("\\pm") != 1:
        raise Unreadable("two plus-minus signs")
    before, after = text.split("\\pm")
    if any(_split(_top_level(text), _COMMAS)[1]):
        return None  # 1, \pm 2: each item on its own
    return before + ("+" if before and before[-1] not in "=({[,<>" else "") + after, before + "-" + after


def _top_level(text: str) -> list[str]:
    """Tokens, with each bracketed part as one of them. ``(0,1]`` is such a part too."""
    out: list[str] = []
    opened: list[int] = []
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in _OPENING:
            opened.append(match.start())
        elif token in _CLOSING:
            if not opened:
                raise Unreadable("brackets")
            start = opened.pop()
            if not opened:
                out.append(text[start : match.end()])
                continue
        if not opened:
            out.append(token)
    if opened:
        raise Unreadable("brackets")
    return out


def _with_whole_thousands(tokens: list[str]) -> list[str]:
    """Without the commas of 1,234, which is one number at the top; in brackets, (1,234), it is two."""
    out: list[str] = []
    for is_bracketed, parts in itertools.groupby(tokens, key=lambda token: token.startswith(_BRACKETED)):
        whole = "".join(parts)
        out += _top_level(whole if is_bracketed else _THOUSANDS.sub(lambda m: m[0].replace(",", ""), whole))
    return out


def _split(tokens: list[str], at: Container[str]) -> tuple[list[str], list[str]]:
    parts: list[str] = []
    seps: list[str] = []
    part: list[str] = []
    for token in tokens:
        if token in at:
            parts.append("".join(part))
            seps.append(token)
            part = []
        else:
            part.append(token)
    parts.append("".join(part))
    if len(parts) > MAX_PARTS:
        raise Unreadable("too many parts")
    return parts, seps


def _inside(text: str) -> tuple[str, str, str] | None:
    for opening in ("\\{", "\\langle", "(", "["):
        if text.startswith(opening):
            closing = next((c for c in ("\\}", "\\rangle", ")", "]") if text.endswith(c)), None)
            if closing is None or (opening == "\\{") != (closing == "\\}"):
                return None
            if (opening == "\\langle") != (closing == "\\rangle"):
                return None
            return opening, text[len(opening) : -len(closing)], closing
    return None


_NAME = re.compile(
    r"(?:[a-zA-Z]|\\(?!pi|infty|frac|sqrt)[a-zA-Z]+)(?:_\{[0-9a-zA-Z+-]{1,5}\})?'{0,2}"
    r"(?:\([a-zA-Z0-9\\]{1,8}(?:,[a-zA-Z0-9]{1,3}){0,2}\))?\Z|[A-Z]{2,3}\Z|\|[A-Z]{2}\|\Z|\\text\{[a-zA-Z ]{2,30}\}\Z"
)
_DENIES = re.compile(r"\\text\{.*\b(?:not|no|never|wrong|incorrect|false)\b", re.IGNORECASE)


def is_name(text: str) -> bool:
    r"""Whether a side of an equation only says what the other one is: ``x``, ``f(x)``, ``a_{1}``, ``AB``."""
    return text not in ("e", "i") and bool(_NAME.match(text)) and not _DENIES.search(text)
