r"""One physical quantity out of a short text: a number, perhaps a product or quotient of a few, and its unit.

``3.0 \times 10^8 m/s``, ``3.0e8``, ``1{,}234.5``, ``\frac{1}{2}``, ``2\sqrt{3}``, ``π/2``, ``x = 3.2``, ``about 3.2``,
``3.2 ± 0.1 m``, ``25 \%``, ``1.2 million``. Sums and differences are no quantity here: 3-5 is a range. Nothing is
evaluated by anyone's ``eval``; numbers have at most 60 digits, exponents at most 400, and texts 300 characters.
"""

import re
from decimal import Context, Decimal, DecimalException, localcontext
from functools import lru_cache
from typing import NamedTuple

from leash_ray.verify.plain import unwrapped
from leash_ray.verify.units import SUPERSCRIPTS, Factors, are_units, parse_unit, unit_text, unlatexed

MAX_CHARS = 300
_MAX_DIGITS = 60
_MAX_EXPONENT = 400
_SIGNIFICANT = 15  # of a computed number
_MAX_DEPTH = 4
_CONTEXT = Context(prec=_MAX_DIGITS + 10, Emax=4 * _MAX_EXPONENT, Emin=-4 * _MAX_EXPONENT)
_PI = Decimal("3.14159265358979323846264338327950288419716939937511")


class Quantity(NamedTuple):
    """A number and its unit."""

    value: Decimal
    unit: Factors = ()
    uncertainty: Decimal | None = None
    """What follows ±."""

    def __str__(self) -> str:
        """Canonical: equal quantities in one unit have one text, and reading it gives the quantity."""
        parts = [_decimal_text(self.value)]
        if self.uncertainty is not None:
            parts += ["±", _decimal_text(self.uncertainty)]
        return " ".join([*parts, unit_text(self.unit)]) if self.unit else " ".join(parts)


class _NoNumber(ValueError):
    """The text is no single number."""


def read_quantity(text: str) -> Quantity | None:
    """The quantity that ``text`` is, all of it; None if it is anything else."""
    return _read(text) if len(text) <= MAX_CHARS else None


@lru_cache(maxsize=20_000)  # most completions of a problem repeat an answer
def _read(text: str) -> Quantity | None:
    sides = _sides(_plain(text))
    said = _quantity(sides[-1]) if sides else None
    if (
        said is None
        or (len(sides) > 1 and not _is_named(sides[0]))
        or not all(_may_equal(_quantity(side), said) for side in sides[:-1])
    ):
        return None
    return said


def _quantity(side: str) -> Quantity | None:
    if re.search(r"\([^()]*,", side):  # (1,234) is a pair of numbers
        return None
    try:
        with localcontext(_CONTEXT):
            return _Reader(side).quantity()
    except (_NoNumber, DecimalException):
        return None


_ARITHMETIC = re.compile(
    r"\\(?:frac|sqrt|times|cdot|log|ln|exp|sin|cos|tan|left|right|quad|degree|circ)(?![A-Za-z])|[π√°]|\be(?=\s?\^)"
)
_OWN = re.compile(r"_\s?(?:\{[^{}]*\}|\\?\w+)|\([^()]*\)|\^\s?\{?\s?(?:\\(?:circ|ominus|ast|prime|star)|[*'°])\s?\}?")
_WRAPPER = re.compile(r"\\(?:text|mathrm|mathbf|mathit|vec|bar|hat|dot|tilde|overline|operatorname)\s?\{([^{}]*)\}")
_OF_VARIABLES = re.compile(
    r"[*/^|+±√<>]|(?<![A-Za-z]{2})-|-(?![A-Za-z]{2})|\d|\\(?:frac|sqrt|times|cdot|log|ln|exp|sin|cos|tan|pm|ln)(?![A-Za-z])"
)


