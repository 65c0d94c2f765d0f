r"""Formulas, read whole or not at all.

A formula becomes a tree of tuples, ``("add", x, y)``; what is not understood to the last token raises
:class:`Unreadable`, and so does what people read in two ways: ``1/2x``, ``2 3``, ``f(x)``, ``AB``.
"""

import re
from fractions import Fraction
from typing import Any, TypeAlias

Tree: TypeAlias = tuple[Any, ...]
"""("num", value, places) | ("sym", name) | ("const", "pi" | "e" | "i" | "oo") | ("neg", x) |
("add" | "mul" | "div" | "pow", x, y) | ("fn", name, x, ...)"""

MAX_DEPTH = 40
MAX_TOKENS = 400
_TOKEN = re.compile(
    r"(?P<num>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"|(?P<cmd>\\[a-zA-Z]+|\\.)|(?P<word>[a-zA-Z]+)|(?P<char>\S)|\s+",
    re.DOTALL,
)
_GREEK = frozenset(
    {
        "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "kappa",
        "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "Gamma", "Delta",
        "Theta", "Lambda", "Xi", "Sigma", "Phi", "Psi", "Omega", "ell",
    }
)  # fmt: skip
_FUNCTIONS = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "ln": "ln", "log": "log",
    "exp": "exp", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
}  # fmt: skip
_PLAIN_WORDS = {"sqrt": "sqrt", "pi": "pi", **_FUNCTIONS}
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_FUNCTION_LETTERS = frozenset("fghFGHP")


class Unreadable(ValueError):
    """Not a formula, or one that may be read in two ways."""


Token: TypeAlias = tuple[str, str]
"""(num | cmd | let | char, text)"""


def tokens_of(text: str) -> list[Token]:
    """The tokens of a canonical text; words become letters, except names of functions.

    Raises:
        Unreadable: a comma in round or square brackets, which may part two numbers: (1,100).
    """
    found: list[Token] = []
    brackets = 0
    for match in _TOKEN.finditer(text):
        kind, part = match.lastgroup, match[0]
        brackets += (part in "([") - (part in ")]")
        if brackets > 0 and "," in part:
            raise Unreadable("a comma in brackets")
        if kind == "cmd" or kind == "num" or kind == "char":
            found.append((kind, part))
        elif kind == "word":
            if part in _PLAIN_WORDS:
                found.append(("cmd", "\\" + part))
            else:
                found.extend(("let", letter) for letter in part)
    return found


