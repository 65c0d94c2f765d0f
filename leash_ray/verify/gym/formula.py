r"""The number that a formula says: ``3\sqrt{2}``, ``\frac{45}{2}^\circ``, ``2*pi/3``. Nothing of it is run as code."""

import ast
import math
import re
from collections.abc import Callable

MAX_CHARS = 200
_MAX_DEPTH = 40


class NoNumber(ValueError):
    """The text is no formula of numbers, or its value is not finite."""


_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sqrt": math.sqrt, "sin": math.sin, "cos": math.cos, "tan": math.tan,
    "arcsin": math.asin, "arccos": math.acos, "arctan": math.atan,
    "asin": math.asin, "acos": math.acos, "atan": math.atan,
}  # fmt: skip
_SQRT_DIGIT = re.compile(r"sqrt\s*(\d)")
_IMPLICIT = re.compile(r"(?<=[\d)])\s*(?=[a-z(])|(?<=\))\s*(?=\d)|(?<=pi)\s*(?=[\d(])")


def number(text: str) -> float:
    """The value of a formula, degrees as they stand (45° is 45).

    Raises:
        NoNumber: it has none.
    """
    if len(text) > MAX_CHARS:
        raise NoNumber("too long")
    try:
        value = _value(ast.parse(_python(text), mode="eval").body, _MAX_DEPTH)
    except (SyntaxError, ValueError, ArithmeticError, MemoryError, RecursionError) as e:
        raise NoNumber(text) from e
    if not math.isfinite(value):
        raise NoNumber(text)
    return value


_IN_DEGREES = re.compile(r"(?:°|\\circ(?![a-z])|\\degree(?![a-z]))[\s}]*[\w.°\\(]")


def _python(text: str) -> str:
    if _IN_DEGREES.search(text):
        raise ValueError("something behind degrees: minutes, or another factor")
    text = re.sub(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|°|\\degree|\s(?:degrees?|units?)\s*\Z", "", text.strip())
    text = re.sub(r"\\(?:left|right|displaystyle)(?![a-z])|\\[!,;: ]", "", text)
    text = re.sub(r"\\[dt]frac(?![a-z])", r"\\frac", text)
    text = text.replace("−", "-").replace("π", " pi ").replace("√", " sqrt ")
    text = re.sub(r"\\(?:times|cdot)(?![a-z])|[×·]", "*", text)
    text = re.sub(r"\\frac\s*(\d)\s*(\d)(?!\d)", r"((\1)/(\2))", text)
    for _ in range(_MAX_DEPTH):  # the innermost braces first
        once = re.sub(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))", text)
        once = re.sub(r"(\^|\\sqrt)\s*\{([^{}]*)\}", r"\1(\2)", once)
        if once == text:
            break
        text = once
    text = text.replace("^", "**").replace("\\", " ")
    text = " ".join(_SQRT_DIGIT.sub(r"sqrt(\1)", text).split())
    if re.search(r"\d \d|sqrt\(\d\)\d", text):
        raise ValueError("two numbers side by side")
    text = _IMPLICIT.sub("*", text)
    return re.sub(r"\b(" + "|".join(_FUNCTIONS) + r")\*\(", r"\1(", text)


def _value(node: ast.expr, depth: int) -> float:
    if depth == 0:
        raise ValueError("too deep")
    match node:
        case ast.Constant(value=int() | float() as constant) if not isinstance(constant, bool):
            return float(constant)
        case ast.Name(id="pi"):
            return math.pi
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, depth - 1)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, depth - 1)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_value(argument, depth - 1))
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _value(left, depth - 1), _value(right, depth - 1)
            match op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.Div():
                    return a / b
                case ast.Pow():
                    power = a**b
                    if isinstance(power, float):
                        return power
    raise ValueError("no arithmetic")
