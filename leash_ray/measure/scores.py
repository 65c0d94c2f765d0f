"""Perplexity of given texts, from scores tables: how surprised each policy is by them, by who solved their problem.

A scores table has a row for each (policy, text): policy, problem_id, n_tokens, logprob_sum (nats, over those tokens),
and if wanted source (whose texts: ``reference``, ``trained``, ...) and text_id (which of several texts of a problem).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from leash_ray.errors import UsageError
from leash_ray.measure.json import number
from leash_ray.measure.pair import SIDES
from leash_ray.stats.perplexity import perplexity_by_pattern

_NEEDED = ("policy", "problem_id", "n_tokens", "logprob_sum")
_SOURCE = "given texts"


def read_scores(files: Sequence[Path]) -> pl.DataFrame:
    """The rows of Parquet or JSONL files, with source and text_id filled in.

    Raises:
        UsageError: a file cannot be read, or lacks a column.
    """
    frames = []
    for file in files:
        try:
            frame = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_ndjson(file)
        except (pl.exceptions.PolarsError, OSError) as e:
            raise UsageError(f"cannot read {file} as a scores table ({str(e).splitlines()[0]})") from e
        if missing := [c for c in _NEEDED if c not in frame.columns]:
            raise UsageError(
                f"{file} is no scores table: it lacks {', '.join(missing)}; needed are {', '.join(_NEEDED)}"
            )
        for name, default in (("source", _SOURCE), ("text_id", "")):
            if name not in frame.columns:
                frame = frame.with_columns(pl.lit(default).alias(name))
        frames.append(
            frame.select(
                *(pl.col(c).cast(pl.String) for c in ("policy", "problem_id", "source", "text_id")),
                pl.col("n_tokens").cast(pl.Int64),
                pl.col("logprob_sum").cast(pl.Float64),
            )
        )
    return pl.concat(frames)


def perplexity_json(
    scores: pl.DataFrame, groups: Mapping[str, str], *, base: str, trained: str
) -> dict[str, dict[str, Any]]:
    """Source -> group (P, S, E, O) -> base and trained -> perplexities, over the texts that both have scored.

    Args:
        scores: as of :func:`read_scores`.
        groups: problem id -> P, E, S or O; texts of other problems are left out.
    """
    problems = sorted(groups)
    place = pl.DataFrame(
        {"problem_id": problems, "problem": range(len(problems))}, schema_overrides={"problem": pl.Int64}
    )
    keys = ["source", "problem_id", "text_id"]
    sides = [
        scores.filter(pl.col("policy") == policy, pl.col("logprob_sum").is_finite(), pl.col("n_tokens") > 0).select(
            *keys, pl.col("n_tokens", "logprob_sum").name.suffix(f"_{side}")
        )
        for side, policy in zip(SIDES, (base, trained), strict=True)
    ]
    both = sides[0].join(sides[1], on=keys).join(place, on="problem_id").sort(keys)
    pattern = [groups[p] for p in problems]
    out: dict[str, dict[str, Any]] = {}
    for (source,), rows in both.group_by("source", maintain_order=True):
        found = {
            side: perplexity_by_pattern(
                rows["problem"].to_numpy(),
                rows[f"logprob_sum_{side}"].to_numpy(),
                rows[f"n_tokens_{side}"].to_numpy(),
                pattern,
            )
            for side in SIDES
        }
        out[str(source)] = {
            group: {side: {k: number(v) for k, v in asdict(found[side][group]).items()} for side in SIDES}
            for group in found[SIDES[0]]
        }
    return out
