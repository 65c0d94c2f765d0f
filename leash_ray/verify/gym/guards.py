"""Answers that a reasoning-gym scorer calls right (score 1) though they are wrong, or that make it raise.

A guard is asked before the scorer, and may only say that an answer is wrong: CORRECT always needs the scorer as well.
Each names what the scorer of reasoning-gym 0.1.25 lets through. Arguments: the canonical answer, and the entry.
"""

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from leash_ray.verify.expression import NotPlain, exact_value
from leash_ray.verify.gym.canonical import parse_json

Entry = dict[str, Any]
Guard = Callable[[str, Entry], bool]


def may_be_right(dataset: str, answer: str, entry: Entry) -> bool:
    """Whether the scorer is to be asked at all."""
    guard = GUARDS.get(dataset)
    return guard is None or guard(answer, entry)


def _is_oracle(answer: str, entry: Entry) -> bool:
    """Scorers that give 1 for the oracle's text only, but pass other texts to ``eval`` on the way."""
    return answer == str(entry["answer"]).strip()


def _is_oracle_in_any_case(answer: str, entry: Entry) -> bool:
    """game_of_life_halting compares ``bool(text)``, true of every text. letter_jumble, spell_backward and figlet_font
    add up credit a word or letter, which reaches 1 for longer texts."""
    return answer.lower().split() == str(entry["answer"]).lower().split()


def _is_figlet_word(answer: str, entry: Entry) -> bool:
    return _is_oracle_in_any_case(answer.replace(" ", ""), entry)


# --- numbers ---------------------------------------------------------------------------------------------------------

_PLAIN_NUMBER = re.compile(r"[+-]?(?:\d{1,60}|\d{1,3}(?:,\d{3}){1,20})?(?:\.\d{0,60})?(?:[eE][+-]?\d{1,3})?")


def _number(answer: str) -> Decimal | None:
    """One number, with commas only between thousands."""
    if not _PLAIN_NUMBER.fullmatch(answer):
        return None
    try:
        return Decimal(answer.replace(",", ""))
    except InvalidOperation:
        return None


def _is_one_number(answer: str, entry: Entry) -> bool:
    """Scorers that drop every comma, so that 1,5 is 15."""
    return _number(answer) is not None


def _is_the_number(answer: str, entry: Entry) -> bool:
    """gsm_symbolic takes the first number of any text, without its sign: "3 or 4", "-7" and "7,000" are 3, 7 and 7."""
    value = _number(answer.removeprefix("$"))
    return value is not None and value == Decimal(str(entry["answer"]).replace(",", ""))


def _is_the_nearest(answer: str, entry: Entry) -> bool:
    """number_format takes what is less than 0.01 off, though all candidates have three decimals and another one may be
    as near."""
    value = _number(answer)
    if value is None:
        return False
    solution = entry["metadata"]["solution"]
    off = abs(float(value) - solution)
    return off < 6e-4 and all(
        off < abs(float(value) - other) for other in entry["metadata"]["candidates"] if other != solution
    )


_SIGNIFICANT = 6


def _is_the_decimal(answer: str, entry: Entry) -> bool:
    """decimal_arithmetic allows an error of 1 in the last place of its operands: 25.412 for 25.413.

    An oracle of fewer digits than the precision asked for is exact, and so must the answer be. A longer one may be
    rounded to no fewer than 6 significant digits, and its own last two may be due to rounding on the way.
    """
    value, oracle = _number(answer), Decimal(entry["answer"])
    asked = re.search(r"maximum of (\d+) significant", entry["question"])
    if value is None or not value.is_finite():
        return False
    precision = int(asked[1]) if asked else 12
    digits = oracle.as_tuple().digits
    if len(digits) < precision or value == oracle:
        return value == oracle
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if oracle.adjusted() - exponent + 1 < min(_SIGNIFICANT, precision):
        return False
    last_place = Decimal(10) ** (oracle.adjusted() - precision + 1)
    return abs(value - oracle) <= max(Decimal(10) ** exponent / 2, 100 * last_place)


