"""Perplexity of texts and of groups of them, by hand."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash_ray.stats.perplexity import PATTERNS, correctness_patterns, perplexities, perplexity_by_pattern


def test_of_a_text() -> None:
    # Three tokens of probability 1/4 each: 4. One sure token: 1. None; not scored; impossible.
    values = perplexities([3 * math.log(1 / 4), 0.0, 0.0, math.nan, -math.inf], [3, 1, 0, 2, 1])
    assert values == pytest.approx([4, 1, np.nan, np.nan, np.inf], nan_ok=True)


def test_patterns() -> None:
    assert correctness_patterns([1, 1, 0, 0], [1, 0, 1, 0]).tolist() == ["P", "S", "E", "O"]
    assert correctness_patterns([], []).tolist() == []


def test_groups_by_hand() -> None:
    # P: texts of perplexity 2 (1 token), 2 (1 token) and 8 (4 tokens): mean 4, median 2, over tokens
    # exp((2 ln 2 + 4 ln 8) / 6) = 2^(14/6). E: one of perplexity 3. S: none. O: one not scored.
    logprob = [-math.log(2), -4 * math.log(8), -2 * math.log(3), math.nan, -math.log(2)]
    groups = perplexity_by_pattern([0, 1, 2, 3, 0], logprob, [1, 4, 2, 7, 1], ["P", "P", "E", "O"])
    assert list(groups) == ["P", "S", "E", "O"]
    p, s, e, o = groups.values()
    assert (p.n_texts, p.n_undefined, p.n_tokens) == (3, 0, 6)
    assert (p.mean, p.median, p.token_weighted) == pytest.approx((4, 2, 2 ** (14 / 6)))
    assert (e.mean, e.median, e.token_weighted) == pytest.approx((3, 3, 3))
    for nothing, n_texts, n_undefined in ((s, 0, 0), (o, 1, 1)):
        assert (nothing.n_texts, nothing.n_undefined) == (n_texts, n_undefined)
        assert math.isnan(nothing.mean) and math.isnan(nothing.median) and math.isnan(nothing.token_weighted)


texts = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 50), st.integers(1, 9)), max_size=30)


@given(texts, st.randoms())
def test_properties(rows: list[tuple[int, float, int]], random: Random) -> None:
    def groups_of(rows: list[tuple[int, float, int]]) -> dict:
        columns = ([r[0] for r in rows], [-r[1] for r in rows], [r[2] for r in rows])
        return perplexity_by_pattern(*columns, PATTERNS)

    groups = groups_of(rows)
    assert sum(g.n_texts for g in groups.values()) == len(rows)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert repr(groups_of(shuffled)) == repr(groups)
    for number, name in enumerate(PATTERNS):
        mine, group = [math.exp(x / n) for p, x, n in rows if p == number], groups[name]
        if mine:
            for value in (group.mean, group.median, group.token_weighted):
                assert min(mine) * (1 - 1e-9) <= value <= max(mine) * (1 + 1e-9)


def test_bad_input() -> None:
    for call in (
        lambda: perplexities([-1.0], [1, 2]),
        lambda: perplexities([-1.0], [-1]),
        lambda: perplexities([1.0], [1]),
        lambda: correctness_patterns([1], [1, 0]),
        lambda: perplexity_by_pattern([1], [-1.0], [1], ["P"]),
        lambda: perplexity_by_pattern([0, 0], [-1.0], [1], ["P"]),
        lambda: perplexity_by_pattern([0], [-1.0], [1], ["X"]),
    ):
        with pytest.raises(ValueError):
            call()
