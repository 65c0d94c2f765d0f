r"""Canonical answers: two completions share an answer if and only if their canonical forms are equal.

Text rules only, no algebra: they run in the sampling process for every completion, so they must be fast and must
never hang. What is judged is the canonical form itself, so answers that are merged cannot have different verdicts;
the rules therefore only have to keep what an answer means. ``2*3+4`` and ``4+2*3`` stay two answers.
"""

import re
from fractions import Fraction

# Spaces whose removal cannot join two tokens: next to a bracket, a comma, + or -, or between an operand and * or /.
_SPACE = re.compile(r"[ \t]+")
_JOINS_WORDS = re.compile(r"[\w.]$")
_JOINS_SIGNS = re.compile(r"[*/<>=!&|]$")


def canonical(verifier: str, answer: str) -> str:
    """The canonical form of an extracted answer. Idempotent; never raises."""
    if verifier == "reasoning_gym:countdown":
        return _expression(answer.strip())
    if verifier == "math":
        return _math(answer)
    return answer.strip()


def _expression(text: str) -> str:
    """An arithmetic expression without its spaces, except where they part two tokens ("1 2", "2* *3")."""
    if " " not in text and "\t" not in text:
        return text
    out = ""
    for part in _SPACE.split(text):
        if out and part:
            both_words = _JOINS_WORDS.search(out) and _JOINS_WORDS.match(part[0])
            both_signs = _JOINS_SIGNS.search(out) and _JOINS_SIGNS.match(part[0])
            if both_words or both_signs:
                out += " "
        out += part
    return out


_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
    "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
    "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip
_CHARS = str.maketrans(
    {"−": "-", "–": "-", "∞": "\\infty ", "π": "\\pi ", "×": "\\times ", "·": "\\cdot ", "\u00a0": " "}
    | {char: f"\\frac{{{p}}}{{{q}}}" for char, (p, q) in _VULGAR.items()}
)
_WRAPPED = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_TEXT_ONLY = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}\Z")
_SIZES = re.compile(r"\\(?:left|right|displaystyle)(?![a-zA-Z])|\\[!,;:]")
_FRAC = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_FRAC_DIGITS = re.compile(r"\\frac\s*(\d)\s*(\d)(?!\d)")
_SPACED_COMMA = re.compile(r"\s*,\s*")
_NUMBER = re.compile(r"([+-]?)(\d{1,15}|\d{1,3}(?:,\d{3}){1,4})?(?:\.(\d{0,5}))?\Z")
_RATIO = re.compile(r"([+-]?)\s*(?:\\frac\{(\d{1,15})\}\{(\d{1,15})\}|(\d{1,15})\s*/\s*(\d{1,15}))\Z")


def _math(text: str) -> str:
    for _ in range(4):  # unwrapping may show something else to unwrap
        once = _math_once(text)
        if once == text:
            break
        text = once
    return text


def _math_once(text: str) -> str:
    text = text.translate(_CHARS).strip()
    for left, right in _WRAPPED:
        inner = text[len(left) : -len(right)]
        if len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right):
            if left not in inner and right not in inner:
                text = inner.strip()
            break
    text = text.rstrip(".") if text.endswith(".") and not text.endswith("..") else text
    if text_only := _TEXT_ONLY.match(text):
        text = text_only[1].strip()
    text = _FRAC.sub(r"\\frac", _SIZES.sub("", text))
    text = _FRAC_DIGITS.sub(r"\\frac{\1}{\2}", text)
    text = _SPACED_COMMA.sub(_comma, text)
    text = _latex_spaces(" ".join(text.split()))
    return _number(text) or text


def _comma(match: "re.Match[str]") -> str:
    # "1, 234" is two numbers and "1,234" is one: keep the space that tells them apart.
    before, after = match.string[: match.start()], match.string[match.end() :]
    if match[0] != "," and re.search(r"\d\Z", before) and re.match(r"\d{3}(?!\d)", after):
        return ", "
    return ","


def _latex_spaces(text: str) -> str:
    """Without the spaces beside operators and brackets; those between words and after a backslash stay."""
    return re.sub(r"(?<=[-+*/=(){}\[\]^<>]) (?=\S)|(?<=[^\\\s]) (?=[-+*/=()}\[\]^<>])", "", text)


def _number(text: str) -> str | None:
    """Plain decimals and fractions, exactly: 0.50, .5, 1/2 and \\frac{2}{4} are all 1/2. None for anything else.

    At most 5 decimals: math-verify rounds decimals at 6, so 0.333333 must stay a decimal to equal 1/3.
    """
    if match := _NUMBER.match(text):
        sign, whole, decimals = match.groups()
        if not whole and not decimals:
            return None
        digits = (whole or "0").replace(",", "")
        value = Fraction(int(digits + (decimals or "")), 10 ** len(decimals or ""))
    elif match := _RATIO.match(text):
        sign, p, q = match[1], match[2] or match[4], match[3] or match[5]
        if int(q) == 0:
            return None
        value = Fraction(int(p), int(q))
    else:
        return None
    return str(-value if sign == "-" else value)
