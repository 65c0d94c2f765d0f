"""One worker's rollouts of one step: whole groups drawn from the served policy, and verified."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from leash_ray.policy import Policy
from leash_ray.seeds import stream_seed
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams, Verdict
from leash_ray.verify import Verification

Verify = Callable[[Sequence[tuple[Problem, str, str]]], list[Verification]]
"""(problem, text, finish_reason) of each completion -> its verification."""


class Draw(NamedTuple):
    """A problem's turn to be trained on."""

    problem: Problem
    epoch: int
    """How often it came before: two turns of one problem, also in one step, have two random streams."""
    round: int = 0
    """0: in its turn; else the round in which it replaces a group without signal (:mod:`leash_ray.rlvr.dynamic`)."""


class Group(NamedTuple):
    """One problem's completions."""

    draw: Draw
    completions: CompletionBatch
    verifications: list[Verification]
    temperature: float

    @property
    def has_signal(self) -> bool:
        return has_signal(self.verifications)


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Groups of one worker; G groups of N completions."""

    draws: list[Draw]
    """Of each group."""
    groups: list[CompletionBatch]
    verifications: list[Verification]
    """Of each completion, group after group."""
    temperatures: list[float]
    """Each group's."""
    sums: dict[str, float]
    """Sums over this worker's completions, which add up over workers (see :func:`summarise`)."""

    def lengths(self) -> dict[str, float]:
        """Tokens of the longest completion, and minus those of the shortest: the larger of each over workers says
        both of all."""
        lengths = np.concatenate([np.diff(group.offsets) for group in self.groups])
        return {"longest": float(lengths.max()), "minus_shortest": -float(lengths.min())}

    @classmethod
    def of(cls, parts: Sequence[Group], rollout_s: float = 0.0, verify_s: float = 0.0) -> "Rollouts":
        """Put groups together.

        Args:
            rollout_s, verify_s: how long sampling and verifying them took.
        """
        groups = [part.completions for part in parts]
        verifications = [v for part in parts for v in part.verifications]
        verdicts = [v.verdict for v in verifications]
        return cls(
            [part.draw for part in parts],
            groups,
            verifications,
            [part.temperature for part in parts],
            {
                "completions": float(len(verdicts)),
                "scored": float(len(verdicts) - verdicts.count(Verdict.ERROR)),
                "correct": float(verdicts.count(Verdict.CORRECT)),
                "groups": float(len(parts)),
                "groups_with_signal": float(sum(part.has_signal for part in parts)),
                "tokens": float(sum(len(group.token_ids_T) for group in groups)),
                "surprisal_nats": -float(sum(group.logprobs_T.sum(dtype=np.float64) for group in groups)),
                "truncated": float(sum(reason == "length" for group in groups for reason in group.finish_reasons)),
                "errors": float(verdicts.count(Verdict.ERROR)),
                "rollout_s": rollout_s,
                "verify_s": verify_s,
            },
        )

    def parts(self) -> list[Group]:
        """The groups, each with all that is known of it."""
        return _parts(self.draws, self.groups, self.verifications, self.temperatures)

    def seen(self) -> dict[str, tuple[int, int]]:
        """(scored, correct) completions of each problem."""
        found: dict[str, tuple[int, int]] = {}
        for part in self.parts():
            verdicts = [v.verdict for v in part.verifications]
            n, c = found.get(part.draw.problem.id, (0, 0))
            n += sum(v != Verdict.ERROR for v in verdicts)
            found[part.draw.problem.id] = (n, c + sum(v == Verdict.CORRECT for v in verdicts))
        return found


def prompts_of_step(problems: Sequence[Problem], step: int, per_step: int, seed: int) -> list[Draw]:
    """The problems of a 0-based step: consecutive cuts of a stream of seeded permutations, without state.

    Every problem comes once before any comes twice.
    """
    return [Draw(problems[i], epoch) for i, epoch in places_of_step(len(problems), step, per_step, seed)]


