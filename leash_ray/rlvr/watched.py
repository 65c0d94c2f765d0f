"""What training tells while it runs: a row a step, and now and then the estimates so far."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from leash_ray.monitor import Monitor
from leash_ray.ray_metrics import RayMetrics
from leash_ray.rlvr.audit_plan import STAGE
from leash_ray.rlvr.turns import FOLDER, first_and_latest, in_turns
from leash_ray.so_far import EstimatesSoFar, Numbers

if TYPE_CHECKING:
    from leash_ray.rlvr.trainer import TrainJob


class Log(Protocol):
    """Takes a row of a stage's metrics."""

    def __call__(self, metrics: Mapping[str, Any], step: int, stage: str = "train") -> None: ...


def _no_log(metrics: Mapping[str, Any], step: int, stage: str = "train") -> None:
    pass


@contextmanager
def watched(job: "TrainJob", rank: int, start: int) -> Iterator[Log]:
    """Worker 0 logs; the others' log does nothing. Rows of steps that are about to be done again are dropped."""
    if rank:
        yield _no_log
        return
    with ExitStack() as open_:
        monitor = Monitor(
            job.run_path,
            wandb_mode=job.monitor.wandb,
            project=job.monitor.project,
            name=job.run_name,
            config=job.run_config,
        )
        open_.callback(monitor.finish)
        monitor.rewind("train", start)
        monitor.rewind(STAGE, start or -1)  # before the first step there may be an audit, too
        monitor.rewind(FOLDER, start * job.config.prompts_per_step * job.config.group_size)
        if job.monitor.estimates_every_s:
            _follow_turns(job, monitor, open_)

        def log(metrics: Mapping[str, Any], step: int, stage: str = "train") -> None:
            monitor.log(stage, metrics, step)

        yield log


def _follow_turns(job: "TrainJob", monitor: Monitor, open_: ExitStack) -> None:
    """Estimates so far, of the first against the latest turn, to the monitor and to Ray's metrics."""

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    shown = open_.enter_context(RayMetrics(job.run_name, say))

    def log(numbers: Numbers, n: int) -> None:
        found = in_turns(numbers)
        shown.set_estimates({f"{FOLDER}/{name}": value for name, value in found.items()})
        monitor.log(FOLDER, found, step=n)

    open_.enter_context(
        EstimatesSoFar(
            job.run_path / FOLDER,
            first_and_latest,
            zeta=job.zeta,
            confidence=0.95,
            log=log,
            say=say,
            every_s=job.monitor.estimates_every_s,
        )
    )