def _is_the_probability(answer: str, entry: Entry) -> bool:
    """coin_flip allows an error of 0.0001 of any probability, so 0 is right for a small one.

    A decimal counts if it is exact, or has 3 significant digits and is the probability rounded to its places.
    """
    rational = entry["metadata"]["rational"]
    p = Fraction(rational["numerator"], rational["denominator"])
    if fraction := re.fullmatch(r"(\d{1,30})\s*/\s*(\d{1,30})", answer):
        return int(fraction[2]) != 0 and Fraction(int(fraction[1]), int(fraction[2])) == p
    value = _number(answer)
    if value is None:
        return False
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if Fraction(value) == p:
        return True
    return value.adjusted() - exponent + 1 >= 3 and abs(Fraction(value) - p) * 2 <= Fraction(10) ** exponent


def _is_complex(answer: str, entry: Entry) -> bool:
    """complex_arithmetic: ``nan`` is at no distance from anything, which scores 1; huge numbers raise."""
    return len(answer) <= 80 and bool(re.fullmatch(r"[\d.+\-ij() ]+", answer)) and not re.search(r"\d\s+\d", answer)


def _are_roots(answer: str, entry: Entry) -> bool:
    """polynomial_equations passes over what is no number: any prose is right where there is no real root, and further
    roots may stand beside the right ones."""
    oracle = _floats(entry["answer"])
    if not oracle:
        return answer == '""'
    found = _floats(answer)
    return found is not None and len(found) == len(oracle)


def _floats(text: str) -> list[float] | None:
    try:
        found = [float(part) for part in text.split(",")] if text.strip() else []
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None


def _is_sorted_list(answer: str, entry: Entry) -> bool:
    """number_sorting allows an error of 1 in each number, and does not see that ``nan`` is none."""
    try:
        found = [Decimal(str(n)) for n in json.loads(answer.replace("'", '"'))]
        wanted = [Decimal(n) for n in entry["metadata"]["sorted_numbers"]]
    except (ValueError, TypeError, InvalidOperation, RecursionError):
        return False
    return found == wanted  # what the question says has no more places than the oracle


def _is_pooled(answer: str, entry: Entry) -> bool:
    """pool_matrix allows an error of 1%, of numbers wanted to 2 places, and takes a column for a row."""
    wanted, found = _rows(str(entry["answer"])), _rows(answer)
    if wanted is None or found is None or [len(row) for row in wanted] != [len(row) for row in found]:
        return False
    pairs = ((a, b) for row, other in zip(wanted, found) for a, b in zip(row, other))
    return all(abs(a - b) <= 0.005 + 1e-9 for a, b in pairs)


def _rows(text: str) -> list[list[float]] | None:
    try:
        return [[float(cell) for cell in line.split()] for line in text.splitlines() if line.strip()]
    except ValueError:
        return None


def _is_calendar(answer: str, entry: Entry) -> bool:
    """calendar_arithmetic: where the count is -1 (no such date), other counts score exp(positive) > 1."""
    oracle = str(entry["answer"]).strip()
    if not re.fullmatch(r"-?\d+", oracle):
        return True
    return bool(re.fullmatch(r"[+-]?\d{1,18}", answer)) and int(answer) == int(oracle)


def _is_fraction(answer: str, entry: Entry) -> bool:
    """fraction_simplification reads a fraction at the start of any text."""
    bare = answer.strip("$ \n\t")
    return bool(re.fullmatch(r"\\d?frac\s*\{\s*\d+\s*\}\s*\{\s*\d+\s*\}|\d+\s*/\s*\d+", bare, re.IGNORECASE))


