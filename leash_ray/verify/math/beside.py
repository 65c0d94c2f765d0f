r"""What touches a box and changes what it holds: a sign, a factor, a power, a unit, a "not" before it, "or 6" after it.

What can be read with the box is: ``-\boxed{5}``, ``\boxed{5}\times 10^3``, ``\boxed{5}\%``, ``\boxed{5}`` km. Where
something else touches it (``2\boxed{5}``, ``\sqrt{\boxed{5}}``, ``\boxed{5} + 1``, "at least ``\boxed{5}``") the box
alone is no answer. Layout, punctuation, an equals sign before it and words that only go on are of no account.
"""

import re
from typing import NamedTuple

from leash_ray.verify.math.units import UNITS, unit_name

WINDOW = 240
"""Characters that are looked at on either side."""


class Before(NamedTuple):
    """What stands before a box."""

    sign: str = ""
    """To be read with it: ``-``, a currency."""
    brackets: str = ""
    """Those that open right before it."""
    modulo: bool = False
    """Whether it stands behind a congruence sign, so that a modulus may follow it."""
    label: str = ""
    """``x = ``, where the box is the value of a name."""


class After(NamedTuple):
    """What stands after a box, to be read with it."""

    scale: str = ""
    r"""``\times10^{3}``, ``\%``, ``_{2}``"""
    unit: str = ""
    side: str = ""
    """Of an equation that goes on: ``= 10/2``."""


_WORDS_IN = re.compile(r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mbox|operatorname|emph)\s*\{([^{}]*)\}")
_IDLE = re.compile(
    r"\\(?:color|hspace|vspace|label|tag)\*?\s*\{[^{}]*\}|\\(?:displaystyle|textstyle|bf|bfseries|rm|it|centering|left|"
    r"right|big|Big|bigg|Bigg|large|Large|LARGE|huge|Huge|normalsize|noindent)(?![a-zA-Z])|\\!|\u200b"
)
_SPACE = re.compile(r"\\[,;: ]|\\(?:hfill|thinspace|enspace)(?![a-zA-Z])|~")
_BREAK = re.compile(r"\\(?:quad|qquad|newline|par|item)(?![a-zA-Z])|\\\\(?:\[[-0-9a-z. ]{0,9}\])?|&")
_DELIMITER = re.compile(
    r"\\(?:begin|end)\s*\{[^{}]*\}(?:\{[^{}]*\}|\[[^\]]*\])?|\\[()\[\]]|(?<!\\)\$\$?|\\textcolor\s*\{[^{}]*\}(?=\s*\{)"
)
_MINUS = str.maketrans({"−": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "²": "^2", "³": "^3"})
# Around a box these go on, or are its layout.
_HARMLESS = frozenset(
    {
        "implies", "Rightarrow", "Longrightarrow", "rightarrow", "longrightarrow", "to", "iff", "Leftrightarrow",
        "leadsto", "therefore", "because", "since", "approx", "simeq", "equiv", "colon", "coloneqq", "triangleq", "in",
        "blacksquare", "square", "Box", "qed", "checkmark", "hline", "ding", "boxed",
    }
)  # fmt: skip
_WRAPPERS = frozenset(
    {
        "text", "textbf", "textit", "textrm", "mathbf", "mathrm", "mathit", "boldsymbol", "bm", "emph", "underline",
        "mbox", "large", "Large", "displaystyle",
    }
)  # fmt: skip
_OPERATORS = frozenset(["times", "cdot", "div", "pm", "mp", "ast"])
_MATH_CHARS = frozenset("+-*/^_|<>%!'°′√∛×÷·⋅∙±∓≠≤≥¬∞π€£¥½⅓⅔¼¾⁰¹⁴⁵⁶⁷⁸⁹⁻=")