def parse_formula(text: str) -> Tree:
    """The tree of a canonical text.

    Raises:
        Unreadable: it is no formula, not only one, or ambiguous.
    """
    if re.search(r"(?<![\\a-zA-Z])(?:[A-Z]{2,}|[a-zA-Z]{4,})(?![a-zA-Z])", text) and not re.search(
        r"sqrt|sin|cos", text
    ):
        raise Unreadable("words")  # a label such as AB, or prose: no product of letters
    tokens = tokens_of(text)
    if len(tokens) > MAX_TOKENS:
        raise Unreadable("longer than any answer")
    parser = _Parser(tokens)
    tree = parser.sum(0)
    if parser.more():
        raise Unreadable(parser.tokens[parser.at][1])
    return tree


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at = tokens, 0

    def more(self) -> bool:
        return self.at < len(self.tokens)

    def peek(self) -> Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("", "")

    def take(self) -> Token:
        token = self.peek()
        if not token[0]:
            raise Unreadable("it ends early")
        self.at += 1
        return token

    def expect(self, text: str) -> None:
        if self.take()[1] != text:
            raise Unreadable(f"no {text}")

    def sum(self, depth: int) -> Tree:
        if depth > MAX_DEPTH:
            raise Unreadable("too deep")
        sign = self.peek()[1]
        if sign in ("+", "-"):
            self.at += 1
        tree = self.product(depth)
        tree = ("neg", tree) if sign == "-" else tree
        while self.peek()[1] in ("+", "-"):
            sign = self.take()[1]
            if self.peek()[1] in ("+", "-"):
                raise Unreadable("two signs")
            term = self.product(depth)
            tree = ("add", tree, ("neg", term) if sign == "-" else term)
        return tree

    def product(self, depth: int, of_function: bool = False) -> Tree:
        """``of_function``: the bare argument of a function, which the next function or bracket ends: sin 2x cos x."""
        tree, first_kind = self.power(depth), self.tokens[self.at - 1]
        slash = False
        while self.more():
            kind, text = self.peek()
            if text in ("*", "\\cdot", "\\times"):
                if of_function:
                    raise Unreadable("sin 2 * x")
                self.at += 1
                tree = ("mul", tree, self.signed_power(depth))
                slash = False
            elif text in ("/", "\\div"):
                if of_function or slash:
                    raise Unreadable("a/b/c")
                self.at += 1
                tree, slash = ("div", tree, self.signed_power(depth)), True
            elif kind == "num":
                raise Unreadable("two numbers side by side")
            elif kind == "let" or text in ("(", "[", "{") or (kind == "cmd" and self._starts_factor(text)):
                if slash:
                    raise Unreadable("1/2x")
                if of_function and (text in ("(", "[", "{") or text[1:] in _FUNCTIONS):
                    break
                if text == "\\frac" and self.tokens[self.at - 1][0] == "num" and first_kind[0] == "num":
                    raise Unreadable("2\\frac{3}{2}: mixed or product?")
                if text in ("(", "[") and self.tokens[self.at - 1][1] in _FUNCTION_LETTERS:
                    raise Unreadable("f(x)")
                tree = ("mul", tree, self.power(depth))
            else:
                break
        return tree

    def _starts_factor(self, text: str) -> bool:
        name = text[1:]
        return name in _GREEK or name in _FUNCTIONS or name in (
            "pi", "frac", "sqrt", "binom", "mathbf", "text", "vec", "hat", "lfloor", "lceil", "infty",
        )  # fmt: skip

    def signed_power(self, depth: int) -> Tree:
        if self.peek()[1] == "-":
            raise Unreadable("2*-3 wants brackets")
        return self.power(depth)

    def power(self, depth: int) -> Tree:
        base = self.postfix(self.atom(depth))
        if self.peek()[1] == "^":
            self.at += 1
            base = self.postfix(("pow", base, self.exponent(depth)))
            if self.peek()[1] == "^":
                raise Unreadable("a^b^c")
        return base

    def postfix(self, tree: Tree) -> Tree:
        if self.peek()[1] == "!":
            self.at += 1
            if self.peek()[1] == "!":
                raise Unreadable("!!")
            return ("fn", "factorial", tree)
        return tree

    def exponent(self, depth: int) -> Tree:
        if self.peek()[1] == "{":
            return self.group(depth)
        if self.peek()[1] == "-" and self.at + 1 < len(self.tokens):
            self.at += 1
            return ("neg", self.atom(depth + 1))
        return self.atom(depth + 1)

    def group(self, depth: int) -> Tree:
        self.expect("{")
        tree = self.sum(depth + 1)
        self.expect("}")
        return tree

    def argument(self, depth: int) -> Tree:
        """What a command applies to: a group, or one token."""
        if self.peek()[1] == "{":
            return self.group(depth)
        kind, text = self.take()
        if kind == "num" and len(text) == 1:
            return ("num", Fraction(int(text)), 0)
        if kind == "let":
            return _letter(text)
        if kind == "cmd" and text[1:] in _GREEK | {"pi"}:
            return _command(text[1:])
        raise Unreadable(text)

    def atom(self, depth: int) -> Tree:
        if depth > MAX_DEPTH:
            raise Unreadable("too deep")
        kind, text = self.take()
        if kind == "num":
            return number(text)
        if kind == "let":
            return self.subscripted(_letter(text))
        if text in _CLOSING:
            tree = self.sum(depth + 1)
            self.expect(_CLOSING[text])
            return tree
        if text == "|" or text == "\\vert":
            tree = self.sum(depth + 1)
            self.expect(text)
            return ("fn", "abs", tree)
        if kind == "cmd":
            return self.command(text[1:], depth)
        raise Unreadable(text)

    def subscripted(self, tree: Tree) -> Tree:
        if self.peek()[1] != "_":
            return tree
        self.at += 1
        if tree[0] != "sym":
            raise Unreadable("a subscript")
        return ("sym", f"{tree[1]}_{self.script()}")

    def script(self) -> str:
        """A subscript's text."""
        if self.peek()[1] != "{":
            kind, text = self.take()
            if kind in ("let", "num"):
                return text
            raise Unreadable(text)
        self.at += 1
        parts = []
        while self.peek()[1] != "}":
            kind, text = self.take()
            if text == "{":
                raise Unreadable("a subscript with braces")
            parts.append(text)
        self.at += 1
        return "".join(parts)

    def command(self, name: str, depth: int) -> Tree:
        if name == "frac":
            return ("div", self.argument(depth), self.argument(depth))
        if name == "sqrt":
            return self.root(depth)
        if name == "binom":
            return ("fn", "binom", self.argument(depth), self.argument(depth))
        if name in ("lfloor", "lceil"):
            tree = self.sum(depth + 1)
            self.expect("\\r" + name[1:])
            return ("fn", "floor" if name == "lfloor" else "ceil", tree)
        if name in ("text", "mathbf", "vec", "hat"):
            kind, text = self.take()
            if text == "{":
                kind, text = self.take()
                self.expect("}")
            if kind == "let":
                return self.subscripted(("sym", text if name == "text" else f"{name} {text}"))
            raise Unreadable(name)
        if name in _FUNCTIONS:
            return self.function(name, depth)
        if name in _GREEK or name in ("pi", "infty"):
            return self.subscripted(_command(name))
        raise Unreadable(name)

    def root(self, depth: int) -> Tree:
        if self.peek()[1] == "[":
            self.at += 1
            degree = self.sum(depth + 1)
            self.expect("]")
            return ("pow", self.argument(depth), ("div", _ONE, degree))
        if self.peek()[1] == "(":
            return ("fn", "sqrt", self.atom(depth + 1))
        return ("fn", "sqrt", self.argument(depth))

    def function(self, name: str, depth: int) -> Tree:
        base: Tree | None = None
        power: Tree | None = None
        if name == "log" and self.peek()[1] == "_":
            self.at += 1
            base = self.argument(depth)
        if self.peek()[1] == "^":
            self.at += 1
            power = self.exponent(depth)
            if power[0] == "neg":
                raise Unreadable("sin^{-1}")
        if self.peek()[1] in ("(", "{", "["):
            x = self.atom(depth + 1)
            if self.peek()[1] in ("^", "!") and power is None:
                raise Unreadable("sin(x)^2")
        else:
            if depth + 1 > MAX_DEPTH:
                raise Unreadable("too deep")
            x = self.product(depth + 1, of_function=True)
        if name == "exp":
            tree: Tree = ("pow", ("const", "e"), x)
        elif name == "log" and base is not None:
            tree = ("div", ("fn", "ln", x), ("fn", "ln", base))
        else:
            tree = ("fn", _FUNCTIONS[name], x)
        return tree if power is None else ("pow", tree, power)


_ONE: Tree = ("num", Fraction(1), 0)
_PLAIN_DECIMALS = 5


def number(text: str) -> Tree:
    """A number's exact value, and its decimal places where it may stand for what it rounds (0.333333: more than 5)."""
    if len(text) > 1000:
        raise Unreadable("digits")
    decimals = text.partition(".")[2].rstrip("0")
    return ("num", Fraction(text.replace(",", "").rstrip(".")), len(decimals) if len(decimals) > _PLAIN_DECIMALS else 0)


def _letter(text: str) -> Tree:
    return ("const", text) if text in ("e", "i") else ("sym", text)


def _command(name: str) -> Tree:
    if name == "pi":
        return ("const", "pi")
    return ("const", "oo") if name == "infty" else ("sym", "\\" + name)
