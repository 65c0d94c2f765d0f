"""Second chances for a wrong answer to a reasoning-gym problem: the same answer, written as its scorer wants it.

Each step is a pure function with a name; what it gives is judged like any answer, guards included. So "format" and
"ability" can be told apart: an answer that is right only so says which steps it took. The steps for single data sets
are those of Wu et al., "The Invisible Leash" (arXiv 2507.14843), appendix on the processing of answers.
"""

import json
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from leash_ray.verify.extract import last_boxed
from leash_ray.verify.gym.canonical import canonical, parse_json
from leash_ray.verify.gym.formula import NoNumber, number

Entry = dict[str, Any]
MAX_CHARS = 20_000
_MAX_STEPS = 6


def second_chances(dataset: str, answer: str, entry: Entry) -> Iterator[tuple[str, str]]:
    """(names of the steps, processed canonical answer), the fewest steps first. Ends when no step applies."""
    if len(answer) > MAX_CHARS:
        return
    text, tried = answer, {answer}
    names: list[str] = []
    for _ in range(_MAX_STEPS):
        for name, special in SPECIAL.get(dataset, ()):
            found = _tried(dataset, special(text, entry), tried)
            if found is not None:
                yield "+".join([*names, name]), found
        for name, general in GENERAL:
            stripped = None if name in _PUNCTUATION and dataset in _PROSE else general(text)
            if stripped and stripped.strip() and stripped != text:
                text = stripped.strip()
                names.append(name)
                break
        else:
            return
        found = _tried(dataset, text, tried)
        if found is not None:
            yield "+".join(names), found


def _tried(dataset: str, text: str | None, tried: set[str]) -> str | None:
    """The canonical text, unless it is nothing or was judged before."""
    found = canonical(dataset, text) if text else ""
    if not found or found in tried:
        return None
    tried.add(found)
    return found


# --- for every data set ----------------------------------------------------------------------------------------------

_FENCE_START = re.compile(r"```[\w+-]{0,20}[ \t]*\n")
_PREFIX = re.compile(
    r"\s*(?:so,?\s+|thus,?\s+|therefore,?\s+)?(?:the\s+)?(?:final\s+)?answer\s*(?:is\s*:?|:|=)\s*", re.IGNORECASE
)
_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|texttt)\s*\{([^{}]*)\}")
_PROSE = frozenset(("bf", "codeio", "emoji_mystery", "letter_jumble", "sentence_reordering"))
"""Data sets where punctuation may be part of the answer."""
_PUNCTUATION = frozenset(("minus", "period", "quotes"))


def _unfenced(text: str) -> str | None:
    start = _FENCE_START.match(text)
    if not start or not text.endswith("```") or text.count("```") != 2:
        return None
    return text[start.end() : -3]


def _unquoted(text: str) -> str | None:
    quote, inner = text[:1], text[1:-1]
    return inner if len(text) > 2 and quote in "\"'`" and text.endswith(quote) and quote not in inner else None


def _unbold(text: str) -> str | None:
    inner = text[2:-2]
    return inner if len(text) > 4 and text.startswith("**") and text.endswith("**") and "**" not in inner else None


def _unprefixed(text: str) -> str | None:
    match = _PREFIX.match(text)
    return text[match.end() :] if match else None


def _unboxed(text: str) -> str | None:
    inner = last_boxed(text)
    whole = inner is not None and re.fullmatch(r"\\(?:boxed|fbox)\s*\{", text[: len(text) - len(inner) - 1])
    return inner if whole and text.endswith("}") else None


def _untexted(text: str) -> str | None:
    match = _TEXT.fullmatch(text)
    return match[1] if match else None


def _undollared(text: str) -> str | None:
    for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        inner = text[len(left) : -len(right)]
        if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
            return inner if "$" not in inner and left not in inner else None
    return None


def _minus(text: str) -> str | None:
    return text.replace("−", "-") if "−" in text else None


def _unstopped(text: str) -> str | None:
    return text[:-1] if text.endswith(".") and not text.endswith("..") else None


GENERAL: tuple[tuple[str, Callable[[str], str | None]], ...] = (
    ("fence", _unfenced),
    ("bold", _unbold),
    ("prefix", _unprefixed),
    ("boxed", _unboxed),
    ("math", _undollared),
    ("text", _untexted),
    ("quotes", _unquoted),
    ("minus", _minus),
    ("period", _unstopped),
)
"""Each takes one wrapping off all of the answer (minus: writes minus signs as hyphens); None where there is none."""


# --- for single data sets --------------------------------------------------------------------------------------------

_FRACTION = re.compile(
    r"\\[dt]?frac\s*\{\s*(\d{1,30})\s*\}\s*\{\s*(\d{1,30})\s*\}|(\d{1,30})\s*(?:/|out\s+of|in)\s*(\d{1,30})"
)
_DECIMAL = re.compile(r"(\d{0,30})\.?(\d{0,30})\s*(\\?%)?")