def _is_factors(answer: str, entry: Entry) -> bool:
    """prime_factorization raises at what is no product of whole numbers."""
    return bool(re.fullmatch(r"\d{1,40}(?:\s*×\s*\d{1,40}){0,200}", answer))


_TIMES = {
    "date": re.compile(r"\d{1,9}(?: days?)?"),
    "time": re.compile(r"\d{1,4}:\d\d(?::\d\d(?:\.\d{3})?)?"),
    "datetime": re.compile(r"\d{1,9} days, \d{1,2}:\d\d(?::\d\d)?"),
}


def _is_interval(answer: str, entry: Entry) -> bool:
    """time_intervals takes the first number of "3 weeks" as days, and 29.84 s as 29.084 s."""
    kind = str(entry["metadata"]["task_type"])
    kind = next(name for name in ("datetime", "date", "time") if kind.startswith(name))
    return bool(_TIMES[kind].fullmatch(answer))


def _is_geometry(answer: str, entry: Entry) -> bool:
    """advanced_geometry passes over a point's third coordinate, and over ° and brackets wherever they stand: 16.91°5
    is 16.915 to it."""
    if entry["metadata"]["task_type"] == "orthocenter":
        return bool(re.fullmatch(r"\([^(),]*,[^(),]*\)|[^(),]*,[^(),]*", answer))
    return "°" not in answer.removesuffix("°")


# --- algebra ---------------------------------------------------------------------------------------------------------

_ELEMENTARY = frozenset((
    "exp", "log", "ln", "sqrt", "cbrt", "sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "acot",
    "asec", "acsc", "sinh", "cosh", "tanh", "coth", "sech", "csch", "asinh", "acosh", "atanh", "Abs",
))  # fmt: skip
_NAME = re.compile(r"[A-Za-z_]\w*")
_ATTRIBUTE = re.compile(r"[A-Za-z_)]\s*\.|\.\s*[A-Za-z_]")
_LARGE_POWER = re.compile(
    r"\*\*\s*\(*\s*[-+]?\d{4}|\*\*\s*\(*[-+]?\d{3,}\)*\s*\*\*|\*\*\s*\(*[-+]?\d+\s*\*\*|\d{60}|\d\.?[eE][+-]?\d{3}"
)
"""What sympy might work out for ever."""


def _is_antiderivative(answer: str, entry: Entry) -> bool:
    """The integration data sets run the answer as code: ``integrate(...)`` and ``Integral(...)`` give the question
    back, and in "x**2 or anything" only x**2 counts."""
    if len(answer) > 1000 or not re.fullmatch(r"[\w\s+\-*/().]*", answer):
        return False
    if _ATTRIBUTE.search(answer) or _LARGE_POWER.search(answer):
        return False
    known = _ELEMENTARY | {str(entry["metadata"]["variable"]), "pi"}
    if not all(name in known or len(name) == 1 for name in _NAME.findall(answer)):
        return False
    return _derivative_may_be(answer, entry["metadata"]["integrand"], str(entry["metadata"]["variable"]))


def _derivative_may_be(answer: str, integrand: str, variable: str) -> bool:
    """Whether the derivative has the integrand's value at one of four points: the scorer's proof takes seconds where
    there is nothing to prove. One is enough, since a formula may be of use on one branch only."""
    import sympy

    x = sympy.Symbol(variable)
    names = {variable: x, "C": sympy.Symbol("C")}
    try:
        derivative = sympy.diff(sympy.parse_expr(answer, local_dict=names), x)
        wanted = sympy.parse_expr(integrand, local_dict={variable: x})
        for point in (0.173, 0.519, 1.37, -0.281):
            off = abs(complex(derivative.evalf(15, subs={x: point})) - complex(wanted.evalf(15, subs={x: point})))
            if off <= 1e-6 * (1 + abs(complex(wanted.evalf(15, subs={x: point})))):
                return True
    except Exception:  # sympy raises what it likes at what is no formula; so does the scorer, which then gives 0
        return False
    return False