def _is_named(side: str) -> bool:
    """Whether what is said to equal a number is a name or arithmetic, and no formula of a name: 2x = 5 says nothing of
    5."""
    if (found := _quantity(side)) is not None:
        return are_units(found.unit)
    if not re.search("[A-Za-z]", _ARITHMETIC.sub("", side)):
        return True
    return not _SUPPOSES.search(side) and not _OF_VARIABLES.search(_OWN.sub("", _WRAPPER.sub(r"\1", side)))


_SUPPOSES = re.compile(
    r"\b(?:assum\w*|suppos\w*|guess\w*|hypothe\w*|let|if|say|try|test|not|unless|except|wrong|incorrect|false)\b"
    r"|\A(?:given|take|with|where|for)\b",
    re.IGNORECASE,
)


def _may_equal(side: Quantity | None, said: Quantity) -> bool:
    """Whether ``said`` may stand after ``side`` and an equals sign: 6 = 5 says nothing. Units are not converted."""
    if side is None or side.uncertainty is not None or side.unit != said.unit:
        return True
    return abs(side.value - said.value) <= _ROUNDED * max(abs(side.value), abs(said.value))


def canonical_quantity(text: str) -> str:
    """The quantity's canonical text; what is none, as it stands but for wrappings and spaces. Idempotent."""
    found = read_quantity(text)
    return unwrapped(text) if found is None else str(found)


_VULGAR = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8",
}  # fmt: skip
_GROUPED = re.compile(r"(?<=\d)(?:\\[,!]|\{,\}|[\u2009\u202f\u00a0])(?=\d{3}(?!\d))", re.ASCII)
_SUPERSCRIPT = re.compile(r"(?<=[\d)π])[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_WORDS = (
    (re.compile(r"\^\s?\{?\s?(?:\\circ|\\degree|°)(?![A-Za-z])\s?\}?"), "°"),
    (re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])|[×⋅∙]|(?<=\d)\s?·"), "*"),
    (re.compile(r"(?<=[\d.])\s?[xX](?=\s?10\s?(?:\^|\*\*))"), "*"),
    (re.compile(r"\\pm(?![A-Za-z])|\+/-|\+-"), "±"),
    (re.compile(r"\\pi(?![A-Za-z])"), "π"),
    (re.compile(r"√|\\sqrt(?![A-Za-z])"), "√"),
    (re.compile(r"\\(?:left|right|displaystyle|big|Big)(?![A-Za-z])"), ""),
    (re.compile(r"\\[,;:! ]"), " "),
    (re.compile(r"\\(?:approx|simeq|sim|cong)(?![A-Za-z])|≃|≅|≈"), "≈"),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
)
_ABOUT = re.compile(r"\A(?:≈|~|(?:about|approximately|approx\.?|roughly|around|circa|ca\.)\s)\s*", re.IGNORECASE)


def _plain(text: str) -> str:
    text = _GROUPED.sub("", text)  # before thin spaces become spaces: 1 234 may be two numbers
    text = _SUPERSCRIPT.sub(lambda m: f"^({m[0].translate(SUPERSCRIPTS)})", text)
    text = unwrapped(text).replace("$", "")
    text = text.replace("\\(", "").replace("\\)", "")
    for pattern, plain in _WORDS:
        text = pattern.sub(plain, text)
    return text.strip()


_ROUNDED = Decimal("0.02")
_EQUALS = re.compile("[=≈]")


def _sides(text: str) -> list[str]:
    """What equals signs stand between; empty where several things are equalled: x = 3, y = 5."""
    sides = _EQUALS.split(text)
    separators = r"[,;<>≠≤≥]|\b(?:and|or)\b|\\(?:neq?|leq?|geq?|ldots|text\{ ?(?:and|or))"
    if any(re.search(separators, side) for side in sides[:-1]):
        return []
    sides = [side.strip() for side in sides]
    for _ in range(3):
        sides[-1] = _ABOUT.sub("", sides[-1])
    return sides