def _dice(text: str, entry: Entry) -> str | None:
    """Any fraction that equals the probability; a decimal or a percentage that equals it, or is it rounded and has
    more places than could tell two numbers of favourable throws apart (0.33 is no third: with four dice it is also
    6653/20160)."""
    oracle = str(entry["answer"])
    p = Fraction(oracle)
    if match := _FRACTION.fullmatch(text.strip()):
        a, b = int(match[1] or match[3]), int(match[2] or match[4])
        return oracle if b and Fraction(a, b) == p else None
    match = _DECIMAL.fullmatch(text.strip())
    if not match or not (match[1] or match[2]) or ("." not in text and not match[3]):
        return None
    unit = Fraction(1, 10 ** len(match[2])) / (100 if match[3] else 1)
    value = int((match[1] + match[2]) or 0) * unit
    if value == p:
        return oracle
    throws = 1
    for sides in re.findall(r"\d*d(\d+)", entry["metadata"]["puzzle"]["dice_str"]):
        throws *= int(sides)
    return oracle if unit * throws <= 1 and abs(value - p) * 2 <= unit else None


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_TIMES = re.compile(r"\\times(?![a-z])|\\cdot(?![a-z])|[×·⋅∙*xX]")
_POWER = re.compile(r"(\d{1,30})(?:\^(?:\{(\d{1,3})\}|(\d{1,3})))?")


