"""Multisets of sample indices as bits, against counting by hand."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leash_ray.reducers import bitsets
from leash_ray.reducers.bitsets import PAIR_SHIFT, Bitsets, Ranks, RanksWithout

elements = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 200) | st.sampled_from([2**31 - 2, 64 * 64])), max_size=60
)


def values(of: list[tuple[int, int]]) -> np.ndarray:
    return np.array([(pair << 32) | index for pair, index in of], dtype=np.int64)


def counted(sets: Bitsets) -> Counter[tuple[int, int]]:
    found: Counter[tuple[int, int]] = Counter()
    for key, bits in zip(sets.key.tolist(), sets.bits.tolist(), strict=True):
        for bit in range(64):
            if bits >> bit & 1:
                found[key >> PAIR_SHIFT, (key & ((1 << PAIR_SHIFT) - 1)) * 64 + bit] += 1
    return found


def same(a: Bitsets, b: Bitsets) -> bool:
    return all(x.tolist() == y.tolist() for x, y in zip(a, b, strict=True))


@settings(max_examples=200, deadline=None)
@given(elements, st.integers(0, 60))
def test_any_split_gives_the_same_rows(of: list[tuple[int, int]], cut: int) -> None:
    whole = bitsets.of_values(values(of))
    assert counted(whole) == Counter(of)
    assert (np.diff(whole.key * 128 + whole.copy) > 0).all()
    parts = bitsets.of_values(values(of[cut:])), bitsets.of_values(values(of[:cut]))
    assert same(bitsets.add(bitsets.concat(*parts)), whole)
    assert same(bitsets.add(whole), whole)


@pytest.mark.parametrize("start", [0, 1, 63, 64, 100])
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 300])
def test_runs_in_order_are_words(start: int, n: int) -> None:
    of = [(pair, i) for pair in (0, 2) for i in range(start, start + n)]
    found = bitsets.of_values(values(of))
    assert counted(found) == Counter(of)
    assert len(found.key) == 2 * ((start + n - 1) // 64 - start // 64 + 1)
    rng = np.random.default_rng(0)
    assert same(bitsets.of_values(rng.permutation(values(of))), found)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 200)), max_size=80), st.integers(0, 3), st.integers(0, 300))
def test_ranks(of: set[tuple[int, int]], pair: int, index: int) -> None:
    sets = bitsets.of_values(values(sorted(of)))
    ranks = Ranks(sets.key, sets.bits)
    before = sum(p == pair and i < index for p, i in of)
    assert ranks.before(np.array([pair]), np.array([index])).tolist() == [before]
    for p, n in enumerate(ranks.from_zero(5).tolist()):
        assert all((p, i) in of for i in range(n)) and (p, n) not in of


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 200)), max_size=6))
@example([(0, 0, 128), (1, 0, 64), (1, 1, 64)])  # full words; a gap of one word
@example([(2, 1, 64)])  # nothing at 0
def test_ranks_of_whole_words(spans: list[tuple[int, int, int]]) -> None:
    """Runs of samples that begin with a word, as (pair, word, length)."""
    of = {(pair, 64 * word + i) for pair, word, n in spans for i in range(n)}
    sets = bitsets.of_values(values(sorted(of)))
    ranks = Ranks(sets.key, sets.bits)
    odd, from_zero = ranks.odd(5).tolist(), ranks.from_zero(5).tolist()
    for p in range(5):
        assert odd[p] == sum(pair == p and i % 2 for pair, i in of)
        assert from_zero[p] == next(i for i in range(1000) if (p, i) not in of)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 200)), min_size=1, max_size=80), st.randoms())
def test_ranks_without_some(of: set[tuple[int, int]], random: Any) -> None:
    left_out = {one for one in sorted(of) if random.random() < 0.3}
    sets = [bitsets.of_values(values(sorted(some))) for some in (of, left_out, of - left_out)]
    every, out, rest = (Ranks(one.key, one.bits) for one in sets)
    ranks = RanksWithout(every, out)
    assert ranks.odd(5).tolist() == rest.odd(5).tolist()
    assert ranks.from_zero(5).tolist() == rest.from_zero(5).tolist()
    pair, index = np.divmod(np.arange(4 * 210), 210)
    assert ranks.before(pair, index).tolist() == rest.before(pair, index).tolist()
