"""RLVR: rollouts, verdicts, advantages, an update.

Random streams are named by what they are for, so a resumed run draws what an unbroken one would have.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leash_ray.rlvr.ahead import Ahead
from leash_ray.rlvr.batch import TrainBatch, collate
from leash_ray.rlvr.book import Book
from leash_ray.rlvr.collectives import all_gather, all_max, all_sum
from leash_ray.rlvr.dynamic import Sampled, replaced, spares, summarise_replaced
from leash_ray.rlvr.rollouts import Draw, Rollouts, collect, prompts_of_step, share_of_worker, summarise
from leash_ray.rlvr.score import score
from leash_ray.rlvr.temperature import Temperatures

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
        self._temperatures = Temperatures(job.config.temperature_by_problem)
        self._ahead = Ahead(rank, job.config.workers)
        self.rollouts: Rollouts | None = None
        """Of the latest step, for a dump of it."""

    def step(self, step: int) -> dict[str, float]:
        """Rollouts at version ``step``, or the one before; one update."""
        config, learner = self._config, self._learner
        started_s = time.perf_counter()
        sampled = self._ahead.take(step) or self._draw(step, version=step)
        wait_s = time.perf_counter() - started_s
        if self._turns is not None:
            kept = sampled.in_turn
            self._turns.keep(kept.draws, kept.groups, kept.verifications)
        mixed, batch = self._mixed(sampled.rollouts, step)
        self.rollouts = mixed

        started_s = time.perf_counter()
        in_reward = config.kl.place == "reward" and learner.kl_coef > 0
        kl_B = learner.kl_of_completions(batch) if in_reward else None
        batch = score(mixed, batch, self._book, config, step, learner.kl_coef, kl_B)
        self._note(sampled, step)
        if config.staleness and step + 1 < config.steps:
            self._ahead.start(step + 1, lambda: self._draw(step + 1, version=step))
        metrics = learner.update(batch, step)
        update_s = time.perf_counter() - started_s
        wait_s += self._ahead.join()  # new weights wait for completions in flight
        return {**self._summary(sampled, step, wait_s), **metrics, "update_s": update_s}

    def _prompts(self, step: int) -> list[Draw]:
        """Of all workers."""
        return prompts_of_step(self._job.problems, step, self._config.prompts_per_step, self._job.seed)

    def _mixed(self, rollouts: Rollouts, step: int) -> tuple[Rollouts, TrainBatch]:
        """What is learnt from; where groups are seeded, it is more than was drawn."""
        return rollouts, collate(rollouts.groups, self._learner.pad_id, rollouts.temperatures)

    def _draw(self, step: int, version: int) -> Sampled:
        """This worker's share of a step, from the policy at ``version``. No collective is called: it may run while
        the learner's are."""
        job, config = self._job, self._config
        policy = job.policy.at(version, str(self._sync.folder(version)))

        def draw(draws: Sequence[Draw]) -> Rollouts:
            return collect(
                policy,
                job.verifier.verify,
                draws,
                group_size=config.group_size,
                temperatures=[self._temperatures.of(d.problem.id, config.temperature_at(step)) for d in draws],
                max_tokens=config.max_tokens_at(step),
                step=step,
                seed=job.seed,
            )

        first = draw(share_of_worker(self._prompts(step), self._rank, config.workers))
        if config.dynamic is None:
            return Sampled(first, [first])
        return replaced(
            first,
            draw,
            lambda round_: spares(job.problems, config, step, round_, self._rank, job.seed),
            config.dynamic,
        )

    def _note(self, sampled: Sampled, step: int) -> None:
        """What all workers have seen, for the steps to come."""
        for seen in all_gather(sampled.seen()):
            self._book.add_own(seen)
            self._temperatures.add(seen, self._config.temperature_at(step))

    def _summary(self, sampled: Sampled, step: int, wait_s: float) -> dict[str, float]:
        config = self._config
        ages = [step - group.version for group in sampled.rollouts.groups]
        temperatures = sampled.rollouts.temperatures
        totals = all_sum(
            {**sampled.sums(), "wait_s": wait_s, "age": float(sum(ages)), "temperature": sum(temperatures)}
        )
        largest = all_max({**sampled.in_turn.lengths(), "age": float(max(ages))})
        return {
            **summarise(totals, config.workers),
            **(summarise_replaced(totals, config.workers) if config.dynamic else {}),
            "rollout_tokens": totals["all_tokens"],
            "rollout_completions": totals["all_completions"],
            "response_length_min": -largest["minus_shortest"],
            "response_length_max": largest["longest"],
            "temperature": totals["temperature"] / totals["groups"],
            "staleness": totals["age"] / totals["groups"],
            "staleness_max": largest["age"],
            "wait_s": totals["wait_s"] / config.workers,
        }

    def draws_at(self, step: int) -> bool:
        return True

    def state(self) -> Mapping[str, Any]:
        return {"book": self._book.state(), "temperatures": self._temperatures.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._book = Book.restored(state["book"])
        self._temperatures.restore(state["temperatures"])

    def save(self, folder: Path) -> None:
        self._ahead.save(folder)

    def load(self, folder: Path) -> None:
        self._ahead.load(folder)
