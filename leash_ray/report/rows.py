"""Which problems the page shows, in which order.

A page must stay small whatever the run's size, and must not hide a group by its rank: when there are
more problems than places, each group gets a fair share, and what a small group leaves goes to the rest.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from leash_ray.report.text import is_number

if TYPE_CHECKING:
    import pyarrow as pa

ORDER = ("E", "S", "P", "O")
"""What changed sides comes first."""
MAX_ROWS = 500
MAX_EXAMPLES = 200

Row = Mapping[str, Any]


def solve_rate(row: Row, role: str) -> float | None:
    """c/n of one role, or None when it is undefined."""
    c, n = row.get(f"c_{role}"), row.get(f"n_{role}")
    return c / n if is_number(c) and is_number(n) and n > 0 else None


def sorted_rows(per_problem: "pa.Table") -> list[dict[str, Any]]:
    """All rows: by group (E, S, P, O), then by the base's solve rate, hardest first, then by id."""

    def key(row: Row) -> tuple[int, float, str]:
        group, base_rate = row.get("group"), solve_rate(row, "base")
        place = ORDER.index(group) if group in ORDER else len(ORDER)
        return place, -1.0 if base_rate is None else base_rate, str(row.get("problem_id"))

    return sorted(per_problem.to_pylist(), key=key)


def select(rows: Sequence[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """At most ``limit`` of the sorted ``rows``, evenly spread inside each group, in the same order."""
    if len(rows) <= limit:
        return list(rows)
    places: dict[Any, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.get("group"), []).append(place)
    chosen: list[int] = []
    left = limit
    by_size = sorted(places.values(), key=len)
    for i, group in enumerate(by_size):
        take = min(len(group), left // (len(by_size) - i))
        left -= take
        # Evenly spaced, so that a group's easy and hard problems are both there.
        chosen += [group[j * len(group) // take] for j in range(take)]
    return [rows[place] for place in sorted(chosen)]


def example_ids(per_problem: "pa.Table") -> list[str]:
    """The problems of which the page shows completions."""
    shown = select(sorted_rows(per_problem), MAX_ROWS)
    return [str(row["problem_id"]) for row in select(shown, MAX_EXAMPLES)]
