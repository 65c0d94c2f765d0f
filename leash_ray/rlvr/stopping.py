"""Limits and dump together: looks at every step, and leaves what it takes to repeat the one that it stops at."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from leash_ray.rlvr.checkpoints import Checkpoints
from leash_ray.rlvr.dump import write_dump
from leash_ray.rlvr.limits import LimitReached, Limits
from leash_ray.types import Verdict

if TYPE_CHECKING:
    from leash_ray.rlvr.learner import Learner
    from leash_ray.rlvr.objective import Objective
    from leash_ray.rlvr.rollouts import Rollouts
    from leash_ray.rlvr.sync import WeightSync
    from leash_ray.rlvr.trainer import TrainJob


def watch_limits(
    job: "TrainJob", learner: "Learner", objective: "Objective", sync: "WeightSync", checkpoints: Checkpoints
) -> Callable[[Mapping[str, float], int], None]:
    """A function of a step's metrics and its 0-based number, which every worker calls after the update.

    It raises LimitReached, on every worker, after the dump is written.
    """
    limits = Limits(job.config.limits)

    def look(metrics: Mapping[str, float], step: int) -> None:
        rollouts: Rollouts | None = getattr(objective, "rollouts", None)  # an objective without them has none
        try:
            limits.check(metrics, learner.engine.module.parameters(), _what_failed(rollouts))
        except LimitReached as e:
            assert learner.last_batch is not None
            dump = write_dump(
                job,
                step,
                why=str(e),
                metrics=metrics,
                batch=learner.last_batch,
                rollouts=rollouts,
                weights=sync.folder(step),
                checkpoint=checkpoints.newest(),
            )
            raise LimitReached(
                f"stopped at step {step + 1}: {e}. Neither samplers nor checkpoints have that step; "
                f"`python -m leash_ray.rlvr.dump {dump}` repeats it"
            ) from None

    return look


def _what_failed(rollouts: "Rollouts | None") -> str | None:
    """What the verifier said at the last completion that it failed at."""
    for verification in reversed(rollouts.verifications if rollouts else []):
        if verification.verdict == Verdict.ERROR:
            return " ".join((verification.reason or "").split())[:200]
    return None
