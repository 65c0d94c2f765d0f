"""The sides of ``benchmarks/reduce.py``: one folder of completions -> the same numbers, each in a process of its own.

Every side gives, of all (policy, problem): counts of verdicts, first correct sample, sums of tokens and
log-probabilities, distinct answers and answer entropy. A digest of them says whether two sides agree. ``checks_s`` is
the time of looking for samples that occur more than once, where that is a step of its own; ours always looks.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEMORY = "2500MB"
Digest = dict[str, float]


def ours(folder: Path, **options: Any) -> dict[str, Any]:
    import polars as pl

    from leash_ray.reduce import reduced_parts

    started = time.perf_counter()
    frames = [part.problems for part in reduced_parts([folder], **options)]
    seconds = time.perf_counter() - started
    problems = pl.concat(frames)
    digest = {
        "pairs": len(problems),
        "scored": problems["n"].sum(),
        "correct": problems["CORRECT"].sum(),
        "first": problems["first_correct"].sum(),
        "tokens": problems["n_tokens"].sum(),
        "distinct": problems["distinct_answers"].sum(),
        "entropy": problems["answer_entropy"].sum(),
    }
    return {"seconds": seconds, "digest": digest}


def threads(folder: Path) -> dict[str, Any]:
    """This project, from rows, in one process."""
    return ours(folder, parallel=False, from_rows=True)


def on_ray(folder: Path) -> dict[str, Any]:
    """This project, from rows, on a local Ray."""
    from leash_ray.cluster import connect

    started = time.perf_counter()
    connect(data=False)
    _start_workers()
    start_s = time.perf_counter() - started
    return {**ours(folder, parallel=True, from_rows=True), "start_s": start_s}


def _start_workers() -> None:
    """A process on every core, with its imports: a part of Ray's start."""
    import ray

    @ray.remote
    def wait() -> None:
        import leash_ray.reduce.engine  # noqa: F401

        time.sleep(0.5)

    ray.get([wait.remote() for _ in range(int(ray.cluster_resources()["CPU"]))])


def states(folder: Path) -> dict[str, Any]:
    """This project, from the states that are kept beside the files."""
    return ours(folder, parallel=False)


def keep(folder: Path) -> dict[str, Any]:
    """Not a side: makes those states."""
    return ours(folder, parallel=False, keep_states=True)


_CELLS = """CREATE TABLE cells AS SELECT policy, problem_id, verdict,
    CASE WHEN verdict IN ('CORRECT', 'INCORRECT') THEN answer END AS answer, count(*) AS n,
    min(sample_index) AS first, sum(n_tokens) AS tokens, sum(logprob_sum) AS nats, min(task) AS task
FROM read_parquet('{files}')
GROUP BY policy, problem_id, verdict, CASE WHEN verdict IN ('CORRECT', 'INCORRECT') THEN answer END"""
_REDUCED = """CREATE TABLE reduced AS WITH
    answers AS (SELECT policy, problem_id, answer, sum(n) AS n FROM cells WHERE verdict <> 'ERROR' GROUP BY ALL),
    entropies AS (SELECT policy, problem_id, ln(sum(n)) - sum(n * ln(n)) / sum(n) AS entropy,
        count(answer) AS distinct_answers FROM answers GROUP BY ALL),
    verdicts AS (SELECT policy, problem_id, sum(n) FILTER (verdict <> 'ERROR') AS n,
        sum(n) FILTER (verdict = 'CORRECT') AS c, min(first) FILTER (verdict = 'CORRECT') AS first,
        sum(tokens) AS tokens, sum(nats) AS nats, min(task) AS task FROM cells GROUP BY ALL)
SELECT * FROM verdicts JOIN entropies USING (policy, problem_id)"""
_REPEATS = """SELECT count(*) FROM (SELECT 1 FROM read_parquet('{files}')
    GROUP BY policy, problem_id, sample_index HAVING count(*) > 1)"""
_DIGEST = "SELECT count(*), sum(n), sum(c), sum(first), sum(tokens), sum(distinct_answers), sum(entropy) FROM reduced"
NAMES = ("pairs", "scored", "correct", "first", "tokens", "distinct", "entropy")