def _is_polynomial(answer: str, entry: Entry) -> bool:
    """polynomial_multiplication runs the answer as code, so that ``expand(...)`` of the question is right, and so is
    the unmultiplied product where sympy multiplies by itself."""
    if len(answer) > 4000 or not re.fullmatch(r"[A-Za-z0-9\s+\-*/().]*", answer):
        return False
    if _ATTRIBUTE.search(answer) or _LARGE_POWER.search(answer) or re.search(r"[A-Za-z]{2}", answer):
        return False
    bare = re.sub(r"\(\s*([+-]?\d+)\s*\)", r"\1", answer).strip()
    if bare.startswith("(") and bare.endswith(")"):
        bare = bare[1:-1]
    return "(" not in bare


def _is_countdown(answer: str, entry: Entry) -> bool:
    """countdown finds 9*2+3e0 to use 9 and 2, takes what is 0.001% off, and works out 8**9**9 before it looks at the
    numbers."""
    metadata = entry["metadata"]
    if not re.fullmatch(r"[0-9+\-*/()\s]*", answer) or not _uses(answer, metadata["numbers"]):
        return False
    try:
        return exact_value(answer) == metadata["target"]
    except NotPlain:
        return True


def _is_24(answer: str, entry: Entry) -> bool:
    """puzzle24 takes any four numbers, and cuts 24.9 to 24."""
    try:
        return _uses(answer, entry["metadata"]["numbers"]) and exact_value(answer) == 24
    except NotPlain:
        return False


def _uses(answer: str, numbers: list[int]) -> bool:
    """Whether an expression has exactly these numbers."""
    try:
        return sorted(map(int, re.findall(r"\d+", answer))) == sorted(map(int, numbers))
    except ValueError:  # a literal of thousands of digits
        return False


def _is_conclusion(answer: str, entry: Entry) -> bool:
    """propositional_logic takes "Q ∨ anything": what it cannot read is one more variable."""
    tokens = re.findall(r"[A-Z]|[∧∨¬→↔()]", answer)
    if len(answer) > 1000 or "".join(tokens) != "".join(answer.split()):
        return False
    depth, operand = 0, False  # operand: whether one has just ended
    for token in tokens:
        if token in "∧∨→↔)":
            depth -= token == ")"
            if not operand or depth < 0:
                return False
            operand = token == ")"
        else:
            if operand:
                return False
            depth += token == "("
            operand = token.isalpha()
    return operand and depth == 0


# --- words and sequences ---------------------------------------------------------------------------------------------


def _is_as_long_as_sorted(answer: str, entry: Entry) -> bool:
    """word_sorting scores the words it wants by place, and passes over further ones."""
    return answer.count(",") + 1 == len(entry["metadata"]["sorted_words"])


def _is_assignment(answer: str, entry: Entry) -> bool:
    """cryptarithm takes the last of "A=1,A=2"."""
    letters = [pair.partition("=")[0].strip() for pair in answer.split(",")]
    return len(set(letters)) == len(letters) and bool(re.fullmatch(r"[^=]*=\s*\d\s*(?:,[^=]*=\s*\d\s*)*", answer))


def _is_knights(answer: str, entry: Entry) -> bool:
    """knights_knaves takes each role with the word before it: "not so: Zoey is a knave" is that Zoey is a knave."""
    words = set(re.findall(r"\w+", answer.lower()))
    known = set(re.findall(r"\w+", str(entry["answer"]).lower()))
    return words <= known | {"is", "a", "an", "and"} and "?" not in answer


def _is_buttons(answer: str, entry: Entry) -> bool:
    """quantum_lock reads each letter a, b and c of any text as a button."""
    return bool(re.fullmatch(r"[\W_]*[ABCabc](?:[\s→=>,\-]*[ABCabc])*(?:[^\w?]|_)*", answer))


