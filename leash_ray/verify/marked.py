r"""The marked answer that a text ends on: in a box, in ``<answer>`` tags or in ``<solution>`` tags."""

import re
from typing import Literal, NamedTuple

from leash_ray.verify.boxed import denied, last_boxed_answer
from leash_ray.verify.extract import last_tag

STAGES = ("boxed", "answer_tag", "solution_tag")


class Marked(NamedTuple):
    """An answer between marks."""

    text: str
    stage: str
    end: int
    """Where it ends in the text; what follows may take it back."""
    denied: bool = False
    """Whether the words right around it say that it is not the answer."""
    start: int = 0
    """Where it begins in the text."""


def last_marked(text: str, stages: tuple[str, ...] = STAGES) -> Marked | None:
    """The marked answer that ends last; None if there is none. A box within tags counts before the tags."""
    last: Marked | None = None
    for stage in stages:
        found = _marked(text, stage)
        if found and (last is None or (found.end > last.end and not found.start <= last.start < found.end)):
            last = found
    return last


def _marked(text: str, stage: str) -> Marked | None:
    if stage == "boxed":
        box = last_boxed_answer(text)
        return Marked(box.text, stage, box.end, box.denied, box.start) if box else None
    name: Literal["answer", "solution"] = "answer" if stage == "answer_tag" else "solution"
    if (tag := last_tag(text, name)) is None:
        return None
    start, end = tag
    opens, ends = start - len(f"<{name}>"), end + len(f"</{name}>")
    around = denied(text[max(0, opens - _WINDOW) : opens], text[ends : ends + _WINDOW])
    is_denied = around or _is_second(text, name, opens, text[start:end])
    return Marked(text[start:end], stage, ends, is_denied, opens)


def _is_second(text: str, name: Literal["answer", "solution"], opens: int, said: str) -> bool:
    """Whether a tag is listed with one that says something else ("or", a comma): two candidates, and no answer."""
    joint = _JOINT.search(text, max(0, opens - _WINDOW), opens)
    before = last_tag(text[: joint.end()], name) if joint else None
    return before is not None and text[before[0] : before[1]].strip() != said.strip()


_WINDOW = 80
_JOINT = re.compile(r"</(?:answer|solution)>(?=\s{0,9}(?:[,;/]|,?\s?\b(?:or|and)\b)\s{0,9}\Z)", re.IGNORECASE)
