"""RLVR on Ray Train: every worker draws whole groups from the served policy, learns, and hands the weights back.

One step: rollouts from the policy at version v -> verdicts -> update -> weights to every replica, version v + 1.
"""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leash_ray.config import MonitorConfig
from leash_ray.errors import RunFailed
from leash_ray.policy import ServedPolicy
from leash_ray.rlvr.audit_plan import AuditPlan
from leash_ray.rlvr.settings import TrainConfig
from leash_ray.rlvr.traces import Traces
from leash_ray.types import Problem
from leash_ray.verify.remote import RemoteVerifier

if TYPE_CHECKING:
    from leash_ray.rlvr.learner import Learner
    from leash_ray.rlvr.objective import Objective
    from leash_ray.rlvr.sync import WeightSync

CHECKPOINTS = "checkpoints"
MODEL_FOLDER = "model"


@dataclass(frozen=True, slots=True)
class TrainJob:
    """All that a training worker needs to know."""

    run_path: Path
    """The run's directory, on storage that every node sees."""
    config: TrainConfig
    monitor: MonitorConfig
    run_config: dict[str, Any]
    """The resolved config, for W&B."""
    run_name: str
    model: str
    """Where training starts, and the reference policy."""
    policy: ServedPolicy
    """The served policy that is trained."""
    problems: Sequence[Problem]
    seed: int
    cpu: bool
    verifier: RemoteVerifier
    zeta: float = 0.05
    """1 - confidence of epsilon, of the estimates so far."""
    audit: AuditPlan | None = None
    """The support audit while training; None: there is none."""
    traces: Traces = field(default_factory=dict)
    """Solutions that the objective learns from, by problem id."""


def fit(job: TrainJob) -> tuple[Path, int]:
    """Run the training job to its end, from the last checkpoint where there is one.

    Returns:
        The Hugging Face folder of the last checkpoint, and the steps that were done by then: fewer than asked for
        where the leash guard stopped training.

    Raises:
        RunFailed: training failed; checkpoints up to then are kept.
    """
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    config = job.config
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"job": job},
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.workers,
            use_gpu=not job.cpu,
            resources_per_worker={
                "CPU": config.cpus_per_worker,
                **({} if job.cpu else {"GPU": config.gpus_per_worker}),
            },
        ),
        torch_config=TorchConfig(backend="gloo" if job.cpu else "nccl"),
        run_config=ray.train.RunConfig(
            # Ray Train keeps its checkpoints, and finds the last one again, in storage_path/name.
            storage_path=str(job.run_path),
            name=CHECKPOINTS,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=config.keep_checkpoints),
            failure_config=ray.train.FailureConfig(max_failures=1),
        ),
    )
    try:
        with _our_ctrl_c():
            trainer.fit()
    except TrainingFailedError as e:
        raise RunFailed(
            f"training failed: {_root_cause(e)}; its checkpoints are in {job.run_path / CHECKPOINTS}: "
            "go on with the same command and --resume"
        ) from e
    return last_checkpoint(job.run_path)


@contextmanager
def _our_ctrl_c() -> Iterator[None]:
    """Ray Train answers Ctrl-C by aborting its workers and leaving Python, and keeps doing so after training."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as e:
        raise KeyboardInterrupt from e
    finally:
        signal.signal(signal.SIGINT, before)


def last_checkpoint(run_path: Path) -> tuple[Path, int]:
    """The model folder of the newest checkpoint, and the steps that were done by then.

    Raises:
        RunFailed: there is none.
    """
    folders = (path.parent.parent for path in (run_path / CHECKPOINTS).glob(f"step-*/{MODEL_FOLDER}/config.json"))
    newest = max(folders, key=step_of_checkpoint, default=None)
    if newest is None:
        raise RunFailed(f"no checkpoint in {run_path / CHECKPOINTS}; run leash train with --resume")
    return newest / MODEL_FOLDER, step_of_checkpoint(newest)


def step_of_checkpoint(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def checkpoint_name(step: int) -> str:
    return f"step-{step:06d}"


def _root_cause(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[-1].strip() if text else type(error).__name__


def _train_worker(loop_config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    import ray.train
    import torch

    from leash_ray.rlvr.collectives import all_gather
    from leash_ray.rlvr.learner import Learner
    from leash_ray.rlvr.objective import objective_of
    from leash_ray.rlvr.support_audit import SupportAudit
    from leash_ray.rlvr.sync import WeightSync
    from leash_ray.rlvr.turns import FOLDER, Turns
    from leash_ray.rlvr.watched import watched

    job: TrainJob = loop_config["job"]
    context = ray.train.get_context()
    rank = context.get_world_rank()
    if job.cpu:
        # Ray gives a worker as many threads as it claims CPUs; while it learns, the engines wait.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    learner = Learner(job.model, job.config, job.cpu, job.seed)
    sync = WeightSync(job, learner, rank)
    turns = Turns(job.run_path / FOLDER) if job.monitor.estimates_every_s else None
    objective = objective_of(job, learner, sync, rank, turns)
    start = 0
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            start, state = learner.load(Path(folder))
            objective.restore(state)
            objective.load(Path(folder))
    with watched(job, rank, start) as log:
        sync(start)
        audit = None
        if job.audit is not None:
            audit = SupportAudit(job, job.audit, rank, all_gather, log, learner, sync.folder)
        is_over = audit is not None and audit.start(start)
        for step in range(start, job.config.steps):
            if is_over:
                break
            is_audited = job.audit is not None and job.audit.is_due(step + 1, job.config.steps)
            log(train_step(objective, sync, step, is_audited), step + 1)
            is_over = audit is not None and audit.after(step + 1)
            if (step + 1) % job.config.checkpoint_every == 0 or step + 1 == job.config.steps or is_over:
                _checkpoint(learner, objective, step + 1, rank)
    sync.end()


def train_step(objective: "Objective", sync: "WeightSync", step: int, is_audited: bool = False) -> dict[str, float]:
    """One step of the objective, and weights out as version ``step + 1``, where somebody samples them then; metrics of
    all workers.

    Args:
        is_audited: after the step.
    """
    from leash_ray.rlvr.collectives import all_max
    from leash_ray.rlvr.step_metrics import memory, rates

    started_s = time.perf_counter()
    metrics = objective.step(step)
    learnt_s = time.perf_counter()
    if is_audited or objective.draws_at(step + 1):
        sync(step + 1)
    done_s = time.perf_counter()
    metrics |= {"sync_s": done_s - learnt_s, "step_s": done_s - started_s}
    return {**metrics, **rates(metrics), **all_max(memory())}


def _checkpoint(learner: "Learner", objective: "Objective", step: int, rank: int) -> None:
    """Model and optimizer state of all workers as one Ray Train checkpoint."""
    import ray.train

    with tempfile.TemporaryDirectory(prefix="leash-checkpoint-") as tmp:
        learner.export(Path(tmp) / MODEL_FOLDER)
        learner.save(Path(tmp), step, objective.state())
        objective.save(Path(tmp))
        ray.train.report(
            {"step": step},
            checkpoint=ray.train.Checkpoint.from_directory(tmp),
            checkpoint_dir_name=checkpoint_name(step),
        )
