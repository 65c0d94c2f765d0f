"""A policy that is right with a probability of the problem's own, and the objective ``rlvr`` around it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from leash_ray.config import TrainConfig
from leash_ray.rlvr.batch import TrainBatch
from leash_ray.rlvr.reinforce import Reinforce
from leash_ray.rlvr.rollouts import Rollouts, collect
from leash_ray.tasks import ReasoningGymSpec
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams, Verdict
from leash_ray.verify import Verification


def problems_of(*chances: float) -> list[Problem]:
    """Problems whose right answer has these probabilities."""
    return [Problem.make("t", f"{i}:", "scripted", str(chance)) for i, chance in enumerate(chances)]


class Policy:
    """A right answer is the token 11, a wrong one 10; then the stop token, 1."""

    def __init__(self, problems: Sequence[Problem], version: int = 0, calls: list[Any] | None = None) -> None:
        self._chances = {p.prompt: float(p.reference) for p in problems}
        self._problems, self.version = problems, version
        self.calls: list[tuple[int, float, int, list[str]]] = [] if calls is None else calls
        """(version, temperature, max_tokens, prompts) of each."""
        self.before: Callable[[int], None] = lambda version: None
        """Called with the version before each sampling."""

    def at(self, version: int, weights: str | None = None) -> "Policy":
        other = Policy(self._problems, version, self.calls)
        other.before = self.before
        return other

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
        self.before(self.version)
        self.calls.append((self.version, params.temperature, params.max_tokens, [r.prompt for r in requests]))
        return [self._group(r) for r in requests]

    def _group(self, request: SampleRequest) -> CompletionBatch:
        assert request.seed is not None
        right = [
            np.random.default_rng(request.seed + i).random() < self._chances[request.prompt] for i in range(request.n)
        ]
        return CompletionBatch(
            prompt_ids=np.array([5, 6], np.int32),
            token_ids_T=np.array([t for r in right for t in (10 + r, 1)], np.int32),
            logprobs_T=np.full(2 * request.n, -0.5, np.float32),
            offsets=np.arange(0, 2 * request.n + 1, 2),
            texts=[str(int(r)) for r in right],
            finish_reasons=["stop"] * request.n,
            version=self.version,
        )


def verify(items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
    return [Verification(Verdict.CORRECT if text == "1" else Verdict.INCORRECT, text, None) for _, text, _ in items]


def drawn(policy: Policy, draws: Sequence[Any], n: int, step: int = 0) -> Rollouts:
    return collect(
        policy, verify, draws, group_size=n, temperatures=[1.0] * len(draws), max_tokens=8, step=step, seed=1
    )  # fmt: skip


class StillLearner:
    """Learns nothing, and keeps what it was given."""

    pad_id, kl_coef = 0, 0.0

    def __init__(self) -> None:
        self.batches: list[TrainBatch] = []
        self.during: Callable[[int], None] = lambda step: None
        """Called in each update."""

    def update(self, batch: TrainBatch, step: int) -> dict[str, float]:
        self.batches.append(batch)
        self.during(step)
        return {"n_tokens": float(batch.n_tokens)}


def config_of(**settings: Any) -> TrainConfig:
    plain = {"steps": 6, "prompts_per_step": 4, "group_size": 4, "max_tokens": 8}
    return TrainConfig(task=ReasoningGymSpec(dataset="countdown"), **{**plain, **settings})


class Run:
    """The objective of one worker, with the scripted policy."""

    def __init__(self, problems: Sequence[Problem], rank: int = 0, turns: Any = None, **settings: Any) -> None:
        self.policy, self.learner = Policy(problems), StillLearner()
        job: Any = SimpleNamespace(
            config=config_of(**settings),
            problems=problems,
            policy=self.policy,
            verifier=SimpleNamespace(verify=verify),
            seed=1,
        )
        sync: Any = SimpleNamespace(folder=lambda version: Path(f"v{version}"))
        self.objective = Reinforce(job, self.learner, sync, rank, turns)  # type: ignore[arg-type]

    def steps(self, first: int, end: int) -> list[Mapping[str, float]]:
        return [self.objective.step(step) for step in range(first, end)]

    @property
    def samples(self) -> list[torch.Tensor]:
        """The ids that were learnt from, at each step."""
        return [batch.ids_BT for batch in self.learner.batches]


def background_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("rollouts of step")]
