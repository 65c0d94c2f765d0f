"""Whether an answer's shape equals a reference's, part by part; formulas go to :mod:`leash_ray.verify.math.values`."""

import itertools
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from leash_ray.verify.math.formula import Tree, Unreadable, parse_formula
from leash_ray.verify.math.number import value_of
from leash_ray.verify.math.shape import Leaf, Many, Matrix, Ordered, Relation, Shape, Union, is_name
from leash_ray.verify.math.values import equal, number_at

_WORDS = re.compile(r"(?:\\text\{)?\(?([A-Za-z]|[A-Za-z]{2,}(?:[ '-]+[A-Za-z]+)*)\)?\}?\Z")
_SHORT_WORDS = frozenset({"yes", "no", "odd", "one", "two", "six", "ten", "all"})
_MAX_UNORDERED = 60


@dataclass
class Comparison:
    """One comparison, with its rules; :attr:`percent` says afterwards whether it had to pass over a percent sign."""

    atol: float = 0.0
    """How far a number may be from the reference's; 0: it must be the same."""
    rtol: float = 0.0
    """The same, as a share of the reference's."""
    ordered: bool = False
    """Whether the order of several answers counts."""
    allow_percent: bool = True
    """Whether 50 may stand for 50%, and the other way."""
    percent: bool = False

    def same(self, gold: Shape, said: Shape) -> bool:
        """Whether ``said`` is ``gold``; the set of one answer is that answer."""
        return self._same(_alone(gold), _alone(said))

    def _same(self, gold: Shape, said: Shape) -> bool:
        if isinstance(said, Relation) and not isinstance(gold, Relation):
            return self._relation_says(gold, said)
        if isinstance(gold, Relation) and not isinstance(said, Relation):
            return self._relation_asked(gold, said)
        if isinstance(gold, Leaf) and isinstance(said, Leaf):
            return self._leaves(gold, said)
        if isinstance(gold, Relation) and isinstance(said, Relation):
            return self._relations(gold, said)
        if isinstance(gold, Many) and isinstance(said, Many):
            return self._many(gold, said)
        if isinstance(gold, Ordered) and isinstance(said, Ordered):
            same_brackets = (gold.opening, gold.closing) == (said.opening, said.closing)
            return same_brackets and self._in_order(gold.items, said.items)
        if isinstance(gold, Matrix) and isinstance(said, Matrix):
            return len(gold.rows) == len(said.rows) and all(map(self._in_order, gold.rows, said.rows))
        if isinstance(gold, Union):
            parts = said if isinstance(said, Union) else _union_of(said)
            return parts is not None and self._unordered(gold.parts, parts.parts)
        return False

    def _in_order(self, gold: tuple[Shape, ...], said: tuple[Shape, ...]) -> bool:
        return len(gold) == len(said) and all(self._same(a, b) for a, b in zip(gold, said, strict=True))

    def _unordered(self, gold: tuple[Shape, ...], said: tuple[Shape, ...]) -> bool:
        if len(gold) != len(said) or len(gold) > _MAX_UNORDERED:
            return False
        left = list(said)
        for item in gold:
            found = next((i for i, other in enumerate(left) if self._same(item, other)), None)
            if found is None:
                return False
            del left[found]
        return True

    def _many(self, gold: Many, said: Many) -> bool:
        names, other_names = _names(gold.items), _names(said.items)
        if names != other_names and max(len(names), len(other_names)) > 1:  # x = 3, y = 5 is not 3, 5
            return False
        if len(names) > 1 and gold.by_or != said.by_or:  # nor is x = 1 or y = 2 both
            return False
        wanted, given = _without_names(gold.items), _without_names(said.items)
        if gold.is_set and said.is_set:  # an element that is written twice counts once
            wanted, given = _distinct(wanted), _distinct(given)
        words = any(isinstance(x, Leaf) and _WORDS.match(x.text) for x in wanted)
        if self.ordered or (words and not gold.is_set):  # words may be asked for in an order
            return self._in_order(wanted, given)
        return self._unordered(wanted, given)

    def _relation_says(self, gold: Shape, said: Relation) -> bool:
        """``x = 5`` says 5, and so does ``10/2 = 5``; every side that is no name must be right."""
        if set(said.ops) <= {"=", "~"}:
            values = [side for side in said.sides if not _is_label(side)]
            values = values or [said.sides[-1]]
            rounded = [side for side, op in zip(said.sides[1:], said.ops, strict=True) if op == "~"]
            exact = [value for value in values if value not in rounded]
            if not exact or not all(self._same(gold, value) for value in exact):
                return False
            return all(_near(exact[0], value) for value in rounded)
        interval = _interval_of(said)
        clear = isinstance(gold, Union) or (isinstance(gold, Ordered) and _is_interval(gold))
        return interval is not None and clear and self._same(gold, interval)

    def _relation_asked(self, gold: Relation, said: Shape) -> bool:
        """Where ``x = 5`` is asked for, 5 will do."""
        if gold.ops == ("=",):
            return _is_label(gold.sides[0]) and self._same(gold.sides[1], said)
        interval = _interval_of(gold)
        return interval is not None and isinstance(said, Ordered) and self._same(interval, said)

    def _relations(self, gold: Relation, said: Relation) -> bool:
        if len(gold.sides) == 2 and len(said.sides) == 2:
            if gold.ops == said.ops and self._in_order(gold.sides, said.sides):
                return True
            return self._two_sided(gold, said)
        if len(gold.sides) != len(said.sides):
            return False
        if gold.ops == said.ops:
            return self._in_order(gold.sides, said.sides)
        return gold.ops == tuple(_FLIPPED[op] for op in reversed(said.ops)) and self._in_order(
            gold.sides, said.sides[::-1]
        )

    def _two_sided(self, gold: Relation, said: Relation) -> bool:
        """Whether left minus right is, up to a factor that keeps the relation, the same formula in both."""
        try:
            a, b = _difference(gold), _difference(said)
        except Unreadable:
            return False
        factor = _factor(a, b)
        if factor is None:
            return False
        op = said.ops[0] if factor > 0 else _FLIPPED[said.ops[0]]
        return op == gold.ops[0] and equal(a, ("mul", ("num", factor, 0), b))

    def _leaves(self, gold: Leaf, said: Leaf) -> bool:
        if not self._units_agree(gold, said):
            return False
        if gold.text == said.text and (gold.unit == said.unit or "%" not in (gold.unit, said.unit)):
            return True
        words, other = _WORDS.match(gold.text), _WORDS.match(said.text)
        if words and other and (len(words[1]) > 1 or gold.text != words[1] or said.text != other[1]):
            a_word, other_word = words[1].casefold(), other[1].casefold()
            if len(a_word) > 3 or a_word in _SHORT_WORDS:
                return a_word == other_word
            return words[1] == other[1]  # these may be variables
        if gold.unit and gold.unit.startswith("base"):
            return False
        try:
            a, b = read_formula(gold.text), read_formula(said.text)
        except Unreadable:
            return False
        if said.unit == "%" and gold.unit is None:
            return self._percent_for_bare(a, b)
        if gold.unit == "%" and said.unit is None:
            self.percent = True
        return self._formulas(a, b)

    def _formulas(self, a: Tree, b: Tree) -> bool:
        if self.atol or self.rtol:
            x, y = number_at(a, {}) if not _has_names(a) else None, number_at(b, {}) if not _has_names(b) else None
            if x is not None and y is not None:
                return abs(x - y) <= max(self.atol, self.rtol * abs(x)) * (1 + 1e-9)
        return equal(a, b)

    def _units_agree(self, gold: Leaf, said: Leaf) -> bool:
        if gold.unit == said.unit:
            return True
        if gold.unit == "%":
            return said.unit is None and self.allow_percent
        if said.unit and said.unit.startswith("base"):
            return False
        return gold.unit is None or said.unit is None

    def _percent_for_bare(self, gold: Tree, said: Tree) -> bool:
        """50% where the reference is 1/2, or (of a question that asks for percent) where it is 50.

        Neither 100% for 1 nor 1% for 1: the reference may be in percent or not.
        """
        x = None if _has_names(gold) else number_at(gold, {})
        if x is None:
            return False
        if x != round(x.real) and self._formulas(gold, ("div", said, _HUNDRED)):
            return True
        if not self.allow_percent or abs(x) <= 1 or not self._formulas(gold, said):
            return False
        self.percent = True
        return True


