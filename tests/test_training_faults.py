"""What stops training, what is left of it, and how it goes on. (benchmarks/train_faults.py kills the real command.)"""

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
from wandb_records import complete_records

from leash_ray.config import TrainConfig, load_config
from leash_ray.deploy import resolve_model
from leash_ray.errors import RunFailed, UsageError
from leash_ray.monitor import Monitor
from leash_ray.rlvr import dump, trainer
from leash_ray.rlvr.batch import TrainBatch
from leash_ray.rlvr.checkpoints import MODEL_FOLDER, Checkpoints, checkpoint_name
from leash_ray.rlvr.failures import failure_of
from leash_ray.rlvr.limits import LimitReached, Limits
from leash_ray.rlvr.rollouts import Draw, Rollouts
from leash_ray.rlvr.sections import LimitsConfig
from leash_ray.rlvr.stopping import watch_limits
from leash_ray.rlvr.trainer import MAX_RESTARTS
from leash_ray.session import open_run
from leash_ray.tasks import ReasoningGymSpec
from leash_ray.types import CompletionBatch, Problem, Verdict
from leash_ray.verify import Verification

MODEL = resolve_model("embedded:countdown")
NAN = math.nan


# Checkpoints.


def write(checkpoints: Checkpoints, step: int) -> None:
    half = checkpoints.half(step)
    (half / MODEL_FOLDER).mkdir(parents=True)
    (half / MODEL_FOLDER / "weights").write_text(str(step))
    checkpoints.commit(step)


def test_a_checkpoint_is_there_when_it_is_whole_and_the_newest_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.newest() is None
    for step in (5, 10, 15):
        write(checkpoints, step)
    assert checkpoints.steps() == [10, 15]
    (checkpoints.half(20) / MODEL_FOLDER).mkdir(parents=True)  # its writer is killed here
    again = Checkpoints(tmp_path, keep=2)
    assert again.newest() == tmp_path / checkpoint_name(15)
    again.clean()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000010", "step-000015"]
    write(again, 15)  # a step that is done again
    assert (tmp_path / "step-000015" / MODEL_FOLDER / "weights").read_text() == "15"
    Checkpoints(tmp_path, keep=1).clean()
    assert again.steps() == [15]


WRITER = """
import sys
from pathlib import Path
from leash_ray.rlvr.checkpoints import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]), keep=2)
checkpoints.clean()
print("start", flush=True)
for step in range(checkpoints.steps()[-1] + 1 if checkpoints.steps() else 1, 10**6):
    half = checkpoints.half(step)
    half.mkdir(parents=True)
    for i in range(3):
        (half / str(i)).write_bytes(bytes([step % 256]) * 200_000)
    checkpoints.commit(step)
"""


def test_killed_at_any_time_a_checkpoint_is_whole(tmp_path: Path) -> None:
    """SIGKILL of a process that writes one after another, at ten moments."""
    newest = 0
    for i in range(10):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(0.05 + 0.013 * i)
            writer.send_signal(signal.SIGKILL)
        steps = Checkpoints(tmp_path, keep=2).steps()
        assert steps and steps[-1] >= newest
        newest = steps[-1]
        for step in steps:
            parts = [(tmp_path / checkpoint_name(step) / str(k)).read_bytes() for k in range(3)]
            assert parts == [bytes([step % 256]) * 200_000] * 3
    assert newest > 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("writer", ["torch", "safetensors", "plain"])
def test_a_full_disk_keeps_whole_checkpoints_and_says_how_to_go_on(small_disk: Path, writer: str) -> None:
    from safetensors.torch import save_file

    checkpoints = Checkpoints(small_disk / "checkpoints", keep=2)
    write(checkpoints, 5)
    half = checkpoints.half(10)
    half.mkdir()
    state = {"a": torch.zeros(1 << 20)}
    writers = {
        "torch": lambda: torch.save(state, half / "state.pt"),
        "safetensors": lambda: save_file(state, half / "state.safetensors"),
        "plain": lambda: (half / "state").write_bytes(bytes(1 << 22)),
    }
    with pytest.raises(RunFailed, match=r"no space left .*step-000005\): free some"), checkpoints.a_full_disk_said():
        writers[writer]()
    assert [p.name for p in checkpoints.folder.iterdir()] == ["step-000005"]
    with pytest.raises(ZeroDivisionError), checkpoints.a_full_disk_said():  # there is space again
        raise ZeroDivisionError


