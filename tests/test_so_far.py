"""The estimates so far: of the shards that are there, each read once, at a bounded cost, whatever goes wrong."""

import threading
import time
from collections.abc import Callable
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
from leash_ray.so_far import REPLICATES, EstimatesSoFar, Numbers, numbers
from leash_ray.types import COMPLETIONS_SCHEMA

WAIT_S = 20.0


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


def following(
    folder: Path,
    log: Callable[[Numbers, int], None],
    say: Callable[[str], None] = lambda line: pytest.fail(line),
    every_s: float = 60.0,
) -> EstimatesSoFar:
    pair = ("base", "trained")
    return EstimatesSoFar(folder, lambda found: pair, zeta=0.05, confidence=0.95, log=log, say=say, every_s=every_s)


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_every_time_it_is_what_reducing_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[Numbers, int]] = []
    follower = following(tmp_path, lambda *row: logged.append(row))
    follower.publish()
    write(tmp_path, "base", 0)
    follower.publish()
    assert logged == []  # of the trained policy there is nothing yet
    read: list[str] = []
    load = kept.load
    monkeypatch.setattr(kept, "load", lambda path: read.append(path.name) or load(path))
    for first in (0, 4):
        write(tmp_path, "trained", first)
        follower.publish()
        quick = Measuring(0.05, MeasureConfig(bootstrap=REPLICATES))
        expected = reduce_paths(
            [tmp_path], base="base", trained="trained", parallel=False, from_rows=True, measuring=quick
        )
        assert logged[-1] == (numbers(expected.to_json()), 8 + 8 * (first // 4 + 1))
    assert len(read) == len(set(read)) == 2
    found = logged[-1][0]
    assert (found["k"], found["problem/S"], found["base/pass_at_k/1"]) == (4, 1, 0.5)
    low, high = found["problem/SRR/low"], found["problem/SRR/high"]
    assert low is not None and high is not None and low < 0.5 < high


def test_it_waits_for_its_time_and_for_what_it_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, waited = [0.0], []
    monkeypatch.setattr(so_far.time, "monotonic", lambda: now[0])
    follower = following(tmp_path, lambda *row: None, every_s=10)

    class Over:
        def wait(self, seconds: float) -> bool:
            waited.append(seconds)
            return len(waited) > 3

    costs = iter([0.1, 1.0, 0.2])  # seconds
    monkeypatch.setattr(follower, "_over", Over())
    monkeypatch.setattr(follower, "publish", lambda: now.__setitem__(0, now[0] + next(costs)))
    follower._follow()
    assert waited == pytest.approx([10, 10, 50, 10])
    assert follower.spent_s == pytest.approx(1.3)


def test_a_shard_without_its_state_is_read_later(tmp_path: Path) -> None:
    logged: list[int] = []
    follower = following(tmp_path, lambda found, n: logged.append(n))
    for policy in ("base", "trained"):
        write(tmp_path, policy, 0)
    write(tmp_path, "base", 4)
    late = next(p for p in (tmp_path / "base" / "_state").iterdir() if "000004-000008" in p.name)
    late.rename(tmp_path / "late")
    follower.publish()
    (tmp_path / "late").rename(late)
    follower.publish()
    assert logged == [16, 24]


def test_what_goes_wrong_is_said_once_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And once it is put right, it goes on."""
    monkeypatch.setattr(so_far, "MOST_OF_THE_TIME", 1e9)
    said: list[str] = []
    logged: list[int] = []
    is_broken = [True]

    def log(found: Numbers, n: int) -> None:
        if is_broken:
            raise RuntimeError("no log")
        logged.append(n)

    for policy in ("base", "trained"):
        write(tmp_path, policy, 0)
    with following(tmp_path, log, said.append, every_s=0.01) as follower:
        until(lambda: follower.n_failures >= 3)
        assert len(said) == 1 and "RuntimeError: no log" in said[0]
        is_broken.clear()
        until(lambda: logged)
    n = len(logged)
    time.sleep(0.05)
    assert len(logged) == n and len(said) == 1


def test_leaving_waits_for_nothing_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(so_far, "END_S", 0.1)
    hangs, go_on = threading.Event(), threading.Event()
    logged: list[int] = []

    def finalize(state: Any) -> Any:
        hangs.set()
        go_on.wait(WAIT_S)
        return finalized(state)

    from leash_ray.reducers import CompletionsState

    finalized = CompletionsState.finalize
    monkeypatch.setattr(CompletionsState, "finalize", finalize)
    for policy in ("base", "trained"):
        write(tmp_path, policy, 0)
    with following(tmp_path, lambda found, n: logged.append(n), every_s=0.01) as follower:
        assert hangs.wait(WAIT_S)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 5
    go_on.set()
    follower._thread.join(WAIT_S)
    assert logged == []  # the monitor is closed by then


def test_a_state_that_is_too_large_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(so_far, "MOST_BYTES", 10)
    said: list[str] = []
    write(tmp_path, "base", 0)
    with following(tmp_path, lambda found, n: None, said.append, every_s=0.01) as follower:
        follower._thread.join(WAIT_S)
        assert not follower._thread.is_alive()
    assert len(said) == 1 and "too large" in said[0]
