"""Multisets of sample indices as bits: exact, and small whether indices come in order or not.

64 indices of a pair share one word. Rows are (key, copy, bits), sorted: key is pair << 26 | word, and bit b of copy c
is set if index 64 * word + b occurs at least c times. So a set has copies 1 alone, and adding two multisets adds, for
each index, its number of rows. Never more rows than indices, and 16 bytes for 64 indices where they are dense.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORD_BITS = 64
_SHIFT = 6
PAIR_SHIFT = 32 - _SHIFT
"""A key's pair is ``key >> PAIR_SHIFT``."""
_WORD_MASK = (1 << PAIR_SHIFT) - 1
Ints = NDArray[np.int64]
Bits = NDArray[np.uint64]
_ALL = np.uint64(2**64 - 1)
_ODD = np.uint64(0xAAAA_AAAA_AAAA_AAAA)


class Bitsets(NamedTuple):
    """Parallel arrays, [rows], sorted by key, then copy; no row is empty."""

    key: Ints
    copy: NDArray[np.int8]
    bits: Bits


def of_values(value: Ints) -> Bitsets:
    """From pair << 32 | index, in any order."""
    if not len(value):
        return Bitsets(value, value.astype(np.int8), value.astype(np.uint64))
    step = np.diff(value)
    runs = np.flatnonzero(step != 1) + 1
    if 4 * len(runs) > len(value):  # not in order
        key, bits = value >> _SHIFT, np.uint64(1) << (value & (WORD_BITS - 1)).astype(np.uint64)
        if (found := _scattered(key, bits)) is not None:
            return found
        if (step < 0).any():
            value = np.sort(value)
            step = np.diff(value)
        return _of_each(value, bool((step == 0).any()))
    # Samplers write a problem's samples one after another: a run is a few words.
    first, stop = value[np.concatenate([[0], runs])], value[np.concatenate([runs, [len(value)]]) - 1] + 1
    start_word = first >> _SHIFT
    n_words = ((stop - 1) >> _SHIFT) - start_word + 1
    run = np.repeat(np.arange(len(first)), n_words)
    key = start_word[run] + np.arange(len(run)) - (np.cumsum(n_words) - n_words)[run]
    low = np.maximum(first[run] - (key << _SHIFT), 0).astype(np.uint64)
    high = np.minimum(stop[run] - (key << _SHIFT), WORD_BITS).astype(np.uint64)
    bits = (_ALL << low) & (_ALL >> (np.uint64(WORD_BITS) - high))
    return add(Bitsets(key, np.ones(len(key), dtype=np.int8), bits))


def _of_each(value: Ints, repeated: bool) -> Bitsets:
    """From sorted values."""
    key, bits = value >> _SHIFT, np.uint64(1) << (value & (WORD_BITS - 1)).astype(np.uint64)
    if repeated:
        return add(Bitsets(key, np.ones(len(key), dtype=np.int8), bits))
    at = np.flatnonzero(np.diff(key, prepend=-1))
    return Bitsets(key[at], np.ones(len(at), dtype=np.int8), np.bitwise_or.reduceat(bits, at))


def add(parts: Bitsets) -> Bitsets:
    """The sum of multisets whose rows come one after another, in any order."""
    key, copy, bits = parts
    if (key[1:] > key[:-1]).all():
        return parts
    if (copy == 1).all() and (found := _scattered(key, bits)) is not None:
        return found
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key, kind="stable")
        key, copy, bits = key[order], copy[order], bits[order]
    at = np.flatnonzero(np.diff(key, prepend=-1))
    if len(at) == len(key):
        return Bitsets(key, copy, bits)
    either = np.bitwise_or.reduceat(bits, at)
    n_of_rows = np.add.reduceat(np.bitwise_count(bits).astype(np.int64), at)
    again = n_of_rows != np.bitwise_count(either)
    if not again.any():
        return Bitsets(key[at], np.ones(len(at), dtype=np.int8), either)
    several = np.repeat(again, np.diff(np.append(at, len(key))))
    repeats = _counted(key[several], bits[several])
    once = Bitsets(key[at][~again], np.ones(int((~again).sum()), dtype=np.int8), either[~again])
    key, copy, bits = concat(once, repeats)
    order = np.lexsort((copy, key))
    return Bitsets(key[order], copy[order], bits[order])


def _scattered(key: Ints, bits: Bits) -> Bitsets | None:
    """The sum of words of copy 1, each put where it belongs in one array; None: that would be far larger than they are,
    or some index occurs twice."""
    pair, word = key >> PAIR_SHIFT, key & _WORD_MASK
    width, first = int(word.max()) + 1, int(pair.min())
    n = (int(pair.max()) - first + 1) * width
    if n > 4 * len(key) + 1024:
        return None
    total = np.zeros(n, dtype=np.uint64)
    np.add.at(total, (pair - first) * width + word, bits)
    # A carry makes a sum have fewer bits than its parts: no index occurs twice if none is lacking.
    if np.bitwise_count(total).sum(dtype=np.int64) != np.bitwise_count(bits).sum(dtype=np.int64):
        return None
    at = np.flatnonzero(total)
    pair, word = np.divmod(at, width)
    return Bitsets(((pair + first) << PAIR_SHIFT) | word, np.ones(len(at), dtype=np.int8), total[at])


