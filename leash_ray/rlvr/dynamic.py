"""Dynamic sampling: groups without signal are replaced by groups of other problems (DAPO, arXiv 2503.14476, §3.2).

Where all completions of a group are right, or all wrong, their advantages are 0, and the step's gradient is of fewer
completions than it was meant to be. DAPO goes on drawing until the batch is full of groups with signal; here the draws
are capped, and what has no signal after them stays in the batch.

Each worker replaces its own groups from spares of its own, so that nobody waits for anybody: which problems come is a
pure function of seed, step, round and worker, and how many of them, of what was drawn.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from leash_ray.rlvr.rollouts import Draw, Rollouts, prompts_of_step
from leash_ray.rlvr.sections import DynamicConfig
from leash_ray.rlvr.settings import TrainConfig
from leash_ray.seeds import stream_seed
from leash_ray.types import Problem


@dataclass(frozen=True, slots=True)
class Sampled:
    """One worker's share of a step."""

    rollouts: Rollouts
    """What is learnt from."""
    rounds: list[Rollouts]
    """All that was drawn for it: the problems in their turn, then each round of replacements."""

    @property
    def in_turn(self) -> Rollouts:
        """Of the problems that it was the turn of, whatever came out."""
        return self.rounds[0]

    def seen(self) -> dict[str, tuple[int, int]]:
        """(scored, correct) completions of each problem, in all rounds."""
        found: dict[str, tuple[int, int]] = {}
        for drawn in self.rounds:
            for problem_id, (n, c) in drawn.seen().items():
                n_before, c_before = found.get(problem_id, (0, 0))
                found[problem_id] = (n_before + n, c_before + c)
        return found

    def sums(self) -> dict[str, float]:
        """Sums that add up over workers: those of the problems in their turn, with the time that all rounds took, and
        what :func:`summarise_replaced` reads."""
        names = ("tokens", "completions", "rollout_s", "verify_s")
        of_all = {name: sum(drawn.sums[name] for drawn in self.rounds) for name in names}
        return {
            **self.in_turn.sums,
            **{name: of_all[name] for name in ("rollout_s", "verify_s")},
            "all_tokens": of_all["tokens"],
            "all_completions": of_all["completions"],
            "thrown_tokens": of_all["tokens"] - self.rollouts.sums["tokens"],
            "replaced": float(sum(draw.round > 0 for draw in self.rollouts.draws)),
            "rounds": float(len(self.rounds) - 1),
            "used_with_signal": self.rollouts.sums["groups_with_signal"],
        }


def spares(
    problems: Sequence[Problem], config: TrainConfig, step: int, round_: int, rank: int, seed: int
) -> list[Draw]:
    """Problems that may replace worker ``rank``'s groups in a round (from 1), in the order in which they do.

    No problem is there for two workers, in two rounds of a step, or in a step that has its turn: where there are not
    so many problems, the last rounds have none.
    """
    assert config.dynamic is not None
    in_turn = prompts_of_step(problems, step, config.prompts_per_step, seed)
    taken = {draw.problem.id for draw in in_turn}
    order = np.random.default_rng(stream_seed(seed, "spares", step)).permutation(len(problems))
    others = [problems[i] for i in order.tolist() if problems[i].id not in taken]
    size = config.workers * math.ceil(config.dynamic.oversample * (config.prompts_per_step // config.workers))
    of_round = others[(round_ - 1) * size : round_ * size]
    return [Draw(problem, in_turn[0].epoch, round_) for problem in of_round[rank :: config.workers]]


def replaced(
    first: Rollouts,
    draw: Callable[[Sequence[Draw]], Rollouts],
    spares_of: Callable[[int], Sequence[Draw]],
    dynamic: DynamicConfig,
) -> Sampled:
    """Put groups with signal in the place of those of ``first`` that have none, as many as come in the rounds allowed.

    Args:
        draw: samples and verifies groups.
        spares_of: the spares of a round, from 1.
    """
    parts, rounds = first.parts(), [first]
    missing = [i for i, part in enumerate(parts) if not part.has_signal]
    for round_ in range(1, dynamic.max_rounds + 1):
        wanted = spares_of(round_)[: math.ceil(dynamic.oversample * len(missing))]
        if not wanted:  # nothing is missing, or no other problem is left
            break
        drawn = draw(wanted)
        rounds.append(drawn)
        with_signal = [part for part in drawn.parts() if part.has_signal]
        for i, part in zip(missing, with_signal, strict=False):
            parts[i] = part
        missing = missing[len(with_signal) :]
    return Sampled(Rollouts.of(parts), rounds)


def summarise_replaced(sums: dict[str, float], workers: int) -> dict[str, float]:
    """Step metrics of dynamic sampling from the sums over all workers."""
    return {
        "group_signal_share_used": sums["used_with_signal"] / sums["groups"],
        "group_replaced_share": sums["replaced"] / sums["groups"],
        "dynamic_rounds": sums["rounds"] / workers,
        "thrown_tokens": sums["thrown_tokens"],
    }
