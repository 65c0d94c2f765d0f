"""What a training step does between two weight syncs; one class for each objective."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from leash_ray.rlvr.learner import Learner
    from leash_ray.rlvr.sync import WeightSync
    from leash_ray.rlvr.trainer import TrainJob
    from leash_ray.rlvr.turns import Turns


class Objective(Protocol):
    """One worker's part. All workers call the same methods at the same time."""

    def step(self, step: int) -> dict[str, float]:
        """Do the 0-based step with the policy at version ``step``; metrics over all workers.

        When it returns, nothing of it runs any more, and the weights are those of version ``step + 1``.
        """
        ...

    def draws_at(self, step: int) -> bool:
        """Whether the 0-based step samples the policy: only then do its weights travel to the samplers before it."""
        ...

    def state(self) -> Mapping[str, Any]:
        """As JSON: what a checkpoint keeps beside the learner's own state; the same on every worker."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        ...

    def save(self, folder: Path) -> None:
        """Write what this worker alone knows into its checkpoint folder, if there is any."""
        return

    def load(self, folder: Path) -> None:
        """Go on from :meth:`save`."""
        return


def objective_of(
    job: "TrainJob", learner: "Learner", sync: "WeightSync", rank: int, turns: "Turns | None"
) -> Objective:
    """As the config says.

    Args:
        turns: keeps the rollouts.
    """
    if job.config.objective == "sft":
        from leash_ray.rlvr.supervised import Supervised

        return Supervised(job, learner, rank)
    if job.config.objective == "rft":
        from leash_ray.rlvr.rejection import Rejection

        return Rejection(job, learner, sync, rank)
    if job.config.seeding is not None:
        from leash_ray.rlvr.seeded import Seeded

        return Seeded(job, learner, sync, rank, turns)
    from leash_ray.rlvr.reinforce import Reinforce

    return Reinforce(job, learner, sync, rank, turns)
