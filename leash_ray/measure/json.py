"""Numbers as JSON has them: what is undefined is null, never NaN and never 0."""

import math
from typing import Any, SupportsFloat


def number(value: SupportsFloat) -> float | None:
    """A finite number, or None."""
    found = float(value)
    return found if math.isfinite(found) else None


def interval(low: SupportsFloat, high: SupportsFloat) -> list[float] | None:
    """``[low, high]``; None where it is undefined."""
    pair = [number(low), number(high)]
    return None if None in pair else pair  # type: ignore[return-value]


def with_ci(value: SupportsFloat, low: SupportsFloat, high: SupportsFloat) -> dict[str, Any]:
    """One estimate with its interval."""
    return {"value": number(value), "ci": interval(low, high)}
