"""Supervised fine-tuning on solutions: the objective ``sft``, what RLVR is compared with (paper, Table 3).

The same learner, optimizer, schedules, checkpoints and logs as RLVR's. The loss is −ln p of a target's tokens,
end-of-sequence included, at temperature 1 (:func:`leash_ray.rlvr.losses.token_loss`, ``nll`` with A = 1). Nothing is
sampled, so the weights do not travel to the samplers.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from leash_ray.errors import RunFailed
from leash_ray.rlvr.batch import TrainBatch, collate
from leash_ray.rlvr.objective import Objective
from leash_ray.rlvr.rollouts import places_of_step
from leash_ray.rlvr.traces import Traces, completion_of, solution_ids
from leash_ray.types import Problem

if TYPE_CHECKING:
    from leash_ray.rlvr.learner import Learner
    from leash_ray.rlvr.trainer import TrainJob

_SHOWN = (
    *("loss", "entropy", "kl", "grad_norm", "lr", "n_tokens", "padding_share", "optimizer_steps"),
    "entropy_coef",
)
"""Of the learner's metrics, those that mean something where nothing was sampled: ratios and gaps do not."""


@dataclass(frozen=True, slots=True)
class Target:
    """One solution to learn."""

    problem_id: str
    text: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """End-of-sequence included."""


def targets_of(
    traces: Traces, problems: Sequence[Problem], tokenizer: Any, max_tokens: int
) -> tuple[list[Target], int]:
    """(the targets in the order of the problems and their traces, how many were left out as longer than
    ``max_tokens``, which no sampler of this run could draw)."""
    found: list[Target] = []
    for problem in problems:
        for text in traces.get(problem.id, ()):
            prompt_ids, token_ids = solution_ids(tokenizer, problem.prompt, text)
            found.append(Target(problem.id, text, tuple(prompt_ids), tuple(token_ids)))
    fit = [t for t in found if len(t.token_ids) <= max_tokens]
    return fit, len(found) - len(fit)


def targets_batch(targets: Sequence[Target], pad_id: int) -> TrainBatch:
    """As a batch with A = 1, a row a target."""
    rows = [completion_of(t.prompt_ids, t.token_ids, t.text) for t in targets]
    batch = collate(rows, pad_id, [1.0] * len(rows))
    return replace(batch, advantages_B=torch.ones(len(rows)))


class Supervised(Objective):
    """The objective ``sft`` (:class:`leash_ray.rlvr.objective.Objective`): every step learns the next
    ``prompts_per_step`` targets of a stream of seeded permutations, dealt out to the workers."""

    def __init__(self, job: "TrainJob", learner: "Learner", rank: int) -> None:
        self._job, self._learner, self._rank = job, learner, rank
        self._targets, self._n_too_long = self._first_targets()
        self._drawn_at = 0
        """The step from which these are the targets."""

    def _first_targets(self) -> tuple[list[Target], int]:
        targets, n_too_long = targets_of(
            self._job.traces, self._job.problems, self._learner.tokenizer, self._job.config.most_tokens
        )
        if not targets:
            raise RunFailed(f"all {n_too_long} solutions are longer than train.max_tokens; raise it")
        return targets, n_too_long

    def step(self, step: int) -> dict[str, float]:
        """One pass over the step's targets."""
        config, started_s = self._job.config, time.perf_counter()
        n, per_step = len(self._targets), config.prompts_per_step
        places = places_of_step(n, step - self._drawn_at, per_step, self._job.seed + self._drawn_at)
        chosen = [self._targets[i] for i, _ in places[self._rank :: config.workers]]
        batch = targets_batch(chosen, self._learner.pad_id)
        kl_nats = self._learner.kl_at(batch)
        metrics = {**self._learner.update(batch, step), "kl": kl_nats}
        return {
            **{name: metrics[name] for name in _SHOWN},
            "targets": float(n),
            "targets_too_long": float(self._n_too_long),
            "epoch": (step + 1 - self._drawn_at) * per_step / n,
            "update_s": time.perf_counter() - started_s,
        }

    def draws_at(self, step: int) -> bool:
        return False

    def state(self) -> Mapping[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass
