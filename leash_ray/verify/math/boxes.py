r"""The last box of a text, or the boxes that the last one is listed with, read with what touches them.

``\boxed{1}, \boxed{2} and \boxed{3}`` is one list, and so is whatever only commas, semicolons, spaces, line breaks,
"and", "or", units and names ("x = ") part. A full stop parts answers: the last counts.
"""

import re
from typing import NamedTuple

from leash_ray.verify.extract import Box, boxes
from leash_ray.verify.math.beside import After, Before, after, before, plain, unit_at_start
from leash_ray.verify.math.canonical import canonical_math
from leash_ray.verify.math.formula import Unreadable
from leash_ray.verify.math.shape import Leaf, Relation, parse_shape


class Boxed(NamedTuple):
    """What the last box or boxes say."""

    content: str
    """What they hold."""
    said: str | None
    """That, read with what touches them; None where the boxes alone are no answer."""
    start: int
    """Where the first of them begins in the text."""
    end: int
    """Where the last of them ends."""


_MAX_BETWEEN = 100
_MARKS = r"[\s$*_`\"{}()]*"
_JOINT = re.compile(
    rf"{_MARKS}(?P<sep>[,;]?[\s$]*(?:(?:and|or|but|vs\.?|versus|as well as)\b)?[\s$&]*"
    r"(?:also|maybe|perhaps|possibly|else|alternatively|(?:it\s+)?(?:could|might|may)\s+(?:also\s+)?be)?,?|,?\s*(?:\\[lc]?dots|\.{3}|…)\s*,?"
    r"|\s*\n\s*(?:\(?[a-z0-9]{1,2}[.)]|[-•])\s)"
    rf"{_MARKS}(?P<label>(?:[a-zA-Z]|\\[a-zA-Z]{{2,10}})(?:_\{{?[0-9a-zA-Z]\}}?)?\s*=)?{_MARKS}\Z",
    re.IGNORECASE,
)


def boxed_answer(text: str) -> Boxed | None:
    """What the last box says; with others that it is listed with, a list of all. None if there is no box.

    So two candidates in two boxes are never taken for the one that happens to stand last.
    """
    found = boxes(text)
    if not found:
        return None
    first = len(found) - 1
    joints: list[re.Match[str]] = []
    while first and (joint := _joint(text, found[first - 1], found[first])):
        joints.append(joint)
        first -= 1
    listed = found[first:]
    contents = [text[box.start : box.end] for box in listed]
    ahead = before(text, listed[0].at)
    behind = after(text, listed[-1].end, ahead) if ahead else None
    if len({canonical_math(content) for content in contents}) == 1:  # one answer, written again
        content = contents[-1]
        said = None if ahead is None or behind is None else _read_together(content, ahead, behind)
    else:
        content = _list(contents, joints[::-1], ahead)
        said = content if ahead and behind and not (ahead.sign or behind.scale or behind.side) else None
        if said and ahead and ahead.brackets:
            closing = re.search(r"[)\]]", text[listed[-1].end :])
            said = f"{ahead.brackets[0]}{content}{closing[0] if closing else ''}"
    return Boxed(content, said, listed[0].at, listed[-1].end + 1)


def last_boxes(text: str) -> str | None:
    """What the last box or boxes of a solution say, which is trusted to mean what stands in them."""
    found = boxed_answer(text)
    return None if found is None else found.said or found.content


def out_of_reach(text: str, found: Boxed) -> str:
    """A text for a box that is no answer by itself. It is read as no formula, so that it is never right."""
    left, right = (re.sub(r"[{}\\$\s]+", " ", part) for part in (text[: found.start][-20:], text[found.end :][:20]))
    return f"...{left}\\boxed{{{found.content}}}{right}..."


def _joint(text: str, box: Box, following: Box) -> "re.Match[str] | None":
    if following.at - box.end > _MAX_BETWEEN:
        return None
    between = plain(text[box.end + 1 : following.at])
    if joint := _JOINT.match(between):
        return joint
    measured = between.lstrip(" $}")
    unit = unit_at_start(measured)
    return _JOINT.match(measured[len(unit) :]) if unit else None


def _list(contents: list[str], joints: "list[re.Match[str]]", ahead: Before | None) -> str:
    labels = [ahead.label if ahead else "", *((joint["label"] or "") for joint in joints)]
    items = [label + content for label, content in zip(labels, contents, strict=True)] if any(labels[1:]) else contents
    parts = [items[0]]
    for joint, item in zip(joints, items[1:], strict=True):
        words = re.search(r"\b(?:or|could|might|may|vs|versus|maybe|perhaps|possibly|alternatively)\b", joint["sep"])
        parts += [" or " if words else ", ", item]
    return "".join(parts)


def _read_together(content: str, ahead: Before, behind: After) -> str | None:
    """The content with its sign, scale, unit or the rest of an equation; None where they cannot be put together."""
    sign, (scale, unit, side) = ahead.sign, behind
    if not (sign or scale or unit or side):
        return content
    try:
        shape = parse_shape(canonical_math(content))
    except Unreadable:
        shape = None
    one = isinstance(shape, Leaf) or (isinstance(shape, Relation) and shape.ops == ("=",))
    if sign.startswith("-") or (scale[:1] in ("_", "\\") and scale != "\\%" and not scale.startswith("^")):
        if not isinstance(shape, Leaf) or shape.unit or re.search(r"[-+=]", canonical_math(content)):
            return None
    elif not one:
        return None if scale or side else content  # several values with one unit, or words
    if isinstance(shape, Leaf) and shape.unit:
        return None if scale or unit.startswith("per") else content + side
    unit = "" if unit.startswith("per") else unit
    unit = re.sub(r"[A-Za-zÅ]+", lambda word: f"\\text{{ {word[0]} }}", re.sub(r"\bper\b", "/", unit))
    return f"{sign}{content}{scale}{unit}{side}"