_NOT = r"(?:\b(?:not|never|cannot|without|except)|n['’]t)"
_CHANGED_BEFORE = re.compile(
    rf"{_NOT}(?:\s+\w+){{0,3}}\s*\Z"
    r"|\b(?:minus|negative|plus|times|twice|thrice|double|half|triple|divided by|over|under|than|at (?:least|most)"
    r"|up to|above|below|between|from|either|neither|n?or|and|instead of|would have been|versus|vs\.?|exceeds?"
    r"|mod(?:ulo)?"
    r"|(?:anything|all|nothing) but|outside|excluding|complement of"
    r"|one of the \w+ is|[0-9][\s]*(?:in|out of|of|to|per|for|through)"
    r"|(?:roots?|factorial|squared?|cubed?|half|multiple|reciprocal|inverse|opposite|negative|power|third|quarter|percent"
    r"|logarithm|sine|cosine) of"
    r"|(?:wrong|incorrect|mistaken|tempting|naive|initial) (?:answer|value|result|solution|guess)"
    r"(?: (?:is|was|would be))?:?"
    r"|(?:mistake|error|trap|tempting|temptation)(?: here)?(?: (?:is|was|would be))? to (?:\w{1,12} ){0,2}?"
    r"(?:answer|say|write|conclude|get|think|choose|give)(?: (?:that|it|is|with|it's|the|answer)){0,4})\s*\Z",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if|suppos\w{1,4}|assum\w{1,4}|whether|unless|doubt\w{0,3})\b[^.,;:!?\n]{0,80}\Z", re.IGNORECASE
)
_CONCLUDED = re.compile(r"\b(?:then|thus|so|therefore|hence|we|must|only)\b", re.IGNORECASE)
_LABEL = re.compile(
    r"(?:(?<=[\s$,;({])|\A)((?:[a-zA-Z]|\\[a-zA-Z]{2,10})(?:_\{?[0-9a-zA-Z]\}?)?(?:\([a-zA-Z0-9]\))?)\s*=[\s$]*\Z"
)
_CHANGED_AFTER = re.compile(
    r"(?:(?:hundred|thousand|million|billion|trillion|dozen)s?|squared|cubed|factorial|halves|thirds|quarters|fourths|fifths"
    r"|tenths|hundredths|plus|minus|divided|multiplied|raised|mod|modulo|pi|choose|percentage points?"
    r"|out of|but|if|unless|when|only if|assuming|provided|except|(?:is )?too|is (?:only |just )?(?:one|part) of"
    r"|times (?:[0-9$\\]|the|as|a)|(?:more|less|fewer|greater|larger|smaller) than"
    r"|(?:over|to|and|or)\s*(?:\(?[-$\s]*[0-9\\.]|an? half"
    r"|one|two|three|[a-z]\b)|or (?:more|less|fewer|so|greater|above|below|maybe|perhaps|possibly|higher|lower))\b"
    r"|(?:over|to|and|or|of)\s*[-$(\s]*[0-9\\.]",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"(?!\W{0,9}(?:since|because|as|while)\b)"
    rf"(?:[^\w.!?\n]*(?:\w+[^\w.!?\n]+){{0,4}}?(?:{_NOT}|\b(?:wrong|incorrect|invalid|extraneous|impossible|rejected|false)\b)"
    r"|[^\w.!?\n]*(?:\w+[^\w.!?\n]+){0,4}?\w+n['’]t\b)",
    re.IGNORECASE,
)
_HEDGED_AFTER = re.compile(r"\s*(?:or|and)?[\s$(]*-?\.?[0-9]|\s*\(?\s*or\b", re.IGNORECASE)
_ANOTHER_AFTER = re.compile(
    r"[\s$]*(?:(?:and|but)\s+)?(?:not|but|-?\\[a-z]*frac|(?:the )?(?:second|other|next)|another)\b", re.IGNORECASE
)
_TEN = re.compile(r"\s*(?:\\times|\\cdot|×|·|⋅|\*|[xX])\s*10\s*\^\s*\{?\s*([-+]?\s?[0-9]{1,3})\s*\}?")
_BASE = re.compile(r"_\s*\{?\s*([0-9]{1,2})\s*\}?")
_DEGREE = re.compile(r"(?:\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-zA-Z])|°|degrees?\b)\s*(?:([CF])(?![a-zA-Z]))?")
_PERCENT = re.compile(r"\\?%|percent\b(?! points?)")
_UNIT_PART = r"[A-Za-zÅ]+(?:\s?\^\s?\{?-?[0-9]\}?)?"
_UNIT = re.compile(rf"((?:(?:square|cubic|sq)\s)?{_UNIT_PART}(?:\s?(?:/|per\b)\s?{_UNIT_PART}){{0,2}})")
_IN_END = re.compile(r"in\s*(?:[.,;:!?)$^\n]|\Z)")
_SIDE = re.compile(r"\s*(=|\\approx|\\simeq|≈)\s*([^$\n,;]{0,120})")
_SIDE_END = re.compile(r"\.(?:\s|\Z)|\\[)\]]")
_TAG = re.compile(r"<(?:/?[a-zA-Z][^<>\n]{0,40}>|[|!])")


