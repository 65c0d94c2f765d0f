"""RLVR: rollouts at the policy's version, verdicts, advantages, an update.

Random streams are named by what they are for, so a resumed run draws what an unbroken one would have.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leash_ray.rlvr.batch import collate
from leash_ray.rlvr.book import Book
from leash_ray.rlvr.collectives import all_max, all_sum
from leash_ray.rlvr.rollouts import Rollouts, collect, prompts_of_step, share_of_worker, summarise
from leash_ray.rlvr.score import score

if TYPE_CHECKING:
    from leash_ray.rlvr.learner import Learner
    from leash_ray.rlvr.sync import WeightSync
    from leash_ray.rlvr.trainer import TrainJob
    from leash_ray.rlvr.turns import Turns


class Reinforce:
    """The objective ``rlvr`` (:class:`leash_ray.rlvr.objective.Objective`)."""

    def __init__(
        self, job: "TrainJob", learner: "Learner", sync: "WeightSync", rank: int, turns: "Turns | None" = None
    ) -> None:
        self._job, self._config = job, job.config
        self._learner, self._sync, self._rank, self._turns = learner, sync, rank, turns
        self._book = Book()

    def step(self, step: int) -> dict[str, float]:
        """Rollouts at version ``step``, one update."""
        config, learner = self._config, self._learner
        rollouts = self._draw(step)
        if self._turns is not None:
            self._turns.keep(rollouts.draws, rollouts.groups, rollouts.verifications)
        started_s = time.perf_counter()
        batch = collate(rollouts.groups, learner.pad_id, rollouts.temperatures)
        in_reward = config.kl.place == "reward" and learner.kl_coef > 0
        kl_B = learner.kl_of_completions(batch) if in_reward else None
        batch = score(rollouts, batch, self._book, config, step, learner.kl_coef, kl_B)
        metrics = learner.update(batch, step)
        self._book.add(rollouts.seen())
        totals, lengths = all_sum(rollouts.sums), all_max(rollouts.lengths())
        return {
            **summarise(totals, config.workers),
            **metrics,
            "rollout_tokens": totals["tokens"],
            "rollout_completions": totals["completions"],
            "response_length_min": -lengths["minus_shortest"],
            "response_length_max": lengths["longest"],
            "update_s": time.perf_counter() - started_s,
        }

    def _draw(self, step: int) -> Rollouts:
        job, config = self._job, self._config
        draws = share_of_worker(
            prompts_of_step(job.problems, step, config.prompts_per_step, job.seed), self._rank, config.workers
        )
        return collect(
            job.policy.at(step, str(self._sync.folder(step))),
            job.verifier.verify,
            draws,
            group_size=config.group_size,
            temperatures=[config.temperature_at(step)] * len(draws),
            max_tokens=config.max_tokens_at(step),
            step=step,
            seed=job.seed,
        )

    def draws_at(self, step: int) -> bool:
        return True

    def state(self) -> Mapping[str, Any]:
        return {"book": self._book.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._book = Book.restored(state["book"])
