"""Columns of per-problem numbers, all resampled together: one bootstrap for all statistics of a group of problems.

So every interval rests on the same replicates, and thousands of statistics cost one matrix product.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from leash_ray.measure.pair import Floats
from leash_ray.stats.bootstrap import Intervals, Resampling, Statistic, bootstrap


def _means(means: Floats) -> Floats:
    return means


@dataclass(slots=True)
class _Block:
    name: str
    values: Floats
    statistic: Statistic


class Columns:
    """Collects columns by name; :meth:`intervals` resamples them."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []

    def add(self, name: str, values: ArrayLike, statistic: Callable[[Floats], Floats] = _means) -> None:
        """Columns [N, D] (or one, [N]), and the statistic of their means: [..., D] to [..., M]; by default the means
        themselves."""
        found = np.asarray(values, dtype=np.float64)
        self._blocks.append(_Block(name, found[:, None] if found.ndim == 1 else found, statistic))

    def intervals(self, resampling: Resampling) -> dict[str, Intervals]:
        """By name, each with its M statistics."""
        stops = np.cumsum([block.values.shape[1] for block in self._blocks]).tolist()
        starts = [0, *stops[:-1]]

        def statistic(means: Floats) -> Floats:
            return np.concatenate(
                [b.statistic(means[..., i:j]) for b, i, j in zip(self._blocks, starts, stops, strict=True)], axis=-1
            )

        values = np.concatenate([block.values for block in self._blocks], axis=1)
        all_ = bootstrap(values, statistic, resampling)
        sizes = [block.statistic(block.values.mean(axis=0)).shape[-1] for block in self._blocks]
        cuts = np.cumsum(sizes)[:-1]
        parts = [np.split(getattr(all_, field), cuts) for field in Intervals.__slots__]
        return {block.name: Intervals(*part) for block, *part in zip(self._blocks, *parts, strict=True)}
