"""Multisets of integers, per group, as runs [start, stop) with a multiplicity: exact, and small when they are dense.

Adding two multisets adds their multiplicity functions, so the canonical form (maximal runs of one multiplicity,
sorted, none of multiplicity 0) is the same for any order and grouping of additions. A set sampled completely,
0 .. n-1, is one run; an element of multiplicity 2 or more is a duplicate.

Degenerate case: elements scattered at random take one run each until their neighbours arrive.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_VALUE = 2**31 - 1
"""Largest element (and group number): a (group, value) pair is packed into one 64-bit sorting key."""


class Runs(NamedTuple):
    """Parallel int64 arrays, [runs], sorted by group, then start."""

    group: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    """Exclusive."""
    multiplicity: NDArray[np.int64]


def runs_of_values(group: NDArray[np.int64], value: NDArray[np.int64]) -> Runs:
    """Runs of single elements, in any order: ``value[i]`` belongs to ``group[i]``; both 0 .. MAX_VALUE."""
    if not len(group):
        return add_runs(Runs(*(np.zeros(0, dtype=np.int64) for _ in range(4))))
    # Samplers write a problem's samples one after another: most neighbours in the data are neighbours in a run.
    breaks = np.flatnonzero((group[1:] != group[:-1]) | (value[1:] != value[:-1] + 1)) + 1
    first, last = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(group)]]) - 1
    return add_runs(Runs(group[first], value[first], value[last] + 1, np.ones(len(first), dtype=np.int64)))


def add_runs(runs: Runs) -> Runs:
    """The canonical form of runs that may overlap, touch, and come in any order."""
    # A sweep: +multiplicity at each start, -multiplicity at each stop; between events the multiplicity is constant.
    key = (np.concatenate([runs.group, runs.group]) << 32) | np.concatenate([runs.start, runs.stop])
    change = np.concatenate([runs.multiplicity, -runs.multiplicity])
    order = np.argsort(key, kind="stable")
    key, change = key[order], change[order]
    at = np.flatnonzero(np.diff(key, prepend=-1))
    key, change = key[at], np.add.reduceat(change, at) if len(at) else change
    key, change = key[change != 0], change[change != 0]  # nothing changes here: two runs touched
    level = np.cumsum(change)  # back at 0 after each group's last stop
    inside = np.flatnonzero(level > 0)
    low = (1 << 32) - 1
    return Runs(key[inside] >> 32, key[inside] & low, key[inside + 1] & low, level[inside])
