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


def last_marked(text: str, stages: tuple[str, ...] = STAGES) -> Marked | None:
    """The marked answer that ends last; None if there is none. A box within tags counts before the tags."""
    last: Marked | None = None
    start = len(text)
    for stage in stages:
        found = _marked(text, stage)
        if found is None:
            continue
        begins, marked = found
        if last is None or (marked.end > last.end and not begins <= start < marked.end):
            last, start = marked, begins
    return last


def _marked(text: str, stage: str) -> tuple[int, Marked] | None:
    if stage == "boxed":
        box = last_boxed_answer(text)
        return (box.start, Marked(box.text, stage, box.end, box.denied)) if box else None
    name: Literal["answer", "solution"] = "answer" if stage == "answer_tag" else "solution"
    if (tag := last_tag(text, name)) is None:
        return None
    start, end = tag
    opens, ends = start - len(f"<{name}>"), end + len(f"</{name}>")
    around = denied(text[max(0, opens - _WINDOW) : opens], text[ends : ends + _WINDOW])
    return start, Marked(text[start:end], stage, ends, around or _is_second(text, name, opens, text[start:end]))


def _is_second(text: str, name: Literal["answer", "solution"], opens: int, said: str) -> bool:
    """Whether a tag is listed with one that says something else ("or", a comma): two candidates, and no answer."""
    joint = _JOINT.search(text, max(0, opens - _WINDOW), opens)
    before = last_tag(text[: joint.end()], name) if joint else None
    return before is not None and text[before[0] : before[1]].strip() != said.strip()


_WINDOW = 80
_JOINT = re.compile(r"</(?:answer|solution)>(?=\s{0,9}(?:[,;/]|,?\s?\b(?:or|and)\b)\s{0,9}\Z)", re.IGNORECASE)
