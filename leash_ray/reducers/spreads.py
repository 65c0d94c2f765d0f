"""Finalized states of the reducers of lengths and of token quantiles, by the names of policies and tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from leash_ray.reducers.quantiles import MEASURES, merged, sketch_of


@dataclass(frozen=True)
class Spreads:
    """How numbers of completions spread. Of every completion of a policy, whatever is known of its problem."""

    lengths: pl.DataFrame
    """policy, task (null: none is named), verdict, n_tokens, count."""
    sketches: pl.DataFrame
    """policy, task, measure (of ``MEASURES``), sketch (:mod:`leash_ray.reducers.quantiles`)."""

    @staticmethod
    def of(lengths: pl.DataFrame, sketches: pa.Table, policies: pa.Array, tasks: pa.Array) -> "Spreads":
        """From finalized states, with numbers of words."""
        words = {"policy": pl.Series(policies.to_pylist(), dtype=pl.String)}
        words["task"] = pl.Series([*tasks.to_pylist(), None], dtype=pl.String)
        frames = [lengths, pl.DataFrame(pl.from_arrow(sketches)).drop("pair")]
        for i, frame in enumerate(frames):
            # -1, of no task, finds the appended null.
            task = frame["task"].cast(pl.Int64).set(frame["task"] < 0, len(tasks))
            frames[i] = frame.with_columns(
                words["policy"].gather(frame["policy"]).alias("policy"), words["task"].gather(task).alias("task")
            )
        measures = pl.Series(MEASURES, dtype=pl.String).gather(frames[1]["measure"])
        return Spreads(frames[0], frames[1].with_columns(measures.alias("measure")))

    @staticmethod
    def joined(parts: Sequence["Spreads"]) -> "Spreads":
        """Of disjoint completions."""
        return Spreads(pl.concat([p.lengths for p in parts]), pl.concat([p.sketches for p in parts]))

    def differences(self, other: "Spreads") -> list[str]:
        """Where two differ, in words. Of sketches, how many values they have seen: which they hold is chance."""
        found = []
        for name, frames in (("lengths", (self.lengths, other.lengths)), ("token quantiles", self._seen(other))):
            total = "count" if "count" in frames[0].columns else "n"
            key = [c for c in frames[0].columns if c != total]
            ours, theirs = (frame.group_by(key).agg(pl.col(total).sum()).sort(key) for frame in frames)
            if not ours.equals(theirs):
                found.append(f"{name} ({ours[total].sum()} and {theirs[total].sum()} completions)")
        return found

    def _seen(self, other: "Spreads") -> tuple[pl.DataFrame, pl.DataFrame]:
        ours, theirs = (
            one.sketches.select(
                "policy",
                "task",
                "measure",
                n=pl.Series([sketch_of(s).n for s in one.sketches["sketch"]], dtype=pl.Int64),
            )
            for one in (self, other)
        )
        return ours, theirs

    def histogram(self, policy: str, task: str | None = None, verdict: str | None = None) -> pl.DataFrame:
        """n_tokens, ascending, and count; None stands for all tasks and verdicts, task "" for rows that name none."""
        rows = _of(self.lengths, policy, task)
        rows = rows if verdict is None else rows.filter(pl.col("verdict") == verdict)
        return rows.group_by("n_tokens").agg(pl.col("count").sum()).sort("n_tokens")

    def sketch(self, measure: str, policy: str, task: str | None = None) -> Any | None:
        """A sketch of a measure's values; None: no row has one. ``task`` as above."""
        rows = _of(self.sketches, policy, task).filter(pl.col("measure") == measure)
        return merged(rows["sketch"].to_list())


def _of(rows: pl.DataFrame, policy: str, task: str | None) -> pl.DataFrame:
    rows = rows.filter(pl.col("policy") == policy)
    if task is None:
        return rows
    return rows.filter(pl.col("task") == task if task else pl.col("task").is_null())