# Which failures are final.


@pytest.mark.parametrize(
    ("text", "message", "is_final", "is_limit"),
    [
        (
            "Training failed\n  The actor died unexpectedly before\n\tclass_name: x",
            "a training worker died",
            False,
            False,
        ),
        ("Traceback\n  File 1\nKeyError: 'x'\n", "KeyError: 'x'", False, False),
        (
            "[0]\nRuntimeError: Connection closed by peer\n[1]\nleash_ray.errors.RunFailed: no space: free some\n",
            "no space: free some",
            True,
            False,
        ),
        ("x\nleash_ray.errors.UsageError: set y\nmore", "set y", True, False),
        ("x\nleash_ray.rlvr.limits.LimitReached: stopped at step 3: why", "stopped at step 3: why", True, True),
        ("", "for no reason that was told", False, False),
    ],
)
def test_a_message_of_our_own_is_final(text: str, message: str, is_final: bool, is_limit: bool) -> None:
    assert failure_of(text) == (message, is_final, is_limit)


# Restarts.


@pytest.mark.parametrize(
    ("progress", "n_tries"),
    [([], MAX_RESTARTS + 1), ([2], MAX_RESTARTS + 2), ([2, 0, 4, 6, 0, 0, 8], MAX_RESTARTS + 8)],
)
def test_only_restarts_without_a_new_checkpoint_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, progress: list[int], n_tries: int
) -> None:
    """Every group of workers dies, after it has written the checkpoint of a step (0: of none)."""
    from ray.train.v2.api.exceptions import WorkerGroupError

    tries = []

    def die(job: Any) -> None:
        if len(tries) < len(progress) and (step := progress[len(tries)]):
            write(Checkpoints(tmp_path / "checkpoints", 2), step)
        tries.append(1)
        raise WorkerGroupError("The actor died unexpectedly", {})

    monkeypatch.setattr(trainer, "_fit_once", die)
    job = SimpleNamespace(run_path=tmp_path, config=config_of())
    with pytest.raises(RunFailed, match=r"4 times from the same checkpoint: a training worker died.*--resume"):
        trainer.fit(job)  # type: ignore[arg-type]
    assert len(tries) == n_tries


def test_what_would_only_repeat_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.train.v2.api.exceptions import WorkerGroupError

    tries = []

    def stop(job: Any) -> None:
        tries.append(1)
        raise WorkerGroupError("x\nleash_ray.rlvr.limits.LimitReached: stopped at step 3: why", {})

    monkeypatch.setattr(trainer, "_fit_once", stop)
    job = SimpleNamespace(run_path=tmp_path, config=config_of())
    with pytest.raises(RunFailed, match=r"^training failed: stopped at step 3: why; its checkpoints are in \S+$"):
        trainer.fit(job)  # type: ignore[arg-type]
    assert len(tries) == 1


def test_a_resumed_run_keeps_its_number_of_workers(tmp_path: Path) -> None:
    config = Path(__file__).parent.parent / "jobs" / "configs" / "tiny.yaml"
    open_run(load_config(config), tmp_path / "run", resume=False)
    with pytest.raises(UsageError, match=r"train.workers: 1 -> 2\n.*repeat the old values"):
        open_run(load_config(config, {"train.workers": 2}), tmp_path / "run", resume=True)
    open_run(load_config(config, {"train.limits.grad_norm": 9.0}), tmp_path / "run", resume=True)


# Limits; alone, and as two workers.


