"""The estimates so far: of the shards that are there, each read once, at a bounded cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from leash_ray import so_far
from leash_ray.measure.measuring import Measuring
from leash_ray.measure.settings import MeasureConfig
from leash_ray.reduce import reduce_paths
from leash_ray.reducers import kept
from leash_ray.sampling.manifest import write_new
from leash_ray.sampling.shard import Shard
from leash_ray.so_far import EstimatesSoFar, numbers
from leash_ray.types import COMPLETIONS_SCHEMA

QUICK = Measuring(config=MeasureConfig(bootstrap=100))


def write(folder: Path, policy: str, first: int) -> None:
    """Four more samples of two problems; the base alone solves the second."""
    shard = Shard(policy, ("p", "q"), first, first + 4)
    rows: list[dict[str, Any]] = [
        {"policy": policy, "problem_id": problem, "sample_index": i, "n_tokens": 2, "logprob_sum": -1.0}
        | {
            "verdict": "CORRECT" if i % 2 and (problem == "p" or policy == "base") else "INCORRECT",
            "answer": str(i % 2),
        }
        for problem in shard.problems
        for i in range(first, first + 4)
    ]
    columns = {name: [row.get(name) for row in rows] for name in COMPLETIONS_SCHEMA.names}
    write_new(folder, shard, pa.table(columns, schema=COMPLETIONS_SCHEMA), {})


def test_every_time_it_is_what_reducing_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[Mapping[str, Any], int]] = []
    following = EstimatesSoFar(tmp_path, "base", "trained", QUICK, lambda *row: logged.append(row), 60)
    write(tmp_path, "base", 0)
    following.publish()
    assert logged == []  # of the trained policy there is nothing yet
    read: list[str] = []
    load = kept.load
    monkeypatch.setattr(kept, "load", lambda path: read.append(path.name) or load(path))
    for first in (0, 4):
        write(tmp_path, "trained", first)
        following.publish()
        expected = reduce_paths(
            [tmp_path], base="base", trained="trained", parallel=False, from_rows=True, measuring=QUICK
        )
        assert logged[-1] == (numbers(expected.to_json()), 8 + 8 * (first // 4 + 1))
    assert len(read) == len(set(read)) == 2
    found = logged[-1][0]
    assert (found["k"], found["problem/S"], found["base/pass_at_k/1"]) == (4, 1, 0.5)
    assert found["problem/SRR/low"] < 0.5 < found["problem/SRR/high"]


def test_it_waits_for_its_time_and_for_what_it_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(so_far.time, "monotonic", lambda: now[0])
    following = EstimatesSoFar(tmp_path, "base", "trained", QUICK, lambda *row: None, 10)
    called: list[float] = []

    def publish() -> None:
        called.append(now[0])
        now[0] += 1.0  # a second's work: the next one after 50

    monkeypatch.setattr(following, "publish", publish)
    for _ in range(130):
        following.tick()
        now[0] += 1.0
    assert called == [10.0, 61.0, 112.0]
    assert following.spent_s == 3.0


def test_a_shard_without_its_state_is_read_later(tmp_path: Path) -> None:
    logged: list[int] = []
    following = EstimatesSoFar(tmp_path, "base", "trained", QUICK, lambda found, n: logged.append(n), 60)
    for policy in ("base", "trained"):
        write(tmp_path, policy, 0)
    write(tmp_path, "base", 4)
    late = next(p for p in (tmp_path / "base" / "_state").iterdir() if "000004-000008" in p.name)
    late.rename(tmp_path / "late")
    following.publish()
    (tmp_path / "late").rename(late)
    following.publish()
    assert logged == [16, 24]
