r"""The last box of a text as an answer: with the boxes that it is listed with, and with what touches it.

``-\boxed{5}`` says -5, ``\boxed{5}\times 10^3`` says 5000 and ``\sqrt{\boxed{5}}`` says √5: what stands in the same
formula belongs to the answer, or else a box could be right where its formula is wrong. Words around a box do not,
unless they deny it. All rules look at most ``_WINDOW`` characters around the box.
"""

import re
from typing import NamedTuple

from leash_ray.verify.extract import boxes

_WINDOW = 80
_MAX_JOINT = 40


class Boxed(NamedTuple):
    """What a box says."""

    text: str
    """Its content, with what changes its value; several boxes as a list: ``5, 6`` or ``5 or 6``."""
    start: int
    end: int
    """Where the boxes begin in the text, and where they, and what behind them belongs to the answer, end."""
    denied: bool
    """Whether the words around say that it is not the answer."""


# Marks of where a formula begins or ends, spaces of LaTeX and styles of type: they change no value.
_SPACES = r"\s|\\[,;:! ]|\\q?quad(?![A-Za-z])|~|&"
_TAG = r"</?[A-Za-z]\w{0,20}>"
_MARK = rf"{_SPACES}|\$|\\[()\[\]]|\*\*|__|{_TAG}"
_STYLE = (
    r"\\(?:displaystyle|textstyle|large|Large|LARGE|huge|Huge|bf|rm|left|right|big|Big|bigg|color\s?\{\w{1,20}\})"
    r"(?![A-Za-z])"
)
_STYLE_OPENS = (
    r"(?:\\(?:text(?:bf|it|rm|sf|tt|up|normal|color\s?\{\w{1,20}\})?|math(?:rm|bf|it|sf|tt)|mbox|emph|underline"
    r"|boldsymbol|bm|color\s?\{\w{1,20}\})\s?|(?<![\w^}\])])(?<!\\\w)(?<!\\\w\w)(?<!\\\w\w\w)(?<!\\\w\w\w\w))\{"
    rf"|{_STYLE}\s?\{{"
)
_BEFORE = re.compile(rf"(?:{_MARK}|{_STYLE}|(?P<open>{_STYLE_OPENS}))*\Z")
_WORD = r"\\text\s*\{\s*(?:and|or)\s*\}|\b(?:and|or)\b"
_JOINT = re.compile(rf"(?:{_MARK}|\}})*(?P<sep>[,;]?\s*(?:{_WORD})|[,;/:]|)(?:{_MARK})*\Z")


def last_boxed_answer(text: str) -> Boxed | None:
    r"""The last box, as it is meant; None if there is none.

    Boxes on one line with only commas, semicolons, spaces, "and" or "or" between them are one answer, so that two
    candidates are never taken for the one that happens to stand last.
    """
    found = boxes(text)
    if not found:
        return None
    first = last = found[-1]
    parts = [text[last.start : last.end]]
    for before, after in zip(found[-2::-1], found[::-1], strict=False):
        between = text[before.end + 1 : after.at]
        joint = _JOINT.match(between) if len(between) <= _MAX_JOINT else None
        if joint is None or (not joint["sep"] and "\n" in between):
            break
        parts += [" or " if "or" in joint["sep"] else ", ", text[before.start : before.end]]
        first = before
    start, end = first.at, last.end + 1
    contents = {part.strip() for part in parts[::2]}
    content = parts[0] if len(contents) == 1 else "".join(reversed(parts))
    before_line = text[max(0, start - _WINDOW) : start].rpartition("\n")[2]
    after_line = text[end : end + _WINDOW].partition("\n")[0]
    suffix, n_read = _suffix(after_line)
    return Boxed(f"{_prefix(before_line)}{content}{suffix}", start, end + n_read, denied(before_line, after_line))


# At the end of what stands before: something that takes the box as its operand.
_OPERATOR = re.compile(
    r"(?:[-−–+*/^_×·÷±√¬<>≤≥≠({\[|]|\\(?:times|cdot|div|pm|mp|ast|sqrt|[dtc]?frac|neg|lnot|neq?|le|ge|leq|geq|lt|gt|log|ln"
    r"|exp|sin|cos|tan|binom|overline|bar|hat|vec|not|sim|times)\s?(?:\[[^\[\]]{0,9}\]\s?)?(?:\{[^{}]{0,40}\}\s?)?\{?"
    r"|(?<![A-Za-z\\])(?:[A-Za-z]|(?:log|ln|sin|cos|tan|sqrt|(?:half|twice|double|triple|square|root|minus|negative|plus|times)"
    r"(?: of)?))|(?<!\w\s)\d)\Z"
)
_BULLET = re.compile(r"\s*[-–+*]\s+\Z")
_DASH = re.compile(r"(?:[A-Za-z]{2,}|[.:;,)\]*])\s+[-–]\s+\Z")
_ITALIC = re.compile(r"(?:\A|[A-Za-z]{2}[:,.]?|[:.,])\s*\*\Z")
_CHUNK = re.compile(r".*(?:[=≈:;,$]|\\[(\[]|\\(?:approx|simeq|implies|Rightarrow|to|therefore)(?![A-Za-z])"
                    r"|(?<![\\A-Za-z])[A-Za-z]{2,}(?=\s))", re.DOTALL)  # fmt: skip


