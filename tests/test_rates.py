"""Rates of what grows in lumps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash_ray.rates import RecentRate


def test_a_worked_example() -> None:
    rate = RecentRate(0.0)
    assert rate.per_s(5.0) == 0.0
    rate.add(10.0, 100)
    assert rate.per_s(10.0) == 10.0
    assert rate.per_s(50.0) == 2.0
    rate.add(65.0, 50)
    assert rate.per_s(65.0) == pytest.approx(150 / 65)
    assert rate.per_s(72.0) == pytest.approx(50 / 62)  # the lump at 10 s is a minute old: the window begins there


def test_lumps_further_apart_than_the_window() -> None:
    """A shard every five minutes is a rate over five minutes, not 0 with a peak."""
    rate = RecentRate(0.0)
    for now_s in (300.0, 600.0, 900.0):
        rate.add(now_s, 3000)
        assert rate.per_s(now_s) == 10.0
    assert rate.per_s(1200.0) == 5.0


@given(st.lists(st.tuples(st.floats(0.01, 40.0), st.integers(0, 100)), min_size=1, max_size=60), st.floats(0.0, 100.0))
def test_it_is_what_a_look_at_all_lumps_gives(lumps: list[tuple[float, int]], after_s: float) -> None:
    rate, now_s, marks = RecentRate(0.0), 0.0, [(0.0, 0)]
    for gap_s, amount in lumps:
        now_s += gap_s
        rate.add(now_s, amount)
        marks.append((now_s, amount))
        if amount % 2:
            rate.per_s(now_s)  # looking changes nothing
    now_s += after_s
    begun = max([i for i, (at_s, _) in enumerate(marks[:-1]) if at_s <= now_s - 60.0], default=0)
    expected = sum(amount for _, amount in marks[begun + 1 :]) / (now_s - marks[begun][0])
    assert rate.per_s(now_s) == pytest.approx(expected)
    assert rate.total == sum(amount for _, amount in lumps)
