"""The answer of a text that marks none: what follows a phrase, a last line that is nothing else, or a conclusion."""

import re
from typing import NamedTuple

from leash_ray.verify.math.canonical import canonical_math
from leash_ray.verify.math.later import concludes_another
from leash_ray.verify.math.number import canonical_number
from leash_ray.verify.math.sentences import (
    MAX_LINE,
    VALUE,
    conclusion,
    last_sentence,
    last_stated,
    value_stated,
)
from leash_ray.verify.statements import last_lines, without_connective

_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}\s+[A-Za-z]{2,}")
_BULLET = re.compile(r"[-*•]\s")


class Found(NamedTuple):
    """An answer in prose."""

    text: str
    stage: str
    """``phrase`` or ``last_line``"""


def answer_in_prose(text: str) -> Found | None:
    """The answer of a text without marks; None where it is not clear that there is one."""
    stated = last_stated(text)
    if stated is not None:
        found = None if stated.retracted or stated.unusual else value_stated(stated.said)
        return Found(found, "phrase") if found and not concludes_another(text, found) else None
    line, earlier, *_ = [*last_lines(text.replace("\r", "\n"), 2), "", ""]
    line = line.replace("**", "").strip()
    if not line or len(line) > MAX_LINE or line.startswith("~") or _BULLET.match(line):
        return None
    if not _PROSE.search(without_connective(line)):
        found = without_connective(line).rstrip(".,;:").strip()
        if canonical_number(canonical_math(earlier[:MAX_LINE])) not in (None, canonical_number(canonical_math(found))):
            return None  # values one below the other
        return Found(found, "last_line") if found else None
    sentence = last_sentence(line)
    if named := _NAMED.fullmatch(sentence):
        return Found(named["value"].strip(), "last_line")
    found = conclusion(sentence)
    return Found(found, "last_line") if found else None


_NAMED = re.compile(
    rf"(?:(?:so|thus|hence|therefore),?\s)?{VALUE}\s(?:is|must be)\s(?:the|our|my)\s(?:(?:final|correct)\s)?answer",
    re.IGNORECASE,
)
