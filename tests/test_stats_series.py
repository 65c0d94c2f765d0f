"""A run's checkpoints by hand, and against a loop that follows each problem step by step."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash_ray.stats.series import NEVER, series, step_of


def test_by_hand() -> None:
    # Six problems, steps 100, 200, 300, 400:   base   100 200 300 400
    #   0 kept                                   yes    +   +   +   +
    #   1 lost at 200, stays lost                yes    +   -   -   -
    #   2 lost at 100, back at 200, lost again   yes    -   +   -   -
    #   3 lost at 300, back at 400               yes    +   +   -   +
    #   4 gained at 200, gone at 400             no     -   +   +   -
    #   5 never                                  no     -   -   -   -
    found_base = [True] * 4 + [False] * 2
    rows = ["++-+--", "+-+++-", "+---+-", "+--+--"]
    r = series([100, 200, 300, 400], found_base, [[c == "+" for c in row] for row in rows])
    assert {name: values.tolist() for name, values in r.counts.items()} == {
        "P": [3, 3, 1, 2], "E": [0, 1, 1, 0], "S": [1, 1, 3, 2], "O": [2, 1, 1, 2],
    }  # fmt: skip
    assert r.metrics["SRR"] == pytest.approx([3 / 4, 3 / 4, 1 / 4, 1 / 2])
    assert r.metrics["NSCR"] == pytest.approx([-1 / 4, 0, -2 / 5, -1 / 2])
    assert r.lost.first.tolist() == [NEVER, 200, 100, 300, NEVER, NEVER]
    assert r.lost.back.tolist() == [NEVER, NEVER, 200, 400, NEVER, NEVER]
    assert r.lost.at_last.tolist() == [False, True, True, False, False, False]
    assert r.lost.spells.tolist() == [0, 1, 2, 1, 0, 0]
    assert r.lost.counts() == {"ever": 3, "came_back": 2, "at_last": 2, "more_than_once": 1}
    assert r.gained.first.tolist() == [NEVER] * 4 + [200, NEVER]
    assert r.gained.back.tolist() == [NEVER] * 4 + [400, NEVER]
    assert r.gained.counts() == {"ever": 1, "came_back": 1, "at_last": 0, "more_than_once": 0}


@given(st.integers(0, 5), st.integers(0, 4), st.data())
def test_each_problem_followed_step_by_step(n_steps: int, n_problems: int, data: st.DataObject) -> None:
    flags = st.lists(st.booleans(), min_size=n_problems, max_size=n_problems)
    base = data.draw(flags)
    found = [data.draw(flags) for _ in range(n_steps)]
    steps = [7 * i + 3 for i in range(n_steps)]
    r = series(steps, base, np.array(found, dtype=bool).reshape(n_steps, n_problems))
    for history, had in ((r.lost, True), (r.gained, False)):
        for i in range(n_problems):
            first = back = NEVER
            spells, away = 0, False
            for step, row in zip(steps, found, strict=True):
                now = base[i] == had and row[i] != had
                if now and not away:
                    spells += 1
                    first = step if first == NEVER else first
                if away and not now and back == NEVER:
                    back = step
                away = now
            assert (history.first[i], history.back[i], history.spells[i]) == (first, back, spells)
            assert (history.ever[i], history.at_last[i]) == (spells > 0, away)
    for s in range(n_steps):
        assert sum(values[s] for values in r.counts.values()) == n_problems


def test_no_steps() -> None:
    r = series([], [True, False], np.zeros((0, 2)))
    assert r.counts["P"].shape == (0,) and r.metrics["SRR"].shape == (0,)
    assert r.lost.counts() == {"ever": 0, "came_back": 0, "at_last": 0, "more_than_once": 0}
    assert math.isnan(series([1], [False], [[False]]).metrics["SRR"][0])


def test_steps_of_policies() -> None:
    assert step_of("trained@200") == 200 and step_of("a@b@0") == 0
    for policy in ("trained", "trained@", "trained@last", "trained@2x", "trained@-1", "trained@5\n"):
        assert step_of(policy) is None


def test_bad_input() -> None:
    for steps, base, found in (
        ([1], [True], [[True, False]]),
        ([1, 2], [True], [[True]]),
        ([2, 1], [True], [[True], [True]]),
        ([1, 1], [True], [[True], [True]]),
        ([-1], [True], [[True]]),
    ):
        with pytest.raises(ValueError, match=r"give one row|sort the|count from"):
            series(steps, base, found)
