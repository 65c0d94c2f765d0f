"""Hashes of many words at once, the same in every process and version: which part a problem falls into."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
_BYTES = 8
"""Of a word that are taken at once."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


def mixed(value: Hashes) -> Hashes:
    """SplitMix64's finalizer: a bijection, every bit of whose result depends on every bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def hashes(words: pa.LargeStringArray) -> Hashes:
    """Of each word, [words]; of its bytes alone."""
    if not len(words):
        return np.zeros(0, dtype=np.uint64)
    _, offsets, data = words.buffers()
    stops = np.frombuffer(offsets, dtype=np.int64)[words.offset : words.offset + len(words) + 1]
    text = np.frombuffer(data or b"", dtype=np.uint8)[stops[0] : stops[-1]]
    text = np.concatenate([text, np.zeros(_BYTES, dtype=np.uint8)])
    # The eight bytes that start at each byte.
    eight = np.ndarray((len(text) - _BYTES + 1,), dtype="<u8", buffer=text, strides=(1,))
    start, left = stops[:-1] - stops[0], np.diff(stops)
    found = mixed(left.astype(np.uint64))
    of = np.flatnonzero(left > 0)
    while len(of):
        beyond = np.maximum(_BYTES - left[of], 0).astype(np.uint64)
        value = eight[start[of]] & (np.uint64(2**64 - 1) >> (beyond * np.uint64(8)))
        found[of] = mixed(found[of] * _ODD ^ value)
        start[of] += _BYTES
        left[of] -= _BYTES
        of = of[left[of] > 0]
    return found


def parts_of(problem_ids: pa.LargeStringArray, n_parts: int) -> NDArray[np.uint16]:
    """The part of each problem, [problems]; at most 2**16 parts."""
    return (hashes(problem_ids) % np.uint64(n_parts)).astype(np.uint16)


def by_part(part: NDArray[np.uint16], n_parts: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows ordered by part, and where each part ends."""
    kind = np.uint8 if n_parts <= 256 else np.uint16  # sorted by counting
    return np.argsort(part.astype(kind), kind="stable"), np.cumsum(np.bincount(part, minlength=n_parts))