def _factors(text: str, entry: Entry) -> str | None:
    """``2^2 * 3`` as ``2 × 2 × 3``: any sign of multiplication, powers, any order; after ``12 =`` too."""
    left, equals, right = text.rpartition("=")
    text = re.sub(r"([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda m: "^" + m[0].translate(_SUPERSCRIPTS), right.replace("**", "^"))
    factors: list[int] = []
    for part in _TIMES.split(text):
        match = _POWER.fullmatch("".join(part.split()).removeprefix("(").removesuffix(")"))
        if not match:
            return None
        factors += [int(match[1])] * min(int(match[2] or match[3] or 1), 100)
        if len(factors) > 200:
            return None
    product = 1
    for factor in factors:
        product *= factor
    if equals and left.strip() != str(product):
        return None
    return " × ".join(map(str, sorted(factors)))


def _letters(text: str, entry: Entry) -> str | None:
    """``r a c e c a r`` and ``"racecar"``: the letters, where nothing else stands between them but spaces, commas,
    hyphens and quotes."""
    bare = re.sub(r"[\s,\-\"'`“”‘’\[\]]+", "", text)
    return bare if bare.isalpha() else None


def _angle(text: str, entry: Entry) -> str | None:
    """A number or an expression that is the angle to three decimals."""
    value = _number(text)
    return str(entry["answer"]) if value is not None and _to_places(value, 3, str(entry["answer"])) else None


def _geometry(text: str, entry: Entry) -> str | None:
    """Numbers and expressions that are the oracle when rounded as it is: three decimals, angles two."""
    oracle = str(entry["answer"])
    if entry["metadata"]["task_type"] == "orthocenter":
        found = _point(text)
        wanted = [part.strip(" ()") for part in oracle.split(",")]
        right = found is not None and all(_to_places(value, 3, part) for value, part in zip(found, wanted))
        return oracle if right else None
    value = _number(text)
    places = 2 if entry["metadata"]["task_type"] == "angle_measure" else 3
    return oracle if value is not None and _to_places(value, places, oracle.rstrip("°")) else None


def _to_places(value: float, places: int, wanted: str) -> bool:
    return (
        f"{value:.{places}f}".replace("-0." + "0" * places, "0." + "0" * places) == f"{float(wanted) + 0.0:.{places}f}"
    )


def _number(text: str) -> float | None:
    try:
        return number(re.sub(r"\A\s*[A-Za-z∠\\]{1,8}\s*(?:=|≈|\\approx)\s*", "", text))
    except NoNumber:
        return None


def _point(text: str) -> tuple[float, float] | None:
    text = text.replace("\\left", "").replace("\\right", "").strip()
    text = re.sub(r"\A[A-Z]\s*=\s*", "", text)
    if not (text.startswith("(") and text.endswith(")")):
        return None
    depth, commas = 0, []
    for i, char in enumerate(text):
        depth += (char in "({[") - (char in ")}]")
        if char == "," and depth == 1:
            commas.append(i)
    if len(commas) != 1:
        return None
    x, y = _number(text[1 : commas[0]]), _number(text[commas[0] + 1 : -1])
    return None if x is None or y is None else (x, y)


_SCIENTIFIC = re.compile(
    r"([+-]?\d{1,30}(?:\.\d{0,60})?)\s*(?:\\times|\\cdot|[×·*xX])\s*10\s*(?:\^|\*\*)?\s*(?:\{\s*([+-]?\d{1,3})\s*\}|\(\s*([+-]?\d{1,3})\s*\)|([+-]?\d{1,3}))"
)


def _e_notation(text: str, entry: Entry) -> str | None:
    r"""``1.23 \times 10^{-5}`` and ``1.23*10^-5`` as ``1.23e-5``."""
    text = text.replace("−", "-").replace("–", "-")
    text = re.sub(r"10([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)", lambda m: "10^" + m[1].translate(_SUPERSCRIPTS), text.strip())
    match = _SCIENTIFIC.fullmatch(text)
    if not match or not re.search(r"10\s*(?:\^|\*\*)", text):
        return None
    return f"{match[1]}e{int(match[2] or match[3] or match[4])}"


def _digit_row(text: str, entry: Entry) -> str | None:
    """``01230``, ``[0, 1, 2, 3, 0]`` as ``0 1 2 3 0``."""
    cells = re.sub(r"[\[\](),]", " ", text).split()
    if len(cells) == 1:
        cells = list(cells[0])
    return " ".join(cells) if all(re.fullmatch(r"[0-9]", cell) for cell in cells) else None


_FENCED = re.compile(r"```[\w+-]{0,20}[ \t]*\n(.*?)```", re.DOTALL)


def _json_within(text: str, entry: Entry) -> str | None:
    """The JSON list in a text: all of its last code fence, or from the first ``[{`` to the last ``]``."""
    fenced = _FENCED.findall(text)
    start = re.search(r"\[\s*\{", text)
    inside = fenced[-1] if fenced else text[start.start() : text.rfind("]") + 1] if start else ""
    try:
        plan = parse_json(inside.strip())
    except ValueError:
        return None
    return json.dumps(plan) if isinstance(plan, list) else None


def _items(text: str, entry: Entry) -> str | None:
    """``["1", "2"]`` as ``['1', '2']``: the list as the question writes it."""
    try:
        items = parse_json(text)
    except ValueError:
        return None
    return str(items) if isinstance(items, list) and all(isinstance(item, str) for item in items) else None


_SIGNS = str.maketrans("×·÷−", "**/-")


def _signs(text: str, entry: Entry) -> str | None:
    """``3×4÷2`` as ``3*4/2``."""
    return text.translate(_SIGNS).replace("\\times", "*")


def _powers(text: str, entry: Entry) -> str | None:
    """``x^2`` as ``x**2``."""
    return text.replace("^", "**")


def _assigned(text: str, entry: Entry) -> str | None:
    """``x = 5`` as ``5``, for the variable that was asked for."""
    left, equals, right = text.partition("=")
    variable = str(entry["metadata"].get("variable"))
    return right.strip() if equals and left.strip() == variable and "=" not in right else None


def _unit(text: str, entry: Entry) -> str | None:
    """A number with the name of what it counts: ``12 apples``, not ``12 or 13`` or ``12 percent``."""
    match = re.fullmatch(r"(\$?[+-]?[\d,]+(?:\.\d+)?)\s+([A-Za-z]+)", text)
    return match[1] if match and match[2].lower() not in _NO_UNIT else None


_NO_UNIT = frozenset((
    "percent", "hundred", "thousand", "million", "billion", "trillion", "dozen", "half", "or", "not", "no", "to",
    "and", "maybe", "perhaps", "possibly", "probably", "approximately", "roughly", "wrong", "less", "more", "minus",
    "plus", "times", "squared", "cubed", "k",
))  # fmt: skip


SPECIAL: dict[str, tuple[tuple[str, Callable[[str, Entry], str | None]], ...]] = {
    "dice": (("dice_fraction", _dice),),
    "prime_factorization": (("prime_factors", _factors),),
    "palindrome_generation": (("palindrome_letters", _letters),),
    "simple_geometry": (("geometry_expression", _angle),),
    "advanced_geometry": (("geometry_expression", _geometry),),
    "power_function": (("power_notation", _e_notation),),
    "arc_1d": (("digit_row", _digit_row),),
    "boxnet": (("boxnet_json", _json_within),),
    "number_filtering": (("list_quotes", _items),),
    "countdown": (("arithmetic_signs", _signs),),
    "puzzle24": (("arithmetic_signs", _signs),),
    "simple_integration": (("caret", _powers),),
    "intermediate_integration": (("caret", _powers),),
    "polynomial_multiplication": (("caret", _powers),),
    "simple_equations": (("assignment", _assigned),),
    "gsm_symbolic": (("unit", _unit),),
}
"""Data set -> its own steps. The first seven are the paper's."""
