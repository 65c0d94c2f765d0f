"""What breaks in mid-run, broken for real: a process killed, the disk full, a config that cannot be met."""

import errno
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from leash_ray import cluster, stages
from leash_ray.config import PolicyConfig, SamplingConfig, load_config
from leash_ray.deploy import deploy, resolve_model, stop
from leash_ray.errors import RunFailed, UsageError
from leash_ray.files import atomic_path, parquet_files
from leash_ray.policy import ServedPolicy
from leash_ray.sampling.causes import root_cause
from leash_ray.sampling.draw import ShardMaker
from leash_ray.sampling.shard import Shard, plan_shards
from leash_ray.sampling.stream import sample_shards
from leash_ray.session import open_run, session
from leash_ray.types import Problem, SampleRequest, SamplingParams
from leash_ray.verify.remote import RemoteVerifier

TINY = Path(__file__).parent.parent / "jobs" / "configs" / "tiny.yaml"


def _rows(path: Path) -> list[dict]:
    return pq.read_table(path, partitioning=None).to_pylist()


def texts(folder: Path) -> dict[tuple[str, int], str]:
    rows = [row for path in parquet_files(folder) for row in _rows(path)]
    assert len(rows) == len({(r["problem_id"], r["sample_index"]) for r in rows})
    return {(r["problem_id"], r["sample_index"]): r["text"] for r in rows}


def test_a_killed_task_costs_no_completion(
    served: ServedPolicy, verifier: RemoteVerifier, countdown: list[Problem], tmp_path: Path
) -> None:
    """SIGKILL of a Ray Data process in mid-shard: its shard is drawn again, the same. (The benchmark of faults kills
    engines, replicas, nodes and drivers.)"""
    config = SamplingConfig(n=256, max_tokens=12, samples_per_shard=256)
    shards = plan_shards(["alpha"], [p.id for p in countdown], config.most, config.samples_per_shard)
    undisturbed = list(sample_shards(shards, tmp_path / "a", countdown, config, 0, {"alpha": served}, verifier))
    killed: list[int] = []

    def kill() -> None:
        while not killed and (done := len(parquet_files(tmp_path / "b"))) < len(shards):
            time.sleep(0.02)
            with suppress(psutil.NoSuchProcess):
                tasks = [p for p in psutil.Process().children(recursive=True) if "MapBatches" in " ".join(p.cmdline())]
                if done and tasks:  # at least one shard is written, and a process is at work on another
                    tasks[0].kill()
                    killed.append(done)

    threading.Thread(target=kill, daemon=True).start()
    disturbed = list(sample_shards(shards, tmp_path / "b", countdown, config, 0, {"alpha": served}, verifier))
    assert killed
    assert sum(r["completions"] for r in disturbed) == sum(r["completions"] for r in undisturbed)
    assert texts(tmp_path / "b") == texts(tmp_path / "a")


@pytest.mark.slow
def test_an_engine_that_hangs_is_replaced(ray_session: None) -> None:
    """SIGSTOP: it is there, and answers nothing."""
    policy = PolicyConfig(model="embedded:countdown", dtype="float32", max_model_len=64, cpus=0.5, stall_s=5)
    hung = deploy({"hung": policy}, {"hung": resolve_model("embedded:countdown")}, "cpu", "tests")["hung"]
    request, params = SampleRequest("2 3 9=21:", 8, seed=1), SamplingParams(max_tokens=12)
    try:
        before = hung.sample([request], params)[0]
        replica = next(p for p in psutil.Process().children(recursive=True) if "PolicyServer:hung" in p.name())
        (engine,) = replica.children()
        engine.suspend()
        after = hung.sample([request], params)[0]
        assert after.texts == before.texts
        assert not engine.is_running() and not replica.is_running()
    finally:
        stop(["hung"], "tests")


