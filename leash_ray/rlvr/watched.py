"""What training tells while it runs: a row a step, and now and then the estimates so far."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from leash_ray.monitor import Monitor
from leash_ray.ray_metrics import RayMetrics
from leash_ray.rlvr.turns import FOLDER, first_and_latest, in_turns
from leash_ray.so_far import EstimatesSoFar, Numbers

if TYPE_CHECKING:
    from leash_ray.rlvr.trainer import TrainJob


@contextmanager
def watched(job: "TrainJob", rank: int, start: int) -> Iterator[Callable[[dict[str, float], int], None]]:
    """Worker 0 logs; the others' log does nothing. Rows of steps that are about to be done again are dropped."""
    if rank:
        yield lambda metrics, step: None
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
        monitor.rewind(FOLDER, start * job.config.prompts_per_step * job.config.group_size)
        if job.monitor.estimates_every_s:
            _follow_turns(job, monitor, open_)
        yield lambda metrics, step: monitor.log("train", metrics, step)


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
