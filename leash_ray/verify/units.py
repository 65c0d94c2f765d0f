r"""Units of measurement as text, and conversions between them by pint.

pint evaluates what it is given, so it is only ever given single names: the grammar here reads products, quotients and
powers (``kJ mol^-1``, ``m/s^2``, ``\mathrm{~J} \mathrm{~K}^{-1}``, ``\frac{\text{m}}{\text{s}}``, ``km per hour``) and
bounds the exponents. After a ``/`` all factors up to the next one are below the line: J/mol K is J/(mol K).
"""

import functools
import re
from typing import Any, NamedTuple

MAX_CHARS = 120
_MAX_FACTORS = 10
_MAX_EXPONENT = 12

Factors = tuple[tuple[str, str], ...]
"""(name, exponent), sorted by name; exponents are integers or halves as text, such as -1 or 1/2."""


class UnknownUnit(ValueError):
    """A name that is no unit."""


class Mismatch(ValueError):
    """Units of different dimensions."""


_DEGREES = re.compile(
    r"(?:°|\b(?:degrees?|deg)\b)\s*"
    r"(?:(?P<c>C(?![a-zA-Z])|(?i:celsius|centigrade)\b)|(?P<f>F(?![a-zA-Z])|(?i:fahrenheit)\b))"
)
_COMMAND = re.compile(
    r"\\(?:text(?:rm|bf|it|normal|sf)?|math(?:rm|bf|it|sf|normal)|operatorname|mbox|rm|bf|it)\s{0,2}\{([^{}]*)\}"
)
_DEGREE = re.compile(r"\^\s?\{?\s?(?:\\circ|\\degree|°)(?![A-Za-z])\s?\}?|\\(?:degree|circ)(?![A-Za-z])")
_POWER = re.compile(r"\^\s{0,2}\{\s{0,2}([-+]?)\s{0,2}(\d{1,3}(?:/2)?)\s{0,2}\}")
_LATEX = (
    (re.compile(r"\\[dtc]?frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}"), r" (\1)/(\2) "),
    (re.compile(r"\(\s?1\s?\)\s?/"), "/"),
    (re.compile(r"\\mathring\s?\{?A\}?|\\AA(?![A-Za-z])|\\r\{A\}"), "Å"),
    (re.compile(r"\\(?:Omega|ohm)(?![A-Za-z])"), "Ω"),
    (re.compile(r"\\(?:mu|micro)(?![A-Za-z])\s?"), "µ"),
    (re.compile(r"\\(?:cdot|times|ast)(?![A-Za-z])|[·⋅×∙•]"), "*"),
    (re.compile(r"\\[,;:! ]|\\(?:quad|left|right|rm|bf)(?![A-Za-z])|[~$]"), " "),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\bper\b"), "/"),
    (re.compile(r"[{}]"), " "),
)
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUPERSCRIPT = re.compile(r"[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_TOKEN = re.compile(
    r"\s*(?:(?P<name>%|°|[A-Za-zµΩÅ]+)"
    r"(?:\s?(?:\^|\*\*)\s?(?P<power>\(\s?[-+]?\d{1,2}(?:/2)?\s?\)|[-+]?\d{1,2}(?![\d/.]))|(?P<bare>[-+]?\d)(?![\d.]))?"
    r"|(?P<mark>[*/()]))"
)


def unlatexed(text: str) -> str:
    """Unit text without LaTeX: names, numbers and the marks ``* / ^ ( )``."""
    text = text.replace("μ", "µ").replace("\u2126", "Ω").replace("\u212b", "Å").replace("−", "-").replace("℃", "°C")
    text = _POWER.sub(lambda m: f"^({m[1]}{m[2]})", _DEGREE.sub("°", text))
    for _ in range(3):  # \mathrm{\text{mol}}
        text = _COMMAND.sub(r" \1 ", text)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    text = _SUPERSCRIPT.sub(lambda m: f"^({m[0].translate(SUPERSCRIPTS)})", text)
    text = _DEGREES.sub(lambda m: " degC " if m["c"] else " degF ", text)
    return " ".join(text.split())


