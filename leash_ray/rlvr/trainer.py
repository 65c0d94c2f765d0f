"""RLVR on Ray Train: every worker draws whole groups from the served policy, learns, and hands the weights back.

One step: rollouts from the policy at version v -> verdicts -> update -> weights to every replica, version v + 1.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leash_ray.config import MonitorConfig
from leash_ray.errors import RunFailed
from leash_ray.policy import ServedPolicy
from leash_ray.rlvr.audit_plan import AuditPlan
from leash_ray.rlvr.checkpoints import MODEL_FOLDER, Checkpoints
from leash_ray.rlvr.failures import failure_of
from leash_ray.rlvr.settings import TrainConfig
from leash_ray.rlvr.traces import Traces
from leash_ray.types import Problem
from leash_ray.verify.remote import RemoteVerifier

if TYPE_CHECKING:
    from leash_ray.rlvr.learner import Learner
    from leash_ray.rlvr.objective import Objective
    from leash_ray.rlvr.sync import WeightSync

CHECKPOINTS = "checkpoints"
MAX_RESTARTS = 3
"""Times in a row that workers may die before there is a new checkpoint. Those of before are not counted."""


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

    When workers die, or fail at what may pass, new ones go on from the newest checkpoint.

    Returns:
        The Hugging Face folder of the last checkpoint, and the steps that were done by then: fewer than asked for
        where the leash guard stopped training.

    Raises:
        RunFailed: training failed; checkpoints up to then are kept.
    """
    from ray.exceptions import RayActorError
    from ray.train.v2.api.exceptions import TrainingFailedError

    checkpoints = Checkpoints(job.run_path / CHECKPOINTS, job.config.keep_checkpoints)
    in_vain, newest = 0, checkpoints.steps()[-1:]
    while True:
        try:
            with _our_signals():
                _fit_once(job)
            return last_checkpoint(checkpoints)
        except (TrainingFailedError, RayActorError) as e:
            before, newest = newest, checkpoints.steps()[-1:]
            in_vain = in_vain + 1 if newest == before else 0
            failure = failure_of(str(e))
            if failure.is_final or in_vain > MAX_RESTARTS:
                how = "" if failure.is_final else f" {in_vain} times from the same checkpoint"
                go_on = "" if failure.is_limit else ": go on with the same command and --resume"
                raise RunFailed(
                    f"training failed{how}: {failure.message}; its checkpoints are in {checkpoints.folder}{go_on}"
                ) from e
            print(
                f"  training broke off ({failure.message}); it goes on from step {newest[0] if newest else 0}",
                file=sys.stderr,
                flush=True,
            )


def _fit_once(job: TrainJob) -> None:
    """One group of workers, to the end of training or of the first of them."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    config = job.config
    TorchTrainer(
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
            storage_path=str(job.run_path),
            name=CHECKPOINTS,
            # Restarts are counted in `fit`: Ray Train counts them for the whole of a run, however long it is, and does
            # not tell what may pass from what will not. (Workers that a node's preemption ends it restarts itself.)
            failure_config=ray.train.FailureConfig(max_failures=0),
        ),
    ).fit()


@contextmanager
def _our_signals() -> Iterator[None]:
    """Ray Train answers Ctrl-C by aborting its workers and leaving Python, and keeps doing so after training. SIGTERM
    does the same; Ray would leave at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    except SystemExit as e:
        raise KeyboardInterrupt from e
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def last_checkpoint(checkpoints: Checkpoints) -> tuple[Path, int]:
    """The model folder of the newest checkpoint, and the steps that were done by then.

    Raises:
        RunFailed: there is none.
    """
    newest = checkpoints.newest()
    if newest is None:
        raise RunFailed(f"no checkpoint in {checkpoints.folder}; run leash train with --resume")
    return newest / MODEL_FOLDER, checkpoints.steps()[-1]


