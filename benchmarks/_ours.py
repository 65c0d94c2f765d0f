"""Our side of ``rlvr_step.py``: the parts of a training worker, in a Ray actor that does so many steps at a time."""

import os
import socket
from pathlib import Path
from typing import Any

from _grpo import Setting

from leash_ray.config import MonitorConfig
from leash_ray.policy import ServedPolicy
from leash_ray.rlvr.settings import TrainConfig
from leash_ray.rlvr.trainer import TrainJob, learner_threads, train_step
from leash_ray.verify.remote import RemoteVerifier


def job_of(setting: Setting, run: Path, served: ServedPolicy, verifier: RemoteVerifier) -> TrainJob:
    """The same step as TRL's."""
    config = TrainConfig.model_validate(
        {
            "task": {"kind": "reasoning_gym", "dataset": "countdown"},
            "prompts_per_step": setting.prompts_per_step,
            "group_size": setting.group_size,
            "max_tokens": setting.max_tokens,
            "lr": setting.lr,
            "staleness": setting.staleness,
            "kl": {"coef": setting.kl_coef, "track": False},
        }
    )
    return TrainJob(
        run_path=run,
        config=config,
        monitor=MonitorConfig(wandb="off", estimates_every_s=0),
        run_config={},
        run_name="benchmark",
        model=setting.folder,
        policy=served,
        problems=setting.problems(),
        seed=setting.seed,
        cpu=True,
        verifier=verifier,
    )


class Worker:
    """What :func:`leash_ray.rlvr.trainer.fit` has Ray Train run, less logging and checkpoints."""

    def __init__(self, job: TrainJob) -> None:
        import torch
        import torch.distributed as dist

        from leash_ray.rlvr.learner import Learner
        from leash_ray.rlvr.objective import objective_of
        from leash_ray.rlvr.sync import WeightSync

        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        dist.init_process_group("gloo")
        torch.set_num_threads(learner_threads(job.config, 1))
        learner = Learner(job.model, job.config, job.cpu, job.seed)
        self._sync = WeightSync(job, learner, 0)
        self._objective = objective_of(job, learner, self._sync, 0, None)
        self._done = 0
        self._sync(0)

    def steps(self, n: int) -> list[dict[str, Any]]:
        """Metrics of the next ``n`` steps."""
        rows = []
        for _ in range(n):
            rows.append(train_step(self._objective, self._sync, self._done))
            self._done += 1
        return rows