def places_of_step(n: int, step: int, per_step: int, seed: int) -> list[tuple[int, int]]:
    """(place, epoch) of the ``per_step`` items of a 0-based step, among ``n`` that are walked through in every epoch in
    an order of its own."""
    start, end = step * per_step, (step + 1) * per_step
    chosen: list[tuple[int, int]] = []
    for epoch in range(start // n, (end - 1) // n + 1):
        order = np.random.default_rng([seed, epoch]).permutation(n)
        chosen += [(i, epoch) for i in order[max(0, start - epoch * n) : end - epoch * n].tolist()]
    return chosen


def share_of_worker(prompts: Sequence[Draw], rank: int, workers: int) -> list[Draw]:
    """Worker ``rank``'s prompts: whole groups, the same number for every worker."""
    assert len(prompts) % workers == 0
    return list(prompts[rank::workers])


def collect(
    policy: Policy,
    verify: Verify,
    draws: Sequence[Draw],
    *,
    group_size: int,
    temperatures: Sequence[float],
    max_tokens: int,
    step: int,
    seed: int,
) -> Rollouts:
    """Sample and verify one worker's groups.

    Args:
        temperatures: of each group.
    """
    started_s = time.perf_counter()
    seeds = [stream_seed(seed, *_stream(draw, step)) for draw in draws]

    def sampled(temperature: float) -> list[tuple[int, CompletionBatch]]:
        at = [i for i, t in enumerate(temperatures) if t == temperature]
        requests = [SampleRequest(draws[i].problem.prompt, group_size, seeds[i]) for i in at]
        params = SamplingParams(temperature=temperature, max_tokens=max_tokens)
        return list(zip(at, policy.sample(requests, params), strict=True))

    different = list(dict.fromkeys(temperatures))
    if len(different) == 1:
        found = dict(sampled(different[0]))
    else:  # at the same time: the engine has all of them in one batch
        with ThreadPoolExecutor(len(different) or 1) as pool:
            found = dict(pair for pairs in pool.map(sampled, different) for pair in pairs)
    return verified(draws, [found[i] for i in range(len(draws))], temperatures, verify, started_s)


def _stream(draw: Draw, step: int) -> tuple[object, ...]:
    """Names the random stream of a group."""
    if draw.round:
        return "spare", step, draw.round, draw.problem.id
    return "train", step, draw.epoch, draw.problem.id


def verified(
    draws: Sequence[Draw],
    groups: Sequence[CompletionBatch],
    temperatures: Sequence[float],
    verify: Verify,
    started_s: float,
) -> Rollouts:
    """Verify what was drawn since ``started_s`` (of ``time.perf_counter``)."""
    sampled_s = time.perf_counter()
    verifications = verify(
        [
            (draw.problem, text, reason)
            for draw, group in zip(draws, groups, strict=True)
            for text, reason in zip(group.texts, group.finish_reasons, strict=True)
        ]
    )
    return Rollouts.of(
        _parts(draws, groups, verifications, temperatures),
        rollout_s=sampled_s - started_s,
        verify_s=time.perf_counter() - sampled_s,
    )


def _parts(
    draws: Sequence[Draw],
    groups: Sequence[CompletionBatch],
    verifications: list[Verification],
    temperatures: Sequence[float],
) -> list[Group]:
    ends = np.cumsum([len(group) for group in groups]).tolist()
    return [
        Group(draw, group, verifications[end - len(group) : end], temperature)
        for draw, group, temperature, end in zip(draws, groups, temperatures, ends, strict=True)
    ]


def has_signal(verifications: Sequence[Verification]) -> bool:
    """Whether a group's scored completions are neither all correct nor all not."""
    scored = {v.verdict == Verdict.CORRECT for v in verifications if v.verdict != Verdict.ERROR}
    return len(scored) == 2


def summarise(sums: dict[str, float], workers: int) -> dict[str, float]:
    """Step metrics from the sums over all workers, in the field's names. Undefined means are NaN."""
    n, groups, tokens, scored = sums["completions"], sums["groups"], sums["tokens"], sums["scored"]
    mean = sums["correct"] / scored if scored else float("nan")
    return {
        "reward_mean": mean,
        "reward_std": (mean * (1.0 - mean)) ** 0.5 if scored else float("nan"),
        "group_signal_share": sums["groups_with_signal"] / groups,
        "response_length": tokens / n,
        "surprisal": sums["surprisal_nats"] / tokens if tokens else float("nan"),
        "truncation_share": sums["truncated"] / n,
        "verifier_errors": sums["errors"],
        "rollout_s": sums["rollout_s"] / workers,
        "verify_s": sums["verify_s"] / workers,
    }
