"""From verified rollouts to advantages: rewards, what is taken from them, advantages, weights of problems."""

from dataclasses import replace

import torch

from leash_ray.rlvr.advantages import advantages
from leash_ray.rlvr.batch import TrainBatch
from leash_ray.rlvr.book import Book
from leash_ray.rlvr.collectives import all_sum
from leash_ray.rlvr.gating import gate
from leash_ray.rlvr.rewards import overlong_penalty, rarity_discount, rewards_of
from leash_ray.rlvr.rollouts import Rollouts
from leash_ray.rlvr.settings import TrainConfig


def score(
    rollouts: Rollouts,
    batch: TrainBatch,
    book: Book,
    config: TrainConfig,
    step: int,
    kl_coef: float = 0.0,
    kl_B: torch.Tensor | None = None,
) -> TrainBatch:
    """The batch with its advantages. Every worker calls this at the same time.

    Args:
        rollouts: what ``batch`` was collated from; groups of one size.
        book: of the steps before.
        kl_coef, kl_B: weight and KL of each completion (nats), where it is a part of the reward.
    """
    n = len(rollouts.groups[0])
    rewards_GN, scored_GN = rewards_of(rollouts.verifications, n)
    lengths_GN = batch.mask_BT.sum(1).view(-1, n)
    if config.advantage.rarity:
        rewards_GN = rarity_discount(
            rewards_GN, (batch.sampler_logp_BT * batch.mask_BT).sum(1).view(-1, n), config.advantage.rarity
        )
    rewards_GN = rewards_GN - overlong_penalty(lengths_GN, config.max_tokens_at(step), config.overlong)
    if kl_B is not None:
        rewards_GN = rewards_GN - kl_coef * kl_B.view(-1, n)
    moments = _moments(rewards_GN, scored_GN) if config.advantage.kind == "reinforce_pp" else None
    found_GN = advantages(rewards_GN, scored_GN, config.advantage, moments)
    found_GN = found_GN * gate([book.record(d.problem.id) for d in rollouts.draws], config.advantage)[:, None]
    mask_BT = batch.mask_BT
    if config.overlong.mask:
        whole_B = torch.tensor([reason != "length" for g in rollouts.groups for reason in g.finish_reasons])
        mask_BT = mask_BT * whole_B[:, None]
    return replace(batch, advantages_B=found_GN.reshape(-1), mask_BT=mask_BT)


def _moments(rewards_GN: torch.Tensor, scored_GN: torch.Tensor) -> tuple[float, float]:
    """Mean and standard deviation over all workers' scored completions; of equal rewards the latter is exactly 0."""
    scored = rewards_GN[scored_GN].double()  # in which sums of equal float32 numbers are exact
    total = all_sum({"n": float(len(scored)), "sum": float(scored.sum())})
    n = max(1.0, total["n"])
    mean = total["sum"] / n
    squares = all_sum({"of": float(((scored - mean) ** 2).sum())})["of"]
    return mean, (squares / n) ** 0.5