def duckdb(folder: Path) -> dict[str, Any]:
    import os
    import tempfile

    import duckdb as duck

    files = f"{folder}/*.parquet"
    with tempfile.TemporaryDirectory() as spill:
        connection = duck.connect()
        for setting in (
            f"threads={len(os.sched_getaffinity(0))}",
            f"memory_limit='{MEMORY}'",
            f"temp_directory='{spill}'",
            "preserve_insertion_order=false",
        ):
            connection.execute(f"SET {setting}")
        started = time.perf_counter()
        connection.execute(_CELLS.format(files=files))
        connection.execute(_REDUCED)
        seconds = time.perf_counter() - started
        digest = dict(zip(NAMES, map(float, connection.execute(_DIGEST).fetchall()[0]), strict=True))
        started = time.perf_counter()
        n_repeated = connection.execute(_REPEATS.format(files=files)).fetchall()[0][0]
        assert n_repeated == 0
        return {"seconds": seconds, "checks_s": time.perf_counter() - started, "digest": digest}


def polars(folder: Path) -> dict[str, Any]:
    import polars as pl

    started = time.perf_counter()
    has_text = pl.col("verdict").cast(pl.String).is_in(["CORRECT", "INCORRECT"])
    cells = (
        pl.scan_parquet(f"{folder}/*.parquet")
        .with_columns(answer=pl.when(has_text).then("answer"))
        .group_by("policy", "problem_id", "verdict", "answer")
        .agg(
            n=pl.len(),
            first=pl.col("sample_index").min(),
            tokens=pl.col("n_tokens").sum(),
            nats=pl.col("logprob_sum").sum(),
            task=pl.col("task").first(),
        )
        .collect(engine="streaming")
        .lazy()
        .with_columns(pl.col("verdict").cast(pl.String))
    )
    pair = ["policy", "problem_id"]
    answers = cells.filter(pl.col("verdict") != "ERROR").group_by(*pair, "answer").agg(pl.col("n").sum())
    m, n = pl.col("n").cast(pl.Float64), pl.col("n").sum().cast(pl.Float64)
    entropies = answers.group_by(pair).agg(entropy=n.log() - (m * m.log()).sum() / n, distinct=pl.col("answer").count())
    correct = pl.col("verdict") == "CORRECT"
    verdicts = cells.group_by(pair).agg(
        scored=pl.col("n").filter(pl.col("verdict") != "ERROR").sum(),
        correct=pl.col("n").filter(correct).sum(),
        first=pl.col("first").filter(correct).min(),
        tokens=pl.col("tokens").sum(),
    )
    found = verdicts.join(entropies, on=pair).collect(engine="streaming")
    seconds = time.perf_counter() - started
    found = found.with_columns(pl.col(pl.Int32, pl.UInt32).cast(pl.Int64))  # whose sums would overflow
    digest = {"pairs": len(found), **{name: float(found[name].sum()) for name in NAMES[1:]}}
    return {"seconds": seconds, "digest": digest}


def stock(folder: Path) -> dict[str, Any]:
    """Ray Data's own groupby: counts and two sums by (policy, problem, verdict) alone; no answers, no entropy."""
    from leash_ray.cluster import connect

    connect()
    import ray
    from ray.data.aggregate import Count, Sum

    started = time.perf_counter()
    columns = ["policy", "problem_id", "verdict", "n_tokens", "logprob_sum"]
    data = ray.data.read_parquet(str(folder), columns=columns)
    data = data.map_batches(_plain, batch_format="pyarrow")  # it cannot group by dictionaries that differ
    rows = data.groupby(["policy", "problem_id", "verdict"]).aggregate(Count(), Sum("n_tokens"), Sum("logprob_sum"))
    n_groups = rows.count()
    return {"seconds": time.perf_counter() - started, "digest": {"groups": n_groups}}


def _plain(table: Any) -> Any:
    import pyarrow as pa

    for i, name in enumerate(table.schema.names):
        if pa.types.is_dictionary(table.schema.field(i).type):
            table = table.set_column(i, name, table.column(i).cast(pa.string()))
    return table


SIDES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "threads": threads,
    "ray": on_ray,
    "states": states,
    "duckdb": duckdb,
    "polars": polars,
    "stock": stock,
    "keep": keep,
}
