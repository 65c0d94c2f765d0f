"""Finalized states of :class:`~leash_ray.reducers.bounded.BoundedAnswers`: what is exact, and what is estimated."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from leash_ray.reducers.bounded import BUCKET, CORRECT, SAMPLE, BoundedAnswers
from leash_ray.stats.bottom_k import from_sample

_KEY = ["pair", "answer"]


@dataclass(frozen=True)
class Approximate:
    """Of all pairs."""

    answers: pl.DataFrame
    """As the finalized state of ``AnswerCounts``: all answers where they are known, else those that are."""
    is_cut: NDArray[np.bool_]
    """Whether not all answers are known, [pairs]."""
    is_correct_cut: NDArray[np.bool_]
    """Whether not all correct answers are known, [pairs]."""
    estimates: pl.DataFrame
    """Columns of :class:`~leash_ray.stats.bottom_k.Sampled`, and ``sampled`` (whether they are estimates), [pairs]."""


def approximate(reducer: BoundedAnswers, state: pl.DataFrame, n_pairs: int) -> Approximate:
    """From a finalized state."""
    sample, correct, buckets = (state.filter(pl.col("kind") == kind) for kind in (SAMPLE, CORRECT, BUCKET))
    is_cut, is_correct_cut = (
        np.bincount(rows["pair"].to_numpy(), minlength=n_pairs) > reducer.size for rows in (sample, correct)
    )
    theta = np.ones(n_pairs)
    largest = sample.group_by("pair").agg(pl.col("hash").max())
    pair, h = largest["pair"].to_numpy(), largest["hash"].to_numpy()
    theta[pair] = np.where(is_cut[pair], h.astype(np.float64) / 2.0**64, 1.0)
    below = sample.join(largest, on="pair", how="left", maintain_order="left", suffix="_largest")
    cut = pl.Series(is_cut[below["pair"].to_numpy()], dtype=pl.Boolean)
    below = below.filter(~cut | (pl.col("hash") < pl.col("hash_largest")))
    none = buckets.filter(pl.col("hash") == reducer.n_buckets)
    in_bucket = ("pair", "count", (pl.col("hash") % reducer.n_buckets).alias("hash"))
    buckets = pl.concat([buckets.select("pair", "count", "hash"), sample.select(in_bucket)])
    buckets = buckets.group_by("pair", "hash").agg(pl.col("count").sum()).sort("pair", "hash")
    own = below.select(in_bucket).join(
        buckets, on=["pair", "hash"], how="left", maintain_order="left", suffix="_bucket"
    )
    found: Any = from_sample(
        theta,
        *(own[c].to_numpy().astype(np.int64) for c in ("pair", "count", "count_bucket")),
        *(buckets[c].to_numpy().astype(np.int64) for c in ("pair", "count")),
    )
    return Approximate(
        _answers(sample, correct, none),
        is_cut,
        is_correct_cut,
        pl.DataFrame({**found._asdict(), "sampled": is_cut}),
    )


def _answers(sample: pl.DataFrame, correct: pl.DataFrame, none: pl.DataFrame) -> pl.DataFrame:
    right = correct.select(*_KEY, correct="count", first="first")
    rows = sample.select(*_KEY, "count").join(right, on=_KEY, how="full", coalesce=True)
    without = none.select("pair", "count", answer=pl.lit(-1, pl.Int32))
    rows = pl.concat([rows, without], how="diagonal")
    return rows.with_columns(count=pl.coalesce("count", "correct"), correct=pl.col("correct").fill_null(0))