def _train_worker(loop_config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    import ray.train
    import torch

    from leash_ray.rlvr.collectives import all_gather
    from leash_ray.rlvr.learner import Learner
    from leash_ray.rlvr.objective import objective_of
    from leash_ray.rlvr.stopping import watch_limits
    from leash_ray.rlvr.support_audit import SupportAudit
    from leash_ray.rlvr.sync import WeightSync
    from leash_ray.rlvr.turns import FOLDER, Turns
    from leash_ray.rlvr.watched import watched

    job: TrainJob = loop_config["job"]
    context = ray.train.get_context()
    rank = context.get_world_rank()
    if job.cpu:
        torch.set_num_threads(learner_threads(job.config, context.get_local_world_size()))
    checkpoints = Checkpoints(job.run_path / CHECKPOINTS, job.config.keep_checkpoints)
    if rank == 0:
        checkpoints.clean()
    learner = Learner(job.model, job.config, job.cpu, job.seed)
    sync = WeightSync(job, learner, rank)
    turns = Turns(job.run_path / FOLDER) if job.monitor.estimates_every_s else None
    objective = objective_of(job, learner, sync, rank, turns)
    start = 0
    if newest := checkpoints.newest():
        start, state = learner.load(newest)
        objective.restore(state)
        objective.load(newest)
    look = watch_limits(job, learner, objective, sync, checkpoints)
    with checkpoints.a_full_disk_said(), watched(job, rank, start) as log:
        sync(start)
        audit = None
        if job.audit is not None:
            audit = SupportAudit(job, job.audit, rank, all_gather, log, learner, sync.folder)
        is_over = audit is not None and audit.start(start)
        for step in range(start, job.config.steps):
            if is_over:
                break
            is_audited = job.audit is not None and job.audit.is_due(step + 1, job.config.steps)
            log(train_step(objective, sync, step, is_audited, look), step + 1)
            is_over = audit is not None and audit.after(step + 1)
            if (step + 1) % job.config.checkpoint_every == 0 or step + 1 == job.config.steps or is_over:
                _checkpoint(checkpoints, learner, objective, step + 1, rank)
        sync.end()


def learner_threads(config: TrainConfig, workers: int) -> int:
    """Threads of each of a machine's ``workers`` without a GPU. (Ray would give as many as CPUs are claimed.)

    All cores: while the learner learns, the engines wait. If they draw ahead meanwhile, half are theirs: two that want
    the same core, and wait for each other's threads, both take three times as long.
    """
    cores = os.cpu_count() or 1
    return max(1, (cores // 2 if config.staleness else cores) // workers)


def train_step(
    objective: "Objective",
    sync: "WeightSync",
    step: int,
    is_audited: bool = False,
    look: Callable[[Mapping[str, float], int], None] = lambda metrics, step: None,
) -> dict[str, float]:
    """One step of the objective, and weights out as version ``step + 1``, where somebody samples them then; metrics of
    all workers.

    Args:
        is_audited: after the step.
        look: looks at the step's metrics before the weights go out, and may stop training by what it raises.
    """
    from leash_ray.rlvr.collectives import all_max
    from leash_ray.rlvr.step_metrics import memory, rates

    started_s = time.perf_counter()
    metrics = objective.step(step)
    look(metrics, step)
    learnt_s = time.perf_counter()
    if is_audited or objective.draws_at(step + 1):
        sync(step + 1)
    done_s = time.perf_counter()
    metrics |= {"sync_s": done_s - learnt_s, "step_s": done_s - started_s}
    return {**metrics, **rates(metrics), **all_max(memory())}


def _checkpoint(checkpoints: Checkpoints, learner: "Learner", objective: "Objective", step: int, rank: int) -> None:
    """Model and optimizer state of all workers as one checkpoint."""
    import torch.distributed as dist

    half = checkpoints.half(step)
    if rank == 0:
        half.mkdir(parents=True)
    dist.barrier()
    learner.export(half / MODEL_FOLDER)
    learner.save(half, step, objective.state())
    objective.save(half)
    dist.barrier()
    if rank == 0:
        checkpoints.commit(step)
    dist.barrier()