def concat(*sets: Bitsets) -> Bitsets:
    """Rows one after another."""
    return Bitsets(*(np.concatenate([one[i] for one in sets]) for i in range(3)))


def _counted(key: Ints, bits: Bits) -> Bitsets:
    """Rows of words in which some index has several, sorted by key: how often each index occurs, counted."""
    at = np.flatnonzero(np.diff(key, prepend=-1))
    times = np.add.reduceat(bits_of(bits).astype(np.int64), at, axis=0)
    weight = np.uint64(1) << np.arange(WORD_BITS, dtype=np.uint64)
    found = []
    for copy in range(1, int(times.max()) + 1):
        plane = ((times >= copy) * weight).sum(axis=1, dtype=np.uint64)
        some = plane > 0
        found.append((key[at][some], np.full(int(some.sum()), min(copy, 127), dtype=np.int8), plane[some]))
    return Bitsets(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def bits_of(bits: Bits) -> NDArray[np.uint8]:
    """Each bit, [rows, 64], that of the smallest index first."""
    return np.unpackbits(bits.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")


class Ranks:
    """How many elements of a set come before an index of the same pair."""

    def __init__(self, key: Ints, bits: Bits) -> None:
        """Sorted keys without repeats."""
        self._key, self._bits = key, bits
        # Sums may pass 2**32: their differences within a pair are below it, so they are right all the same.
        self._total = np.zeros(len(key) + 1, dtype=np.uint32)
        np.cumsum(np.bitwise_count(bits), dtype=np.uint32, out=self._total[1:])

    def before(self, pair: Ints, index: Ints) -> Ints:
        """Elements of the pair below the index, [asked]."""
        word = (pair << PAIR_SHIFT) | (index >> _SHIFT)
        row = np.searchsorted(self._key, word)
        inside = np.zeros(len(pair), dtype=np.int64)
        hit = row < len(self._key)
        hit[hit] = self._key[row[hit]] == word[hit]
        below = (np.uint64(1) << (index[hit] & (WORD_BITS - 1)).astype(np.uint64)) - np.uint64(1)
        inside[hit] = np.bitwise_count(self._bits[row[hit]] & below)
        start = np.searchsorted(self._key, pair << PAIR_SHIFT)
        return (self._total[row] - self._total[start]).astype(np.int64) + inside

    def odd(self, n_pairs: int) -> Ints:
        """Elements of each pair that are odd, [n_pairs]."""
        total = np.zeros(len(self._key) + 1, dtype=np.uint32)
        np.cumsum(np.bitwise_count(self._bits & _ODD), dtype=np.uint32, out=total[1:])
        return np.diff(total[self._starts(n_pairs)]).astype(np.int64)

    def from_zero(self, n_pairs: int) -> Ints:
        """The largest m such that 0 .. m-1 are all in the pair's set, [n_pairs]."""
        start = self._starts(n_pairs)
        # The first row of a pair that is not full, or comes after a gap, ends what is there from 0.
        ends = self._bits != _ALL
        ends[1:] |= self._key[1:] != self._key[:-1] + 1
        first = start[:-1][start[:-1] < start[1:]]
        ends[first] = (self._bits[first] != _ALL) | ((self._key[first] & _WORD_MASK) != 0)
        rows = np.append(np.flatnonzero(ends), len(self._key))
        end = np.minimum(rows[np.searchsorted(rows, start[:-1])], start[1:])
        n_full = end - start[:-1]
        found = n_full * WORD_BITS
        more = end < start[1:]
        at = end[more]
        ones = _trailing_ones(self._bits[at])
        found[more] += np.where((self._key[at] & _WORD_MASK) == n_full[more], ones, 0)
        return found

    def first(self, n_pairs: int) -> Ints:
        """The smallest element of each pair, and the largest number where there is none, [n_pairs]."""
        start = self._starts(n_pairs)
        some = start[:-1] < start[1:]
        at = start[:-1][some]
        found = np.full(n_pairs, np.iinfo(np.int64).max)
        found[some] = ((self._key[at] & _WORD_MASK) << _SHIFT) + _trailing_ones(~self._bits[at])
        return found

    def _starts(self, n_pairs: int) -> Ints:
        """The first row of each pair, and the end, [n_pairs + 1]."""
        return np.searchsorted(self._key, np.arange(n_pairs + 1, dtype=np.int64) << PAIR_SHIFT)


class RanksWithout:
    """The same of a set without some of its elements."""

    def __init__(self, all_of: Ranks, left_out: Ranks) -> None:
        """What is left out is in the set."""
        self._all, self._out = all_of, left_out

    def before(self, pair: Ints, index: Ints) -> Ints:
        """As of :class:`Ranks`."""
        return self._all.before(pair, index) - self._out.before(pair, index)

    def odd(self, n_pairs: int) -> Ints:
        """As of :class:`Ranks`."""
        return self._all.odd(n_pairs) - self._out.odd(n_pairs)

    def from_zero(self, n_pairs: int) -> Ints:
        """As of :class:`Ranks`."""
        return np.minimum(self._all.from_zero(n_pairs), self._out.first(n_pairs))


def _trailing_ones(bits: Bits) -> Ints:
    lowest_zero = ~bits & (bits + np.uint64(1))
    return np.bitwise_count(lowest_zero - np.uint64(1)).astype(np.int64)