def plain(text: str) -> str:
    r"""The window in few signs: ``$`` for every delimiter of a formula, a line break for every break in its layout."""
    text = text.translate(_MINUS)
    for pattern, plain in (
        (_WORDS_IN, r" \1 "), (_BREAK, "\n"), (_DELIMITER, "$"), (_IDLE, ""), (_SPACE, " ")
    ):  # fmt: skip
        text = pattern.sub(plain, text)
    return text


_IDLE_BEFORE = re.compile(r"(?:[\s\"“`']|(?<!\\)\$)+\Z")
_STARS = re.compile(r"(?:\*{1,3}|_{1,3})\Z")
_OPENED = re.compile(r"(?:(?<=[\s${=:])|\A|\\([a-zA-Z]+)\s*)\{\Z")
_CURRENCY = re.compile(r"(\\\$|€|£)\s*\Z")
_LAST_WORD = re.compile(r"(\\?)([^\W\d_]+(?:['’][a-z]+)?)\*?\Z")
_TAG_BEFORE = re.compile(r"(?:<[/|]?[a-zA-Z][^<>\n]{0,40}|[-=]|(?:\A|\n)\s*)>\Z")


def before(text: str, at: int) -> Before | None:
    """What stands before the box at ``at``; None where it changes what the box holds, and cannot be read with it."""
    left = rest = plain(text[max(0, at - WINDOW) : at])
    brackets = sign = ""
    while True:
        if idle := _IDLE_BEFORE.search(rest):
            rest = rest[: idle.start()]
        elif (stars := _STARS.search(rest)) and _are_marks(rest[: stars.start()], stars[0], left[len(rest) :]):
            rest = rest[: stars.start()]
        elif opened := _OPENED.search(rest):
            if opened[1] and opened[1] not in _WRAPPERS:
                return None
            rest = rest[: opened.start()]
        elif rest.endswith(("(", "[")):
            brackets, rest = rest[-1] + brackets, rest[:-1]
        elif not sign and (money := _CURRENCY.search(rest)):
            sign, rest = money[1], rest[: money.start()]
        else:
            break
    gap = left[len(rest) :]
    found = Before(sign, brackets)
    if not rest:
        return found
    if rest[-1] in "-–":
        return _behind_dash(rest, gap, found)
    if rest[-1].isdigit():
        return found if "\n" in gap else None
    if word := _LAST_WORD.search(rest):
        if word[1]:
            fine = word[2] in _HARMLESS
            return found._replace(modulo=word[2] == "equiv") if fine else None
        if len(word[2]) == 1 and not ("\n" in gap or (gap and word[2] in "aAI")):
            return None
        return None if (brackets and not gap[0].isspace()) or _changed_by_words(rest, gap) else found
    if rest[-1] == "=":
        return None if _NO_EQUALS.search(rest) else _labelled(rest, found)
    if rest[-1] in ",;":
        return None if _is_listed(rest[:-1]) else found
    if rest[-1] == "{":  # an argument: of a fraction, a power, a root
        return None
    if rest[-1] in "≈≡":
        return found._replace(modulo=rest[-1] == "≡")
    if rest[-1] == ">":
        return found if _TAG_BEFORE.search(rest) else None
    if rest[-1] in ")]}!":  # of a sentence, or of a factor
        return found if "\n" in gap or (rest[-1] != "}" and gap[:1].isspace()) else None
    if rest[-1] in ":." and not gap and not rest[-2:-1].isalpha():  # 3:5, 0.5
        return None
    return None if rest[-1] in _MATH_CHARS else found


def _behind_dash(rest: str, gap: str, found: Before) -> Before | None:
    """A minus sign, a bullet, a rule of dashes, or a dash between words."""
    earlier = rest[:-1]
    line = earlier.rpartition("\n")[2]
    spaced = gap[:1].isspace()
    if not line.strip("-– \t"):
        if line.strip():  # a rule
            return found if "\n" in gap else None
        if spaced:
            return found if "$" in gap else None  # a bullet; without a delimiter, it may be a minus sign
    elif spaced and earlier[-1:].isspace() and re.search(r"(?:[^\W\d_]{2,}|[:.)*])\s+\Z", earlier):
        return found
    earlier = earlier.rstrip("$ ")
    word = _LAST_WORD.search(earlier)
    stands_first = earlier[-1:] in "=:,;([\n" or (word and (len(word[2]) > 1 if not word[1] else word[2] in _HARMLESS))
    if not stands_first or found.brackets or _changed_by_words(earlier, gap):
        return None
    return found._replace(sign="-" + found.sign)