DRIVER = """
import sys, time
from leash_ray import cluster
from leash_ray.config import PolicyConfig
from leash_ray.deploy import deploy, resolve_model
cluster.connect(sys.argv[1])
model = "embedded:countdown"
policy = PolicyConfig(model=model, dtype="float32", max_model_len=64, cpus=0.5)
deploy({"left": policy}, {"left": resolve_model(model)}, "cpu", "driver")
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_driver_leaves_no_engine_on_a_cluster(ray_session: None) -> None:
    """Of the cluster that this process has started, it is another driver."""
    import ray

    def left() -> list[psutil.Process]:
        return [p for p in psutil.Process().children(recursive=True) if "PolicyServer:left" in p.name()]

    address = ray.get_runtime_context().gcs_address
    with subprocess.Popen([sys.executable, "-c", DRIVER, address], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert "up" in driver.stdout.read(3)
        (replica,) = left()
        (engine,) = replica.children()
        time.sleep(10)  # health checks in which it is there
        assert replica.is_running()
        driver.kill()
    killed_s = time.monotonic()
    while left() or engine.is_running():
        assert time.monotonic() - killed_s < 60
        time.sleep(0.2)


def test_settings_that_cannot_work_are_refused_as_such_from_within_a_task(
    served: ServedPolicy, verifier: RemoteVerifier, tmp_path: Path
) -> None:
    problem = Problem.make("t", "2 3 9=21:", "no-such-verifier", "21")
    config = SamplingConfig(n=4, max_tokens=4)
    shards = plan_shards(["alpha"], [problem.id], 4, 16)
    with pytest.raises(UsageError, match=r"^unknown verifier"):
        list(sample_shards(shards, tmp_path, [problem], config, 0, {"alpha": served}, verifier))


@pytest.mark.parametrize(
    ("error", "line"),
    [(RunFailed("no space left: free some"), "no space left: free some"), (KeyError("x"), "KeyError: 'x'")],
)
def test_what_a_task_raised_is_told_in_its_own_words(ray_session: None, error: Exception, line: str) -> None:
    import ray.data

    def fails(batch: object) -> object:
        raise error from OSError(28, "No space left on device")

    stream = ray.data.from_items([{"a": 1}], override_num_blocks=1).map_batches(fails, batch_size=1)
    with pytest.raises(ray.exceptions.RayError) as raised:
        list(stream.iter_rows())
    assert root_cause(raised.value) == line


def test_a_full_disk_leaves_no_half_shard(
    served: ServedPolicy, verifier: RemoteVerifier, countdown: list[Problem], tmp_path: Path
) -> None:
    """The device answers ENOSPC for real: the shard's temporary name leads to /dev/full."""
    shard = plan_shards(["alpha"], [p.id for p in countdown[:2]], 8, 16)[0]
    maker = ShardMaker(tmp_path, countdown[:2], SamplingParams(max_tokens=12), 0, {"alpha": served}, verifier)
    target = tmp_path / shard.path
    target.parent.mkdir()
    (target.parent / f".{target.name}.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(RunFailed, match=r"no space left while writing .*free some space"):
        maker.make(shard)
    assert list(target.parent.iterdir()) == []
    maker.make(shard)
    assert pq.read_table(target).num_rows == 16


def test_a_prompt_that_the_engine_refuses_stops_no_other(
    served: ServedPolicy, verifier: RemoteVerifier, countdown: list[Problem], tmp_path: Path
) -> None:
    """It fails the request that it shares with others: each is then asked for alone, and the same is drawn."""
    long = Problem.make("countdown", "1 " * 40, countdown[0].verifier, countdown[0].reference)
    problems = [countdown[0], long, countdown[1]]
    params = SamplingParams(max_tokens=12)
    started = time.monotonic()
    maker = ShardMaker(tmp_path / "a", problems, params, 0, {"alpha": served}, verifier, max_tries=2)
    made = maker.make(Shard("alpha", tuple(p.id for p in problems), 0, 8))
    assert time.monotonic() - started < 60
    (letter,) = made["dead"]
    assert (letter["problem_id"], letter["stage"], letter["tries"]) == (long.id, "policy", 2)
    assert "64" in letter["reason"]  # the context's length
    alone = ShardMaker(tmp_path / "b", countdown[:2], params, 0, {"alpha": served}, verifier)
    alone.make(Shard("alpha", tuple(p.id for p in countdown[:2]), 0, 8))
    a, b = (
        [(r["problem_id"], r["sample_index"], r["text"]) for p in parquet_files(tmp_path / f) for r in _rows(p)]
        for f in "ab"
    )
    assert a == b and len(a) == 16


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("whole")

    def write(error: Exception) -> None:
        with atomic_path(path) as tmp:
            tmp.write_text("half")
            raise error

    with pytest.raises(RunFailed, match="no space left"):
        write(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(ZeroDivisionError):
        write(ZeroDivisionError())
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_fit_is_refused_at_once_and_leaves_no_directory(ray_session: None, tmp_path: Path) -> None:
    config = load_config(TINY, {"policies.trained.cpus": 64})
    path = tmp_path / "run"
    started = time.monotonic()

    def start() -> None:
        with session(config, open_run(config, path, resume=False), lambda line: None) as current:
            stages.train(current)

    with pytest.raises(UsageError, match=r"trained 64 CPU.*cannot fit; lower replicas"):
        start()
    assert time.monotonic() - started < 60
    assert not path.exists()
    with pytest.raises(UsageError, match="no GPU"):
        cluster.device("gpu")