def _is_pushes(answer: str, entry: Entry) -> bool:
    """sokoban passes over all letters but L, R, U and D, so that one may write several solutions."""
    return bool(re.fullmatch(r"[LRUD]+|[LRUD](?:[\s,]+[LRUD])*", answer))


def _are_disks(answer: str, entry: Entry) -> bool:
    """tower_of_hanoi prints a complaint about each peg that is not there."""
    moves = [_DISK.fullmatch(line.strip()) for line in answer.splitlines() if line.strip()]
    return all(m and 1 <= int(m[1]) <= entry["metadata"]["num_pegs"] >= int(m[2]) >= 1 for m in moves)


_DISK = re.compile(r"\W*Move disk \d{1,4} from Peg (\d{1,4}) to Peg (\d{1,4})")


def _are_turns(answer: str, entry: Entry) -> bool:
    """rubiks_cube passes over what it cannot read, such as U2', and turns U999999999 as often as that."""
    return all(re.fullmatch(r"(?:[LRDUBF]w?|[XYZMES])'?\d?", turn) for turn in answer.split())


def _are_drives(answer: str, entry: Entry) -> bool:
    """rush_hour passes over moves into walls and other cars, and stops a car that is sent too far."""
    from reasoning_gym.games.rush_hour import Board

    if not re.fullmatch(r"[A-Z][+-]\d{1,2}(?:[\s,]+[A-Z][+-]\d{1,2})*", answer):
        return False
    board = Board(entry["metadata"]["board_config"])
    for car, steps in re.findall(r"([A-Z])([+-]\d+)", answer):
        i = ord(car) - ord("A")
        if i >= len(board._pieces):
            return False
        piece = board._pieces[i]
        wanted = piece.position + piece.stride * int(steps)
        board.move(car, int(steps))
        if board._pieces[i].position != wanted:
            return False
    return True


# --- grids and JSON --------------------------------------------------------------------------------------------------


def _is_binary_grid(answer: str, entry: Entry) -> bool:
    """kakurasu passes over all but 0 and 1: 1 2 0 is 1 0."""
    return bool(re.fullmatch(r"[01\s,\[\]|]*", answer))


def _is_integer_grid(answer: str, entry: Entry) -> bool:
    """survo passes over what is no whole number."""
    return bool(re.fullmatch(r"[\d\s]*", answer))


def _is_life(answer: str, entry: Entry) -> bool:
    """game_of_life looks at the cells that it wants, and passes over further ones; an object makes it raise."""
    found = _parsed(answer)
    return found is not None and found == parse_json(entry["answer"])


def _is_colouring(answer: str, entry: Entry) -> bool:
    """graph_color takes a list by its places, and further vertices."""
    found = _parsed(answer)
    vertices = {str(v) for v in entry["metadata"]["puzzle"]["vertices"]}
    return isinstance(found, dict) and found.keys() == vertices and not any(isinstance(c, bool) for c in found.values())


def _is_list(answer: str, entry: Entry) -> bool:
    return _is_list_of(_parsed(answer), str)


def _is_list_of_lists(answer: str, entry: Entry) -> bool:
    """palindrome_partitioning takes the text "aab" for the list of its letters."""
    found = _parsed(answer)
    return isinstance(found, list) and all(_is_list_of(part, str) for part in found)


def _is_swap(answer: str, entry: Entry) -> bool:
    return answer.lower() == "no" or _is_list(answer, entry)


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(part, kind) for part in value)


def _parsed(answer: str) -> Any:
    try:
        return parse_json(answer)
    except ValueError:
        return None


def _is_output(answer: str, entry: Entry) -> bool:
    """codeio takes "5" for 5 where both are values in an object."""
    if _is_oracle(answer, entry):
        return True
    found, oracle = _parsed(answer), _parsed(str(entry["answer"]))
    return isinstance(found, dict) and isinstance(oracle, dict) and _same(found, oracle)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