def _changed_by_words(rest: str, gap: str) -> bool:
    words = " ".join(rest.rpartition("\n")[2].replace("$", " ").split())
    measured = re.search(r"[0-9]\s*([A-Za-z]+)\Z", words)  # 5 feet \boxed{6} inches
    if measured and measured[1] != "in" and measured[1] in UNITS:
        return True
    if "\n" not in gap and (supposed := _SUPPOSED.search(words)):
        return not _CONCLUDED.search(supposed[0])
    return bool(_CHANGED_BEFORE.search(words))


def _is_listed(rest: str) -> bool:
    """Whether a comma's left is another value, or the beginning of something in brackets."""
    clause = re.split(r"[.;:!?\n]\s", rest)[-1]
    depth = 0
    for char in clause:
        depth = max(0, depth + (char in "([") - (char in ")]"))
    last = clause.rpartition(",")[2]
    return depth > 0 or ("=" not in last and bool(re.search(r"(?:[0-9][)\]]?|\})\s*\$?\s*\Z", last)))


def _are_marks(earlier: str, stars: str, gap: str) -> bool:
    """Whether stars are markdown's, or a bullet: not a product's."""
    if gap[:1].isspace():
        return not earlier.rpartition("\n")[2].strip() or (len(stars) > 1 and not earlier[-1:].isspace())
    return not earlier or earlier[-1] in ' \n\t$(:"'


def after(text: str, end: int, found: Before) -> After | None:
    """What stands after the box whose brace closes at ``end``, as :func:`before` for what stands before it."""
    right = plain(text[end + 1 : end + 1 + WINDOW])
    at, open_brackets, scale = 0, len(found.brackets), ""
    while at < len(right):
        if idle := _IDLE_AFTER.match(right, at):
            at = idle.end()
        elif open_brackets and right[at] in ")]":
            open_brackets, at = open_brackets - 1, at + 1
        elif not scale and (measure := _scale(right, at)):
            scale, at = measure
        else:
            break
    gap, rest = right[:at], right[at:]
    if open_brackets and rest.startswith((",", ";")):
        return None
    if not rest:
        return After(scale)
    if rest.startswith(("...", "…")):
        return None
    if "\n" in gap:  # the next line goes on only with an operator, or with another answer
        command = re.match(r"\\([a-zA-Z]+)", rest)
        operator = rest[0] in "^_/×·÷" or (command and command[1] in _OPERATORS)
        return None if operator or re.match(r"or\b", rest, re.IGNORECASE) else After(scale)
    if side := _SIDE.match(rest):
        said = _SIDE_END.split(side[2], maxsplit=1)[0].strip()
        return After(scale, side=f"{'=' if side[1] == '=' else chr(92) + 'approx '}{said}") if said else After(scale)
    char, following = rest[0], rest[1:]
    if char in ".,;:":
        return None if _goes_on(char, following, found.label) else After(scale)
    if char == "\\":
        command = re.match(r"\\([a-zA-Z]+)", rest)
        name = command[1] if command else ""
        if name in ("pmod", "bmod", "mod"):
            return _modulo(rest, scale, found)
        return After(scale) if name in _HARMLESS and not _TO_VALUE.match(rest) else None
    if char.isdigit() or char in "[{?":
        return None
    if char.isalpha():
        return _words(rest, gap, scale, found.label)
    if char == "(":
        if not gap[-1:].isspace():
            return None
        if _DENIED_AFTER.match(rest):
            return None
        if re.match(r"\(\s*(?:mod|\\[pb]?mod)", rest):
            return _modulo(rest, scale, found)
        return None if re.match(r"\([\s$]*(?:[-+.\\]|or\b|not\b)", rest, re.IGNORECASE) else After(scale)
    if char == "!":
        return After(scale) if "$" in gap else None
    if char == "<":
        return After(scale) if _TAG.match(rest) else None
    if char in "-–":
        return After(scale) if gap[-1:].isspace() and re.match(r"[-–]+\s+[^\W\d_]{2,}", rest) else None
    return None if char in _MATH_CHARS or char in "✗✘❌" or _TO_VALUE.match(rest) else After(scale)