def _prefix(before: str) -> str:
    """The part of the formula before a box that changes its value; empty if nothing does."""
    bare = _bare(before)
    spaced = len(before) > len(bare)
    operator = _OPERATOR.search(bare)
    if operator is None:
        return ""
    sign = bare[-1]
    if sign == "*" and (bare.endswith("**") or _ITALIC.search(bare)):
        return ""
    if sign in "-–+*" and spaced and (_BULLET.match(f"{bare} ") or _DASH.search(f"{bare} ")):
        return ""
    if (sign.isalpha() and operator[0] == sign and spaced) or (
        sign.isdigit() and spaced and "$" in before[len(bare) :]
    ):
        return ""
    if sign == "(" and re.match(r"(?:.*\s)?\(\Z", bare, re.DOTALL):  # in brackets, as a remark
        return ""
    chunk = _CHUNK.match(bare)
    found = (bare[chunk.end() :] if chunk else bare).lstrip() or sign
    return f"{found} " if sign.isalnum() else found  # 3 and a box of 5 are not 35


def _bare(before: str) -> str:
    """What stands before a box without marks and styles."""
    for start in range(len(before) + 1):
        if _BEFORE.match(before, start):
            return before[:start]
    return before


_MULTIPLE = (
    r"(?:(?:thousand|million|billion|trillion|hundred|dozen|percent)\b|(?:squared|cubed)\b(?!\s\w)"
    r"|(?:times|plus|minus|to|through|divided by|multiplied by|mod(?:ulo)?)\s(?=[\d$\\])|[xX](?=\s?10))"
)
# Commands behind a box that are words, marks or relations, and no part of its value.
_WORDS = (
    "text(?:bf|it|rm|sf|tt|up|normal|color)?|math(?:rm|bf|it|sf|tt)|mbox|emph|implies|Rightarrow|Longrightarrow|rightarrow"
    "|to|because|therefore|checkmark|blacksquare|square|qed|qquad|quad|end|begin|right|left|newline|hspace|vspace|label|tag"
    "|approx|equiv|sim|simeq|boxed|fbox|neq?|leq?|geq?|lt|gt|color|displaystyle|hfill|par|noindent|Box|operatorname"
)
_AFTER = re.compile(
    rf"(?P<adjacent>[.,]?\d|\$?[A-Za-z](?![A-Za-z])|\()|(?P<gap>(?:{_SPACES}|\}}|\*\*)*)(?P<closed>(?:\$|\\[)\]])*)(?:{_SPACES}|\*\*)*"
    rf"(?P<operator>\\(?!(?:{_WORDS})(?![A-Za-z]))(?:[A-Za-z]+|%)|[A-Za-z]\s?\^|\d|:\s?\d|[*/^_+×·⋅÷±√π%°]"
    rf"|[-−–](?=\s?[\d\\$(√π.]|\s?[A-Za-z](?![A-Za-z]))|(?!{_TAG})[<>≤≥≠]|\\(?:neq?|leq?|geq?|lt|gt)(?![A-Za-z])"
    rf"|(?:\\text\s?\{{\s*)?{_MULTIPLE}|!(?=\s?(?:\$|\\[)\]]))|=\s?[-−]?\d)"
)
_SUFFIX_END = re.compile(r"\$|\\[)\]]|[,;:](?:\s|\Z)|\.(?:\s|\Z)|(?<![\\A-Za-z{])(?!" + _MULTIPLE + r")[A-Za-z]{2,}")


def _suffix(after: str) -> tuple[str, int]:
    """The part of the formula behind a box that changes its value, empty if nothing does; and how far it reaches."""
    found = _AFTER.match(after)
    if found is None:
        return "", 0
    if found["adjacent"]:
        start = 1 if after[0] == "$" else 0
    else:
        start = found.start("operator")
        rest = after[start:]
        if rest[0] == "!" and found["closed"]:
            return "", 0
        if rest.startswith("**") or (rest[0] in "*_" and not re.match(r".\s?[\w\\({]", rest)):
            return "", 0
    end = _SUFFIX_END.search(after, start + 1)
    part = after[start : end.start() if end else None].rstrip()
    return (part if found["adjacent"] or part[0] in "^_!" else f" {part}"), start + len(part)


_DENIED_BEFORE = re.compile(
    r"\b(?:not|isn't|isn’t|wasn't|never|neither|nor|cannot be|can't be|can’t be|rather than|instead of|except|unlike"
    r"|wrong(?:ly)?|incorrect(?:ly)?|exclud\w{1,4}|eliminat\w{1,4}|rul(?:e|es|ed|ing) out)"
    r"(?: (?:just|simply|the|exactly|answer|option|choice|equal to|be|is)){0,3}[^\w.!?;\n]{0,9}\Z"
    r"|\b(?:mistake|error|trap|tempting|temptation)(?: here)?(?: (?:is|was|would be))? to (?:\w{1,12} ){0,2}?"
    r"(?:answer|say|write|conclude|get|think|choose|give)\b[^\w.!?;\n]{0,9}\Z",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[\s$*_)\]}\\]{0,9}\?"
    r"|[\s$*_)\]}\\.\"']{0,9}(?:is|was|isn't|isn’t|wasn't|are|would be|seems|looks|must be|can(?:not|'t|’t) be)\s{1,3}"
    r"(?:(?:clearly|also|actually|therefore|thus|probably|obviously|definitely) )?"
    r"(?:wrong|incorrect|not (?!only|hard|difficult|surpris)|false|impossible|ruled out"
    r"|too (?:small|large|big|high|low|much|many|little|few)\b|my (?:first |initial )?guess"
    r"|the (?:wrong|incorrect)|correct\?)"
    r"|[\s$*_)\]}\\.\"']{0,9}(?:isn't|isn’t|wasn't|can(?:not|'t|’t) be)\b",
    re.IGNORECASE,
)


def denied(before: str, after: str) -> bool:
    """Whether the words right around an answer say that it is none."""
    return bool(_DENIED_BEFORE.search(before) or _DENIED_AFTER.match(after))