_HUNDRED: Tree = ("num", Fraction(100), 0)
_FLIPPED = {"=": "=", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<=", "~": "~"}


@lru_cache(maxsize=20_000)
def read_formula(text: str) -> Tree:
    """A formula's tree.

    Raises:
        Unreadable: it cannot be read whole.
    """
    if (number := value_of(text)) is not None:
        return ("num", *number)
    return parse_formula(text)


def _has_names(tree: Tree) -> bool:
    return tree[0] == "sym" or any(_has_names(x) for x in tree[1:] if isinstance(x, tuple))


def _alone(shape: Shape) -> Shape:
    """The element of a set of one, unless it is a set."""
    alone = isinstance(shape, Many) and len(shape.items) == 1 and not isinstance(shape.items[0], Many)
    return shape.items[0] if isinstance(shape, Many) and alone else shape


def _distinct(items: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return tuple(dict.fromkeys(items))


def _without_names(items: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """``x = 1, x = 2`` and ``x = 1, 2`` as ``1, 2``; names that differ stay."""
    if len(_names(items)) != 1:
        return items
    return tuple(item.sides[1] if isinstance(item, Relation) and _name_of(item) else item for item in items)


def _names(items: tuple[Shape, ...]) -> set[str]:
    return {name for item in items if (name := _name_of(item)) is not None}


def _name_of(item: Shape) -> str | None:
    if isinstance(item, Relation) and item.ops == ("=",):
        side = item.sides[0]
        return side.text if isinstance(side, Leaf) and is_name(side.text) else None
    return None


def _is_label(side: Shape) -> bool:
    """Whether a side of an equation only says what the other is: ``x``, ``(x, y)``."""
    if isinstance(side, Ordered):  # (y, x) = (1, 2) is no (1, 2)
        names = [x.text if isinstance(x, Leaf) else "" for x in side.items]
        letters = [name for name in names if len(name) == 1]
        return all(map(is_name, names)) and letters == sorted(letters)
    return isinstance(side, Leaf) and side.unit is None and is_name(side.text)


def _near(exact: Shape, rounded: Shape) -> bool:
    """Whether the right of an approximate sign is a rounding of the left."""
    try:
        if not isinstance(exact, Leaf) or not isinstance(rounded, Leaf):
            return False
        x, y = number_at(read_formula(exact.text), {}), number_at(read_formula(rounded.text), {})
    except (Unreadable, KeyError):
        return False
    return x is not None and y is not None and abs(x - y) <= 0.01 * abs(x)


def _difference(relation: Relation) -> Tree:
    sides = []
    for side in relation.sides:
        if not isinstance(side, Leaf) or side.unit is not None:
            raise Unreadable("sides that are no formulas")
        sides.append(read_formula(side.text))
    return ("add", sides[0], ("neg", sides[1]))


def _factor(a: Tree, b: Tree) -> Fraction | None:
    """The rational number that one formula is of the other, if any."""
    names = sorted({n[1] for t in (a, b) for n in _nodes(t) if n[0] == "sym"})
    if not names:
        return None
    for base in (0.618, 1.409):
        point = {name: base + 0.3719 * i for i, name in enumerate(names)}
        x, y = number_at(a, point), number_at(b, point)
        if x and y:
            ratio = x / y
            if abs(ratio.imag) < 1e-9 * abs(ratio):
                found = Fraction(ratio.real).limit_denominator(10_000)
                return found if found and abs(found - Fraction(ratio.real)) <= abs(found) * Fraction(1e-9) else None
    return None


def _nodes(tree: Tree) -> list[Tree]:
    return [tree, *itertools.chain.from_iterable(_nodes(x) for x in tree[1:] if isinstance(x, tuple))]


def _is_interval(shape: Ordered) -> bool:
    """Whether it can be nothing but an interval: half open, closed with two ends, or without end."""
    if len(shape.items) != 2:
        return False
    unbounded = any(isinstance(x, Leaf) and x.text.lstrip("+-") == "\\infty" for x in shape.items)
    return unbounded or (shape.opening, shape.closing) != ("(", ")")


def _interval_of(relation: Relation) -> Ordered | None:
    """The values of the one name in ``1 < x <= 2`` or ``x > 1``."""
    sides, ops = relation.sides, relation.ops
    if set(ops) <= {">", ">="}:
        sides, ops = sides[::-1], tuple(_FLIPPED[op] for op in reversed(ops))
    if not set(ops) <= {"<", "<="} or len(sides) > 3:
        return None
    named = [i for i, s in enumerate(sides) if isinstance(s, Leaf) and is_name(s.text)]
    if len(named) != 1 or (len(sides) == 3 and named != [1]):
        return None
    low: Shape = Leaf("-\\infty")
    high: Shape = Leaf("\\infty")
    opening, closing = "(", ")"
    if named[0] > 0:
        low, opening = sides[0], "[" if ops[0] == "<=" else "("
    if named[0] < len(sides) - 1:
        high, closing = sides[-1], "]" if ops[-1] == "<=" else ")"
    return Ordered(opening, (low, high), closing)


def _union_of(shape: Shape) -> Union | None:
    """``x < 1 or x > 2`` as a union of intervals."""
    if not (isinstance(shape, Many) and shape.by_or):
        return None
    relations = [x for x in shape.items if isinstance(x, Relation)]
    names = {side.text for x in relations for side in x.sides if isinstance(side, Leaf) and is_name(side.text)}
    if len(relations) != len(shape.items) or len(names) != 1:
        return None
    parts = [_interval_of(x) for x in relations]
    return None if None in parts else Union(tuple(p for p in parts if p is not None))