@pytest.fixture(scope="module", autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = dist.FileStore(str(tmp_path_factory.mktemp("store") / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


GOOD = {"loss": 0.1, "grad_norm": 1.0, "lr": 3e-4, "verifier_errors": 0.0, "reward_mean": 0.5}
FINE = [torch.ones(3)]


@pytest.mark.parametrize(
    ("change", "weights", "match"),
    [
        ({"loss": NAN}, FINE, "the loss is no number any more: in a new run, try a lower train.lr .it is 0.0003"),
        ({"loss": math.inf}, FINE, "the loss is no number"),
        ({"grad_norm": NAN}, FINE, "the gradient is no number"),
        ({}, [torch.ones(2), torch.tensor([1.0, NAN])], "the weights are no numbers any more after the update"),
        ({"grad_norm": 51.0}, FINE, r"norm is 51, above train.limits.grad_norm \(50\)"),
    ],
)
def test_what_is_no_number_or_too_large_stops_at_once(
    change: dict[str, float], weights: list[torch.Tensor], match: str
) -> None:
    limits = Limits(LimitsConfig(grad_norm=50.0))
    limits.check({**GOOD, "grad_norm": 50.0}, FINE)
    limits.check({**GOOD, "reward_mean": NAN, "kl": NAN}, FINE)  # undefined, and none of the limits' business
    with pytest.raises(LimitReached, match=match):
        limits.check({**GOOD, **change}, weights)


def test_weights_that_zero_3_has_dealt_out_are_looked_at_by_their_part() -> None:
    dealt = SimpleNamespace(ds_tensor=torch.tensor([NAN]))
    with pytest.raises(LimitReached, match="weights"):
        Limits(LimitsConfig()).check(GOOD, [dealt])  # type: ignore[list-item]


def test_a_verifier_that_only_fails_stops_after_so_many_steps_in_a_row() -> None:
    limits = Limits(LimitsConfig(error_steps=2))
    failed = {**GOOD, "verifier_errors": 8.0, "reward_mean": NAN}
    for metrics in (failed, {**GOOD, "verifier_errors": 7.0}, failed):  # one in between got a verdict
        limits.check(metrics, FINE)
    with pytest.raises(
        LimitReached, match=r"failed at every completion of 2 steps in a row \(the last one: it broke\)"
    ):
        limits.check(failed, FINE, "it broke")


# The dump.


def config_of(**settings: Any) -> TrainConfig:
    plain = {"steps": 4, "prompts_per_step": 2, "group_size": 2, "max_tokens": 4, "minibatches": 2}
    return TrainConfig(task=ReasoningGymSpec(dataset="countdown"), **{**plain, **settings})


def rollouts_of() -> Rollouts:
    """Two groups of two, of made-up tokens."""
    groups = [
        CompletionBatch(
            prompt_ids=np.array([3, 4, 5], np.int32),
            token_ids_T=np.array([6, 7, 8, 9, 10], np.int32),
            logprobs_T=np.full(5, -2.5, np.float32),
            offsets=np.array([0, 2, 5]),
            texts=["ab", "abc"],
            finish_reasons=["stop", "length"],
            version=0,
        )
    ] * 2
    problems = [Problem.make("t", f"p{i}", "exact", "1") for i in range(2)]
    verdicts = [Verdict.CORRECT, Verdict.INCORRECT, Verdict.ERROR, Verdict.INCORRECT]
    found = [Verification(v, None, "it\nbroke" if v == Verdict.ERROR else None) for v in verdicts]
    return Rollouts([Draw(p, 0) for p in problems], groups, found, [1.0, 1.0], {})


def batch_of(rollouts: Rollouts) -> TrainBatch:
    from dataclasses import replace

    from leash_ray.rlvr.batch import collate

    batch = collate(rollouts.groups, 0, rollouts.temperatures)
    return replace(batch, advantages_B=torch.tensor([1.0, -1.0, 0.5, -0.5]))


def weights_folder(run: Path, step: int) -> Path:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = run / "weights" / f"v{step:06d}"
    AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).save_pretrained(folder)
    AutoTokenizer.from_pretrained(MODEL).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("lr", [3e-4, 1e15])
def test_a_dump_repeats_the_update(tmp_path: Path, lr: float, capsys: pytest.CaptureFixture[str]) -> None:
    """The learner's own update, the limit that it meets, the dump, and the update from the dump. At a learning rate of
    1e15 the second mini-batch has a loss of NaN."""
    from leash_ray.rlvr.learner import Learner

    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    config = config_of(lr=lr, limits={"grad_norm": 1e-6}, kl={"coef": 0.1})
    learner, rollouts = Learner(MODEL, config, cpu=True, seed=7), rollouts_of()
    job = SimpleNamespace(run_path=tmp_path, config=config, model=MODEL, seed=7)
    sync = SimpleNamespace(folder=lambda step: tmp_path / "weights" / f"v{step:06d}")
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    write(checkpoints, 2)
    weights_folder(tmp_path, 2)
    look = watch_limits(job, learner, SimpleNamespace(rollouts=rollouts), sync, checkpoints)  # type: ignore[arg-type]
    metrics = {**GOOD, **learner.update(batch_of(rollouts), 2)}
    assert math.isnan(metrics["loss"]) == (lr == 1e15)
    with pytest.raises(LimitReached, match=r"^stopped at step 3: .*repeats it") as stopped:
        look(metrics, 2)
    assert "\n" not in str(stopped.value)

    (folder,) = (tmp_path / "dumps").iterdir()
    assert sorted(p.name for p in folder.iterdir()) == [
        "batch-0.safetensors", "completions-0.parquet", "dump.json", "model",
    ]  # fmt: skip
    record = json.loads((folder / "dump.json").read_text())
    assert (record["step"], record["seed"], record["workers"]) == (2, 7, 1)
    assert record["checkpoint"] == "checkpoints/step-000002"
    assert record["train"]["lr"] == lr
    table = pq.read_table(folder / "completions-0.parquet").to_pydict()
    assert table["verdict"] == ["CORRECT", "INCORRECT", "ERROR", "INCORRECT"]
    assert table["reason"][2] == "it\nbroke" and table["text"] == ["ab", "abc"] * 2

    (checkpoints.folder / "step-000002").rename(checkpoints.folder / "gone")  # a made-up one: it has no state
    assert dump.main([str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (loss,) = (line.split() for line in lines if line.startswith("loss"))
    assert float(loss[1].rstrip(",")) == pytest.approx(metrics["loss"], rel=1e-4, nan_ok=True)
    assert float(loss[3]) == pytest.approx(metrics["loss"], rel=1e-4, nan_ok=True)
    assert lines[-1].endswith("NO NUMBERS" if lr == 1e15 else "after the update: numbers")


def test_what_is_no_dump_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="not a dump"):
        dump.read_record(tmp_path)
    assert dump.main([str(tmp_path)]) == 2
    assert dump.main([]) == 2
    assert "dumps/step-N" in capsys.readouterr().err


def test_workers_batches_are_put_together_as_one_worker_cuts_them(tmp_path: Path) -> None:
    """Two workers with rows 0..3 and 4..7, two mini-batches: the first is 0, 1, 4, 5."""
    from safetensors.torch import save_file

    for rank, width in ((0, 3), (1, 5)):
        rows = torch.arange(4) + 4 * rank
        wide = rows[:, None].repeat(1, width)
        save_file(
            {
                "ids_BT": wide,
                "mask_BT": wide[:, 1:].float(),
                "sampler_logp_BT": wide[:, 1:].float(),
                "advantages_B": rows.float(),
                "temperature_B": rows.float(),
                "foreign_B": rows > 5,
            },
            tmp_path / f"batch-{rank}.safetensors",
        )
    batch = dump.read_batch(tmp_path, workers=2, minibatches=2)
    assert batch.advantages_B.tolist() == [0, 1, 4, 5, 2, 3, 6, 7]
    assert batch.ids_BT.shape == (8, 5) and batch.mask_BT.shape == (8, 4)
    assert batch.ids_BT[1].tolist() == [1, 1, 1, 0, 0] and batch.ids_BT[3].tolist() == [5] * 5
    assert batch.foreign_B.tolist() == [False] * 6 + [True] * 2


def _worker(rank: int, folder: str, said: Any) -> None:
    """One of two: only worker 1's weights are no numbers."""
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    rollouts = rollouts_of()
    batch = batch_of(rollouts)
    network = torch.nn.Linear(2, 2)
    job = SimpleNamespace(run_path=Path(folder), config=config_of(), model=MODEL, seed=0)
    learner = SimpleNamespace(last_batch=batch, engine=SimpleNamespace(module=network))
    weights = Path(folder) / "weights"
    if rank == 0:
        weights.mkdir()
    else:
        network.weight.data[0, 0] = NAN
    objective, sync = SimpleNamespace(rollouts=rollouts), SimpleNamespace(folder=lambda step: weights)
    look = watch_limits(job, learner, objective, sync, Checkpoints(Path(folder) / "c"))  # type: ignore[arg-type]
    try:
        look(GOOD, 0)
    except LimitReached as e:
        said.put(str(e))


def test_all_workers_stop_at_the_nan_of_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    workers = [context.Process(target=_worker, args=(rank, str(tmp_path), said)) for rank in range(2)]
    for worker in workers:
        worker.start()
    messages = [said.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert messages[0] == messages[1] and "the weights are no numbers" in messages[0]
    of_workers = {name for r in (0, 1) for name in (f"batch-{r}.safetensors", f"completions-{r}.parquet")}
    assert {p.name for p in (tmp_path / "dumps" / "step-000001").iterdir()} == {"model", "dump.json"} | of_workers


# W&B.

KILLED = """
import os, signal, sys
from pathlib import Path
from leash_ray.monitor import Monitor
monitor = Monitor(Path(sys.argv[1]), wandb_mode="offline")
monitor.log("other", {"x": 1})
for step in range(1, 8):
    monitor.log("train", {"loss": 1 / step}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""


def wandb_steps(run: Path, key: str = "train/step") -> list[Any]:
    """In the files of the W&B run that is the run's, in order."""
    run_id = (run / "wandb" / "run_id").read_text().strip()
    rows = []
    for path in sorted(run.glob(f"wandb/offline-run-*-{run_id}/*.wandb")):
        for record in complete_records(path):
            if record.HasField("history"):
                items = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
                rows += [items[key]] if key in items else []
    return rows


def test_after_a_kill_wandb_has_every_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after step 7, gone on with from step 4, then stopped after step 6 and gone on with from step 5."""
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)])
    assert done.returncode == -signal.SIGKILL
    first = (tmp_path / "wandb" / "run_id").read_text()
    for start, end in ((4, 6), (5, 8)):
        with Monitor(tmp_path, wandb_mode="offline") as monitor:
            monitor.rewind("train", start)
            for step in range(start + 1, end + 1):
                monitor.log("train", {"loss": 10.0 * step}, step=step)
            assert monitor.n_failures == 0
    with Monitor(tmp_path, wandb_mode="offline") as monitor:  # after a good end, and nothing dropped: the same W&B run
        monitor.rewind("train", 8)
        monitor.log("train", {"loss": 90.0}, step=9)
    assert (tmp_path / "wandb" / "run_id").read_text() != first
    assert wandb_steps(tmp_path) == list(range(1, 10))
    assert wandb_steps(tmp_path, "train/loss") == [1, 1 / 2, 1 / 3, 1 / 4, 50, 60, 70, 80, 90]
    assert wandb_steps(tmp_path, "other/x") == [1]


# The real command.


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "faults", [["worker", "checkpoint", "engine", "replica"], ["driver", "term", "nan", "verifier"]]
)
def test_the_real_command_goes_on_or_stops(faults: list[str]) -> None:
    script = Path(__file__).parent.parent / "benchmarks" / "train_faults.py"
    done = subprocess.run(
        [sys.executable, str(script), "--quick", "--json", "--only", *faults], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["all_equal"] and set(found["faults"]) == set(faults)