_NUMBER = re.compile(
    r"(?P<whole>\d{1,3}(?:,\d{3})+(?![\d,])|\d+)?(?P<decimals>\.\d*)?(?:[eE](?P<ten>[-+]?\d{1,4})(?![\d.]))?", re.ASCII
)
_POWER = re.compile(
    r"\s?(?:\^|\*\*)\s?(?:\{\s?([-+]?\s?\d{1,4})\s?\}|\(\s?([-+]?\s?\d{1,4})\s?\)|([-+]?\d{1,4})(?![\d.]))", re.ASCII
)
_EXPONENT = re.compile(r"\s?(?:\^|\*\*)")
_DIGIT = re.compile(r"\s?(\d)", re.ASCII)
_DIGITS = re.compile(r"\s?(\d{1,20})(?![\d.,])", re.ASCII)
_MULTIPLES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_MULTIPLE = re.compile(r"\s?(?:\*\s?)?(thousand|million|billion|trillion)\b\s?")


class _Reader:
    """Reads a quantity from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0
        self.computed = False
        """Whether the number was calculated, and so is rounded."""

    def quantity(self) -> Quantity:
        wrapped = re.match(r"\(([^()]*±[^()]*)\)(.*)\Z", self.text, re.DOTALL)  # (3.2 ± 0.1) m
        if wrapped:
            self.text = f"{wrapped[1]} {wrapped[2]}"
        value = self.product()
        uncertainty = None
        self.skip()
        if self.text.startswith("±", self.at):
            self.at += 1
            uncertainty = abs(self.product())
        rest = self.text[self.at :].strip()
        if multiple := _MULTIPLE.match(words := unlatexed(rest)):  # \text{ million}, too
            value = value.scaleb(_MULTIPLES[multiple[1]])
            rest = words[multiple.end() :].strip()
        if rest[:1].isdigit() or rest[:1] in tuple("+-.,^√π"):
            raise _NoNumber
        unit = parse_unit(rest)
        if unit is None or (rest and not unit):
            raise _NoNumber
        if any(name in _MULTIPLES for name, _ in unit):  # 5 / million; written out, it would read as five million
            raise _NoNumber
        if not value.is_finite() or (uncertainty is not None and not uncertainty.is_finite()):  # 0^{-1}
            raise _NoNumber
        if abs(value.adjusted()) > 2 * _MAX_EXPONENT:
            raise _NoNumber
        if self.computed:
            value = Context(prec=_SIGNIFICANT).plus(value)
        return Quantity(value, unit, uncertainty)

    def skip(self) -> None:
        while self.text.startswith(" ", self.at):
            self.at += 1

    def product(self) -> Decimal:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _NoNumber
        self.skip()
        sign = 1
        if self.text[self.at : self.at + 1] in ("-", "+"):
            sign = -1 if self.text[self.at] == "-" else 1
            self.at += 1
            self.skip()
        value = self.required()
        divided = False
        while True:
            here = self.at
            self.skip()
            mark = self.text[self.at : self.at + 1]
            if mark in ("*", "/") and mark:
                self.at += 1
                self.skip()
                if self.text[self.at : self.at + 1] == "-":
                    raise _NoNumber
                factor = self.factor()
                if factor is None:  # the unit begins: 5 / s
                    self.at = here
                    break
                if divided:  # 1/2*3 and 1/2/3 mean different things to different people
                    raise _NoNumber
                divided = mark == "/"
                self.computed |= divided
                value = value / factor if divided else value * factor
            elif mark in ("π", "√", "(") and mark:
                factor = self.factor()
                if factor is None:
                    self.at = here
                    break
                if divided:
                    raise _NoNumber
                value = value * factor
            else:
                self.at = here
                break
        self.depth -= 1
        return sign * value

    def required(self) -> Decimal:
        value = self.factor()
        if value is None:
            raise _NoNumber
        return value

    def factor(self) -> Decimal | None:
        """One factor with its power; None where none begins, and nothing is read."""
        text, here = self.text, self.at
        first = text[here : here + 1]
        if first == "π":
            self.at += 1
            self.computed = True
            return self.powered(_PI)
        if first == "√":
            self.at += 1
            self.computed = True
            return self.rooted()
        if first in ("(", "{"):
            value = self.bracketed(")" if first == "(" else "}")
            return None if value is None else self.powered(value)
        if text.startswith("\\frac", here):
            return self.fraction()
        if first in _VULGAR:
            return self.vulgar()
        return self.number()

    def number(self) -> Decimal | None:
        match = _NUMBER.match(self.text, self.at)
        whole, decimals = (match["whole"], match["decimals"]) if match else (None, None)
        if match is None or not (whole or (decimals and len(decimals) > 1)):
            return None
        if len(match[0]) > _MAX_DIGITS:
            raise _NoNumber
        ten = int(match["ten"] or 0)
        if abs(ten) > _MAX_EXPONENT:
            raise _NoNumber
        self.at = match.end()
        value = Decimal((whole or "0").replace(",", "") + (decimals or "")).scaleb(ten)
        if self.text[self.at : self.at + 1] in _VULGAR:  # 3½
            return value + self.vulgar()
        return self.powered(value)

    def vulgar(self) -> Decimal:
        p, _, q = _VULGAR[self.text[self.at]].partition("/")
        self.at += 1
        self.computed = True
        return Decimal(p) / Decimal(q)

    def powered(self, base: Decimal) -> Decimal:
        match = _POWER.match(self.text, self.at)
        if match is None:
            if _EXPONENT.match(self.text, self.at):
                raise _NoNumber
            return base
        self.at = match.end()
        exponent = int((match[1] or match[2] or match[3]).replace(" ", ""))
        if abs(exponent) > (_MAX_EXPONENT if base == 10 else 64):
            raise _NoNumber
        self.computed |= base != 10
        return Decimal(1).scaleb(exponent) if base == 10 else base**exponent

    def rooted(self) -> Decimal:
        if self.text.startswith("[", self.at):
            raise _NoNumber
        if self.text[self.at : self.at + 1] in ("{", "("):
            value = self.bracketed(")" if self.text[self.at] == "(" else "}")
        elif whole := _DIGITS.match(self.text, self.at):
            self.at = whole.end()
            value = Decimal(whole[1])
        else:
            value = None
        if value is None or value < 0:
            raise _NoNumber
        return value.sqrt()

    def bracketed(self, close: str) -> Decimal | None:
        """A product in brackets; None, and nothing read, where the brackets hold something else."""
        here, depth = self.at, self.depth
        self.at += 1
        try:
            value = self.product()
            self.skip()
            if not self.text.startswith(close, self.at):
                raise _NoNumber
        except _NoNumber:
            self.at, self.depth = here, depth
            return None
        self.at += 1
        return value

    def fraction(self) -> Decimal | None:
        here = self.at
        self.at += len("\\frac")
        self.skip()
        parts: list[Decimal] = []
        for _ in range(2):
            if digit := _DIGIT.match(self.text, self.at):
                self.at = digit.end()
                parts.append(Decimal(digit[1]))
                continue
            self.skip()
            inner = self.bracketed("}") if self.text.startswith("{", self.at) else None
            if inner is None:
                self.at = here
                return None
            parts.append(inner)
        self.computed = True
        return self.powered(parts[0] / parts[1])


def _decimal_text(value: Decimal) -> str:
    """Without zeros that say nothing: 300, 0.5, 3e20."""
    if not value:
        return "0"
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    assert isinstance(exponent, int)
    exponent += len(digits) - len(text)
    adjusted = exponent + len(text) - 1
    minus = "-" if sign else ""
    if -6 <= adjusted <= 15:
        if exponent >= 0:
            return minus + text + "0" * exponent
        if adjusted >= 0:
            return f"{minus}{text[: adjusted + 1]}.{text[adjusted + 1 :]}"
        return f"{minus}0.{'0' * (-adjusted - 1)}{text}"
    return f"{minus}{text[0]}{'.' if len(text) > 1 else ''}{text[1:]}e{adjusted}"
