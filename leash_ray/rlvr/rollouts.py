"""One worker's rollouts of one step: whole groups drawn from the served policy, verified, turned into advantages."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from leash_ray.policy import Policy
from leash_ray.rlvr.advantages import group_normalised
from leash_ray.rlvr.batch import TrainBatch, collate
from leash_ray.seeds import stream_seed
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams, Verdict
from leash_ray.verify import Verification

Verify = Callable[[Sequence[tuple[Problem, str, str]]], list[Verification]]
"""(problem, text, finish_reason) of each completion -> its verification."""


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Groups of one worker; G groups of N completions."""

    batch: TrainBatch
    groups: list[CompletionBatch]
    verifications: list[Verification]
    """Of each completion, group after group."""
    sums: dict[str, float]
    """Sums over this worker's completions, which add up over workers (see :func:`summarise`)."""


class Draw(NamedTuple):
    """A problem's turn to be trained on."""

    problem: Problem
    epoch: int
    """How often it came before: two turns of one problem, also in one step, have two random streams."""


def prompts_of_step(problems: Sequence[Problem], step: int, per_step: int, seed: int) -> list[Draw]:
    """The problems of a 0-based step: consecutive cuts of a stream of seeded permutations, without state.

    Every problem comes once before any comes twice.
    """
    n, start, end = len(problems), step * per_step, (step + 1) * per_step
    chosen: list[Draw] = []
    for epoch in range(start // n, (end - 1) // n + 1):
        order = np.random.default_rng([seed, epoch]).permutation(n)
        chosen += [Draw(problems[i], epoch) for i in order[max(0, start - epoch * n) : end - epoch * n].tolist()]
    return chosen


def share_of_worker(prompts: Sequence[Draw], rank: int, workers: int) -> list[Draw]:
    """Worker ``rank``'s prompts: whole groups, the same number for every worker."""
    assert len(prompts) % workers == 0
    return list(prompts[rank::workers])


def collect(
    policy: Policy,
    verify: Verify,
    prompts: Sequence[Draw],
    *,
    group_size: int,
    params: SamplingParams,
    step: int,
    seed: int,
    pad_id: int,
) -> Rollouts:
    """Sample, verify and score one worker's groups."""
    started_s = time.perf_counter()
    requests = [
        SampleRequest(p.prompt, group_size, stream_seed(seed, "train", step, epoch, p.id)) for p, epoch in prompts
    ]
    groups = policy.sample(requests, params)
    sampled_s = time.perf_counter()
    items = [
        (problem, text, reason)
        for (problem, _), group in zip(prompts, groups, strict=True)
        for text, reason in zip(group.texts, group.finish_reasons, strict=True)
    ]
    verifications = verify(items)
    verified_s = time.perf_counter()
    rewards_GN = rewards_of(verifications, len(prompts), group_size)
    batch = collate(groups, group_normalised(rewards_GN), pad_id)
    n_tokens = batch.n_tokens
    counts = {v: sum(x.verdict == v for x in verifications) for v in Verdict}
    sums = {
        "completions": float(len(items)),
        "reward": float(rewards_GN.sum()),
        "reward_squared": float((rewards_GN**2).sum()),
        "groups": float(len(prompts)),
        "groups_with_signal": float((rewards_GN.std(dim=1, unbiased=False) > 0).sum()),
        "tokens": float(n_tokens),
        "surprisal_nats": -float((batch.old_logp_BT * batch.mask_BT).sum()),
        "truncated": float(sum(reason == "length" for _, _, reason in items)),
        "errors": float(counts[Verdict.ERROR]),
        "rollout_s": sampled_s - started_s,
        "verify_s": verified_s - sampled_s,
    }
    return Rollouts(batch, groups, verifications, sums)


def rewards_of(verifications: Sequence[Verification], n_groups: int, group_size: int) -> torch.Tensor:
    """1 for CORRECT, 0 for any other verdict [G, N]; an ERROR takes the mean of its group's others.

    So a completion that could not be scored gets advantage 0: it teaches nothing, least of all that it was wrong.
    """
    rewards_GN = torch.tensor([float(v.verdict == Verdict.CORRECT) for v in verifications]).view(n_groups, group_size)
    scored_GN = torch.tensor([v.verdict != Verdict.ERROR for v in verifications]).view(n_groups, group_size)
    mean_G1 = (rewards_GN * scored_GN).sum(1, keepdim=True) / scored_GN.sum(1, keepdim=True).clamp(min=1)
    return torch.where(scored_GN, rewards_GN, mean_G1)


def summarise(sums: dict[str, float], workers: int) -> dict[str, float]:
    """Step metrics from the sums over all workers, in the field's names. Undefined means are NaN."""
    n, groups, tokens = sums["completions"], sums["groups"], sums["tokens"]
    mean = sums["reward"] / n
    return {
        "reward_mean": mean,
        "reward_std": max(0.0, sums["reward_squared"] / n - mean**2) ** 0.5,
        "group_signal_share": sums["groups_with_signal"] / groups,
        "response_length": tokens / n,
        "surprisal": sums["surprisal_nats"] / tokens if tokens else float("nan"),
        "truncation_share": sums["truncated"] / n,
        "verifier_errors": sums["errors"],
        "rollout_s": sums["rollout_s"] / workers,
        "verify_s": sums["verify_s"] / workers,
    }