def _modulo(rest: str, scale: str, found: Before) -> After | None:
    """A modulus: of a congruence, it leaves the box as it is."""
    modulus = re.match(r"[({\s]*(?:\\[pb]?mod|mod)[({\s]*[^\s)}$]{1,20}[\s)}$]*", rest)
    fine = found.modulo and modulus and not _HEDGED_AFTER.match(rest[modulus.end() :].lstrip(", "))
    return After(scale) if fine else None


_TO_VALUE = re.compile(r"(?:[→⇒➜⟹]|\\[A-Za-z]*(?:arrow|to|implies))[\s$]*-?[0-9]")
_NO_EQUALS = re.compile(r"(?:[!<>/]|\\l?not)\s*=\Z")
_IDLE_AFTER = re.compile(r"[\s$}\"”`]+|(?:\*{1,3}|__)(?=[\s.,;:!?)\"$]|\Z)")


def _scale(right: str, at: int) -> tuple[str, int] | None:
    """A power of ten, percent, degrees, or the base of a number, and where it ends."""
    if match := _TEN.match(right, at):
        return f"\\times 10^{{{match[1].replace(' ', '')}}}", match.end()
    if match := _PERCENT.match(right, at):
        return "\\%", match.end()
    if match := _DEGREE.match(right, at):
        return "^\\circ" + (f"\\text{{{match[1]}}}" if match[1] else ""), match.end()
    if match := _BASE.match(right, at):
        return f"_{{{match[1]}}}", match.end()
    return None


def _goes_on(char: str, following: str, label: str) -> bool:
    """Whether punctuation is within a number, a ratio or a list: .5  ,000  :3  , 6  , or 6  , x = 6."""
    if char == ".":
        return following[:1].isdigit()
    if char == ":":
        return bool(re.match(r"[\s$]*[0-9]", following))
    if _HEDGED_AFTER.match(following) or _ANOTHER_AFTER.match(following):
        return True
    return _same_name_again(following, label)


_CONDITION = re.compile(
    r"[\s$]*(?:(?:and|or|with|for)\b[\s$]*)?\\?[a-zA-Z]+\s*(?:[<>≤≥≠]|\\(?:neq?|not|leq?|geq?|[lg]t)\b)"
)


def _same_name_again(following: str, label: str) -> bool:
    if _CONDITION.match(following):
        return True
    again = re.match(r"[\s$]*(?:(?:and|or)\b[\s$]*)?([a-zA-Z\\]\S{0,12})\s*=", following) if label else None
    return bool(again and again[1] + "=" == label.replace(" ", ""))


def _labelled(rest: str, found: Before) -> Before | None:
    """The name that the box is the value of; None where the same name has another value before it: x = 6 or x = 5."""
    label = _LABEL.search(rest)
    if not label:
        return found
    name = re.escape(label[1])
    if re.search(rf"(?<![a-zA-Z\\]){name}\s*=[^=]{{1,40}}(?:,|;|\bor\b|\band\b)[\s$]*\Z", rest[: label.start(1)]):
        return None
    return found._replace(label=f"{label[1]}=")


def denied(after: str) -> bool:
    """Whether the words that follow an answer call it wrong: "is wrong", "(incorrect)"."""
    return bool(_DENIED_AFTER.match(after[:WINDOW]))


def _words(rest: str, gap: str, scale: str, label: str) -> After | None:
    if _CHANGED_AFTER.match(rest) or _DENIED_AFTER.match(rest) or _same_name_again(rest, label):
        return None
    unit = "" if _is_preposition(rest) else unit_at_start(rest)
    word = re.match(r"[^\W\d_]+", rest)
    assert word is not None
    if not gap and not (unit and len(word[0]) > 1):  # a letter that touches is a factor
        return None
    if not unit and len(word[0]) == 1 and word[0] not in "aAI":
        return None
    if unit and re.match(r"[\s$]*(?:,|and\b)?[\s$]*[0-9]", rest[len(unit) :]):  # 5 feet 6 inches
        return None
    return After(scale, unit)


def _is_preposition(rest: str) -> bool:
    return rest[:2] == "in" and not rest[2:3].isalpha() and not _IN_END.match(rest)


def unit_at_start(rest: str) -> str:
    """The longest unit that ``rest`` begins with; "per hour" is what a unit in the box goes on with."""
    if per := re.match(r"per\s+[A-Za-z]+", rest):
        return per[0]
    match = _UNIT.match(rest)
    while match:
        if unit_name(match[1].replace("\\", "")):
            return match[1]
        shorter = re.match(r"(.*\S)\s?(?:/|per\b)", match[1]) or re.match(r"(\S+)\s", match[1])
        match = shorter
    return ""