_AGENT = re.compile(r"Agent\[(\d+\.\d+), (\d+\.\d+)\]")
_TO_SQUARE = re.compile(r"move\((box_\w+), square\[(\d+\.\d+), (\d+\.\d+)\]\)")
_TO_TARGET = re.compile(r"move\((box_\w+), (target_\w+)\)")


def _is_plan(answer: str, entry: Entry) -> bool:
    """boxnet passes over agents and boxes that are not there, raises at moves off the grid, and lets agents act one
    after another within a step, in the order of the keys. Here a plan has only moves that can be made, and in a step
    all agents act at once: each has one of the boxes that were in its square when the step began."""
    plan = _parsed(answer)
    if not _is_list_of(plan, dict):
        return False
    squares = {place: list(items) for place, items in entry["metadata"]["initial_state"].items()}
    for step in plan:
        arrived: list[tuple[str, str]] = []
        for agent, action in step.items():
            here = _AGENT.fullmatch(agent)
            if not here or not isinstance(action, str) or f"{here[1]}_{here[2]}" not in squares:
                return False
            items = squares[f"{here[1]}_{here[2]}"]
            if to_target := _TO_TARGET.fullmatch(action):
                box, target = to_target.groups()
                if box not in items or target not in items or box[4:] != target[7:]:
                    return False
                items.remove(box)
                items.remove(target)
            elif to_square := _TO_SQUARE.fullmatch(action):
                box, x, y = to_square.groups()
                far = abs(float(x) - float(here[1])) + abs(float(y) - float(here[2]))
                if box not in items or f"{x}_{y}" not in squares or far != 1:
                    return False
                items.remove(box)
                arrived.append((f"{x}_{y}", box))
            else:
                return False
        for place, box in arrived:
            squares[place].append(box)
    return True


GUARDS: dict[str, Guard] = {
    "advanced_geometry": _is_geometry,
    "binary_matrix": _is_oracle,
    "boxnet": _is_plan,
    "calendar_arithmetic": _is_calendar,
    "chain_sum": _is_one_number,
    "codeio": _is_output,
    "coin_flip": _is_the_probability,
    "complex_arithmetic": _is_complex,
    "countdown": _is_countdown,
    "cryptarithm": _is_assignment,
    "decimal_arithmetic": _is_the_decimal,
    "figlet_font": _is_figlet_word,
    "fraction_simplification": _is_fraction,
    "game_of_life": _is_life,
    "game_of_life_halting": _is_oracle_in_any_case,
    "graph_color": _is_colouring,
    "group_anagrams": _is_list_of_lists,
    "gsm_symbolic": _is_the_number,
    "intermediate_integration": _is_antiderivative,
    "jugs": _is_list,
    "kakurasu": _is_binary_grid,
    "knight_swap": _is_swap,
    "knights_knaves": _is_knights,
    "letter_jumble": _is_oracle_in_any_case,
    "number_format": _is_the_nearest,
    "number_sorting": _is_sorted_list,
    "palindrome_partitioning": _is_list_of_lists,
    "polynomial_equations": _are_roots,
    "polynomial_multiplication": _is_polynomial,
    "pool_matrix": _is_pooled,
    "power_function": _is_one_number,
    "prime_factorization": _is_factors,
    "products": _is_one_number,
    "propositional_logic": _is_conclusion,
    "puzzle24": _is_24,
    "quantum_lock": _is_buttons,
    "rubiks_cube": _are_turns,
    "rush_hour": _are_drives,
    "simple_integration": _is_antiderivative,
    "sokoban": _is_pushes,
    "spell_backward": _is_oracle_in_any_case,
    "spiral_matrix": _is_oracle,
    "string_insertion": _is_oracle,
    "survo": _is_integer_grid,
    "time_intervals": _is_interval,
    "tower_of_hanoi": _are_disks,
    "word_sorting": _is_as_long_as_sorted,
}
"""Data set -> its guard."""
