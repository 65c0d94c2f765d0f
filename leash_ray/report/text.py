"""Numbers and model-written strings, made fit to print.

An undefined number prints as "–" and never as 0. Text that a model wrote is untrusted: control
characters, lone surrogates and direction overrides become visible marks, so that a page shows what was
written and nothing can hide in it. (Escaping for HTML is the template's work.)
"""

import math
import re
from typing import Any, TypeGuard

DASH = "–"

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff\u200b-\u200f\u202a-\u202e\u2060-\u2069]"
)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether ``value`` is a finite number (a bool is not one)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def rate(value: Any) -> str:
    """A probability or a metric between -1 and 1: three decimals, or two digits when it is small."""
    if not is_number(value):
        return DASH
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"


def nats(value: Any) -> str:
    """An entropy or a surprisal: two decimals."""
    return f"{value:.2f}" if is_number(value) else DASH


def decimal(value: Any) -> str:
    """A mean of something counted, such as a length."""
    return f"{value:,.1f}" if is_number(value) else DASH


def count(value: Any) -> str:
    """A count, with thousands separated."""
    return f"{round(value):,}" if is_number(value) else DASH


def plain(value: Any) -> str:
    """A setting as it would be typed: 1.0 stays 1.0, 3.66e-4 keeps its digits."""
    return f"{value:.4g}" if isinstance(value, float) and is_number(value) else DASH if value is None else str(value)


def visible(value: object) -> str:
    """``value`` as text in which every unprintable character shows as itself or by its code."""

    def mark(match: re.Match[str]) -> str:
        code = ord(match.group())
        if code < 0x20:
            return chr(0x2400 + code)  # U+2400.. are the pictures of the control characters
        if code == 0x7F:
            return "\u2421"
        return "\ufffd" if 0xD800 <= code <= 0xDFFF else f"⟨U+{code:04X}⟩"

    return _UNPRINTABLE.sub(mark, str(value))


def clip(value: str, limit: int = 1500) -> str:
    """At most about ``limit`` characters: the start and the end, since the answer is mostly at the end."""
    if len(value) <= limit:
        return value
    head, tail = limit * 3 // 5, limit * 2 // 5
    return f"{value[:head]}\n[… {len(value) - head - tail:,} characters left out …]\n{value[-tail:]}"


def clean(value: Any) -> Any:
    """:func:`visible` over every string inside ``value`` (dicts, lists, tuples); other values stay."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(k) if isinstance(k, str) else k: clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    return value