def parse_unit(text: str) -> Factors | None:
    """The factors of a unit; empty for no unit, None for what cannot be one (3 to 5, or a sentence)."""
    if len(text) > MAX_CHARS:
        return None
    text = unlatexed(text).strip("* ")
    powers: dict[str, int] = {}  # exponents in halves
    sign, inside, at = 1, False, 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or token.end() == at:
            return None
        at = token.end()
        mark = token["mark"]
        if mark == "/":
            if inside:  # (m/s)/kg would need a tree
                return None
            sign = -1
        elif mark == "(":
            if inside:
                return None
            inside = True
        elif mark == ")":
            if not inside or text[at : at + 1] == "^":
                return None
            inside, sign = False, 1  # brackets say where the part below the line ends
        elif mark is None:
            halves = _halves((token["power"] or token["bare"] or "1").strip("() "))
            name = "deg" if token["name"] == "°" else token["name"]
            powers[name] = powers.get(name, 0) + sign * halves
    if inside or len(powers) > _MAX_FACTORS or any(abs(p) > 2 * _MAX_EXPONENT for p in powers.values()):
        return None
    return tuple((name, _exponent(p)) for name, p in sorted(powers.items()) if p)


def unit_text(factors: Factors) -> str:
    """Canonical: ``kg m s^-2``."""
    return " ".join(name if power == "1" else f"{name}^{_braced(power)}" for name, power in factors)


def _braced(power: str) -> str:
    return f"({power})" if "/" in power else power


def _halves(text: str) -> int:
    return int(text.removesuffix("/2")) * (1 if text.endswith("/2") else 2)


