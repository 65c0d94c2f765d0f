"""RLVR with completions of other origin in its groups: traces and hints (:mod:`leash_ray.rlvr.seeding`), reviews of
solved problems (:mod:`leash_ray.rlvr.replay`).

Rewards, lengths, records of problems and rollouts that are kept are of the policy's own completions; advantages and the
loss are of the mixed groups.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leash_ray.rlvr import replay, seeding
from leash_ray.rlvr.batch import TrainBatch
from leash_ray.rlvr.collectives import all_gather, all_sum
from leash_ray.rlvr.mixing import Mixture
from leash_ray.rlvr.reinforce import Reinforce
from leash_ray.rlvr.rollouts import Draw, Rollouts

if TYPE_CHECKING:
    from leash_ray.rlvr.learner import Learner
    from leash_ray.rlvr.sync import WeightSync
    from leash_ray.rlvr.trainer import TrainJob
    from leash_ray.rlvr.turns import Turns


class Seeded(Reinforce):
    """The objective ``rlvr`` with a section ``seeding``."""

    def __init__(
        self, job: "TrainJob", learner: "Learner", sync: "WeightSync", rank: int, turns: "Turns | None" = None
    ) -> None:
        super().__init__(job, learner, sync, rank, turns)
        assert job.config.seeding is not None
        self._settings = job.config.seeding
        self._seeding = seeding.Seeding(self._settings, job.traces, learner.tokenizer, job.verifier.verify, job.seed)
        self._buffer = replay.Buffer(self._settings.buffer)
        self._sums: dict[str, float] = {}
        """Of the latest step's groups."""
        self._found: dict[str, replay.Rare] = {}
        """In them."""

    def step(self, step: int) -> dict[str, float]:
        """As :meth:`Reinforce.step`, in mixed groups."""
        row = super().step(step)
        totals = all_sum(self._sums)
        row["rollout_tokens"] += totals["hint_tokens"]
        row["seed_s"] = totals["seed_s"] / self._config.workers
        if self._settings.per_group or self._settings.prefix_share:
            row |= seeding.metrics_of(totals, row["n_tokens"])
        if self._settings.replay:
            self._buffer.add(replay.rarest(all_gather(self._found)))
            row |= replay.metrics_of(totals, self._buffer)
        return row

    def _prompts(self, step: int) -> list[Draw]:
        problems = {p.id: p for p in self._job.problems}
        draws = super()._prompts(step)
        return replay.with_reviews(
            draws, self._settings.replay, self._buffer, self._book, problems, step, self._job.seed
        )

    def _mixed(self, rollouts: Rollouts, step: int) -> tuple[Rollouts, TrainBatch]:
        started_s = time.perf_counter()
        policy = self._job.policy.at(step, str(self._sync.folder(step)))
        mixture, self._found = Mixture(rollouts), replay.rare_of(rollouts, step)
        self._sums = {
            **replay.put_rare(mixture, self._buffer),
            **self._seeding.into(mixture, policy, step, self._config.max_tokens_at(step)),
        }
        self._sums["seed_s"] = time.perf_counter() - started_s
        return mixture.rollouts(), mixture.batch(self._learner.pad_id)

    def state(self) -> Mapping[str, Any]:
        return {**super().state(), "replay": self._buffer.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._buffer = replay.Buffer.restored(self._settings.buffer, state["replay"])
