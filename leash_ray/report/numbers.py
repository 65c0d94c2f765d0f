"""Estimates with their intervals, with as many digits as the interval bears out: "0.194 [0.167, 0.226]"."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from leash_ray.report.text import DASH, is_number


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number that may be undefined, and its interval, which may be missing."""

    value: float | None = None
    ci: tuple[float, float] | None = None

    @property
    def sure_sign(self) -> int | None:
        """1 or -1 where the interval lies on one side of 0; 0 where it does not; None without an interval."""
        if self.ci is None:
            return None
        return 1 if self.ci[0] > 0 else -1 if self.ci[1] < 0 else 0


class Kind(NamedTuple):
    """How a number is printed."""

    decimals: int
    """At least; more where the interval is narrow."""
    digits: int = 1
    """Of the interval's width that are to be seen (of a number without one: two); 0: never more than ``decimals``."""
    most: int = 9
    """Decimals at most."""
    scale: float = 1.0
    """What it is multiplied by."""


RATE, MEAN, COUNT = Kind(3, 2), Kind(2, most=3), Kind(1, 0)
FIXED = Kind(3, 0)
"""A rate that is not read alone, where a smaller number is no more than 0."""


class Information(NamedTuple):
    """What entropies and surprisals are printed in; they are stored in nats."""

    name: str
    kind: Kind


NATS, BITS = Information("nats", MEAN), Information("bits", Kind(2, most=3, scale=1 / math.log(2)))


def shown(estimate: Estimate, kind: Kind = RATE, *, signed: bool = False) -> str:
    """The value and, where there is one, its interval. ``signed``: a change, with its sign."""
    if not is_number(estimate.value):
        return DASH
    value = estimate.value * kind.scale
    if estimate.ci is None:
        return _fixed(value, _decimals(abs(value), kind._replace(digits=2 if kind.digits else 0)), signed)
    low, high = (end * kind.scale for end in estimate.ci)
    decimals = _off_zero(low, high, _decimals(high - low or abs(value), kind))
    return f"{_fixed(value, decimals, signed)} [{_fixed(low, decimals)}, {_fixed(high, decimals)}]"


def _decimals(size: float, kind: Kind) -> int:
    """As many as show the kind's digits of ``size``, but not fewer than the kind's decimals."""
    if size < 1e-8 or not kind.digits:  # so small that it is rounding
        return kind.decimals
    return max(kind.decimals, min(kind.most, kind.digits - 1 - math.floor(math.log10(size))))


def _off_zero(low: float, high: float, decimals: int) -> int:
    """Up to two decimals more where an interval lies on one side of 0 and would not look it."""
    end = low if low > 0 else -high
    if end <= 0:
        return decimals
    return next((d for d in range(decimals, decimals + 3) if round(end, d) > 0), decimals)


def _fixed(value: float, decimals: int, signed: bool = False) -> str:
    text = f"{value:{'+' if signed else ''},.{decimals}f}"
    zero = not any(c in "123456789" for c in text)
    return text.lstrip("+-") if zero else text


def around(mean: Any, sd: Any) -> str:
    """An expected count and its standard deviation: "1.3 ± 0.9"."""
    if not is_number(mean):
        return DASH
    return f"{mean:,.1f} ± {sd:,.1f}" if is_number(sd) else f"{mean:,.1f}"


def p_value(p: Any) -> str:
    """0.12, 0.010, 7e-18."""
    if not is_number(p):
        return DASH
    if p >= 0.995:
        return "1"
    if p >= 0.001:
        return f"{p:.{2 if p >= 0.0995 else 3}f}"
    return f"{p:.1g}" if p > 0 else "0"