def _exponent(halves: int) -> str:
    return f"{halves}/2" if halves % 2 else str(halves // 2)


_PREFIXES = ("", "k", "m", "µ", "n", "p", "f", "c", "d", "M", "G", "T", "h")
_PREFIXED = (
    "m", "g", "s", "A", "K", "mol", "Hz", "N", "Pa", "J", "W", "C", "V", "F", "Ω", "S", "Wb", "T", "H", "L", "eV",
    "bar", "cal",
)  # fmt: skip
_SYMBOLS = frozenset(p + u for p in _PREFIXES for u in _PREFIXED) | {
    "atm", "min", "h", "rad", "deg", "degC", "degF", "torr", "Torr", "mmHg", "M", "mM", "u", "Å", "Da", "%", "ft", "lb",
}  # fmt: skip


_WORDS = re.compile(
    r"(?:kilo|mega|giga|tera|milli|micro|nano|pico|femto|centi|deci|hecto)?"
    r"(?:met(?:er|re)|lit(?:er|re)|gram(?:me)?|second|newton|joule|watt|volt|amp(?:ere)?|ohm|pascal|kelvin|mole|hertz"
    r"|coulomb|farad|henry|henries|weber|tesla|electron-?volt|bar|calorie|radian|siemens)s?"
    r"|(?:minute|hour|day|week|month|year|degree|mile|inche|yard|pound|ounce|atmosphere|tonne|ton|dollar|cent|euro)s?"
    r"|inch|feet|foot|percent|celsius|fahrenheit|hrs?|secs?|mins?|lbs?|mph|rpm|kmh|kph|light-?years?|parsecs?",
    re.IGNORECASE,
)


def are_units(factors: Factors) -> bool:
    """Whether all names are symbols that science texts use, or names of units in words. Fast: it asks no registry."""
    return all(name in _SYMBOLS or _WORDS.fullmatch(name) for name, _ in factors)


# Names that pint reads as something else than science texts do; None: no unit at all.
_NAMES: dict[str, str | None] = {
    "%": "percent", "AU": "astronomical_unit", "au": "astronomical_unit", "Torr": "torr", "KJ": "kJ", "Kg": "kg",
    "KG": "kg", "Km": "km", "hr": "hour", "hrs": "hour", "sec": "second", "secs": "second", "mins": "minute",
    "yrs": "year", "Mol": "mol", "moles": "mole", "cc": "cm**3", "Kelvin": "kelvin", "Celsius": "degC", "lbs": "pound",
    "degree": "deg", "degrees": "deg", "Angstrom": "angstrom", "Angstroms": "angstrom", "Eh": "hartree",
    "ly": "light_year", "Nm": "newton*meter",
    **dict.fromkeys(("a", "x", "k", "R", "e", "pH", "at", "as", "am", "dB", "times", "to", "and", "or")),
}  # fmt: skip
_TURNS = {"radian", "degree", "arcminute", "arcsecond", "turn", "revolutions_per_minute", "steradian", "gradian",
          "revolutions_per_second"}  # fmt: skip
_ALONE = {"hertz", "becquerel", "gray", "sievert"}
_OFFSET = {"degree_Celsius": "delta_degree_Celsius", "degree_Fahrenheit": "delta_degree_Fahrenheit"}


def convert(value: float, source: Factors, target: Factors) -> float:
    """``value`` of one unit in another.

    Raises:
        UnknownUnit: a name that is no unit; its text is the name.
        Mismatch: the dimensions differ, or units that pint takes for equal and people do not: Hz is no rad/s, Bq no Hz,
            Gy no Sv.
    """
    from pint import PintError

    mismatch = Mismatch(f"{unit_text(source) or 'no unit'} is not {unit_text(target) or 'a number without unit'}")
    for there in _readings(target):
        for here in _readings(source):
            unit, wanted = _unit(here), _unit(there)
            try:
                if _same_kind(unit, wanted):
                    return float(_registry().Quantity(value, unit).to(wanted).magnitude)
            except (PintError, ArithmeticError, TypeError, ValueError):
                raise mismatch from None
    raise mismatch


def _readings(factors: Factors) -> list[Factors]:
    """The unit as it stands, if it is one, and with glued symbols apart.

    Raises:
        UnknownUnit: neither is a unit.
    """
    apart = _unglued(factors)
    found = [reading for reading in (factors, apart) if reading is not None and known(reading)]
    if not found:
        _unit(factors)  # its error names the name
    return found


class _Of(NamedTuple):
    turns: bool
    alone: frozenset[str]


def _of(unit: Any) -> _Of:
    names = {_registry().parse_unit_name(name)[0][1] for name in unit._units}
    return _Of(bool(names & _TURNS), frozenset(names & _ALONE))


def _same_kind(a: Any, b: Any) -> bool:
    """Whether two units measure the same."""
    if a.dimensionality != b.dimensionality:
        return False
    one, two = _of(a), _of(b)
    if (one.turns and two.alone) or (two.turns and one.alone):
        return False
    return not (one.alone and two.alone) or one.alone == two.alone


@functools.lru_cache(maxsize=1)
def _registry() -> Any:
    import pint

    return pint.UnitRegistry()


def readable(factors: Factors) -> bool:
    """Whether :func:`convert` knows the unit, perhaps with glued symbols apart."""
    try:
        return bool(_readings(factors))
    except UnknownUnit:
        return False


def known(factors: Factors) -> bool:
    """Whether all names are units, as they stand."""
    try:
        _unit(factors)
    except UnknownUnit:
        return False
    return True


@functools.lru_cache(maxsize=10_000)
def _unit(factors: Factors) -> Any:
    unit = _registry().Unit("")
    alone = len(factors) == 1 and factors[0][1] == "1"
    for name, power in factors:
        one = _named(name)
        if not alone and str(one) in _OFFSET:  # in J/°C a degree is a step, and no temperature
            one = _registry().Unit(_OFFSET[str(one)])
        unit = unit * one ** (_halves(power) / 2)
    return unit


def _named(name: str) -> Any:
    found = _lookup(name)
    if found is None:
        raise UnknownUnit(name)
    return found


@functools.lru_cache(maxsize=10_000)
def _lookup(name: str) -> Any:
    """pint's unit of that name, or None. Cached either way: a name that is none takes milliseconds."""
    from pint import PintError

    given = _NAMES.get(name, name)
    if given is None:
        return None
    for text in dict.fromkeys((given, given.lower() if len(given) > 3 else given)):
        try:
            return _registry().Unit(text)
        except (PintError, AttributeError, ValueError, KeyError):
            continue
    return None


def _unglued(factors: Factors) -> Factors | None:
    r"""``JK^{-1}`` as J K^-1 and ``ms^{-1}`` as m s^-1: the exponent is the last symbol's. None if nothing is glued; a
    known name without an exponent is not: mN is no m N."""
    powers: dict[str, int] = {}
    for name, power in factors:
        parts = (_split(name) if power != "1" or not known(((name, "1"),)) else None) or [name]
        for part in parts[:-1]:
            powers[part] = powers.get(part, 0) + 2
        powers[parts[-1]] = powers.get(parts[-1], 0) + _halves(power)
    found = tuple((name, _exponent(p)) for name, p in sorted(powers.items()) if p)
    return found if found != factors else None


def _split(name: str) -> list[str] | None:
    for at in range(1, len(name)):
        if name[:at] in _SYMBOLS and name[at:] in _SYMBOLS:
            return [name[:at], name[at:]]
    return None
