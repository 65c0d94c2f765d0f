"""The objective with seeded groups, step by step: what is learnt, what the book has, what a resumed run goes on with.

The learner is a stand-in that keeps the batches it is given; the policy is a scripted one of known answers.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from leash_ray.config import TrainConfig
from leash_ray.rlvr.batch import TrainBatch
from leash_ray.rlvr.objective import objective_of
from leash_ray.rlvr.replay import REVIEW
from leash_ray.rlvr.seeded import Seeded
from leash_ray.tasks import ReasoningGymSpec
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams, Verdict
from leash_ray.verify import Verification

PROBLEMS = [Problem.make("t", f"{i}:", "scripted", "right") for i in range(8)]
TRACES = {p.id: ("right",) for p in PROBLEMS}
EOS, N = 1, 4


pytestmark = pytest.mark.usefixtures("alone")


class Characters:
    """Each character is a token."""

    eos_token_id = EOS

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}

    def decode(self, ids: Sequence[int], **options: bool) -> str:
        return "".join(chr(i) for i in ids if i > EOS)


class Policy:
    """Right or wrong as the request's seed says; a hinted one goes on rightly."""

    def at(self, version: int, weights: str) -> "Policy":
        return self

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
        return [self._batch(r) for r in requests]

    def _batch(self, request: SampleRequest) -> CompletionBatch:
        hint = request.prompt.partition(":")[2]
        rng = np.random.default_rng(request.seed)
        texts = ["right"[len(hint) :] if hint or rng.random() < 0.2 else "no" for _ in range(request.n)]
        ids = [[*map(ord, text), EOS] for text in texts]
        return CompletionBatch(
            prompt_ids=np.array([*map(ord, request.prompt)], np.int32),
            token_ids_T=np.array([i for row in ids for i in row], np.int32),
            logprobs_T=-rng.random(sum(map(len, ids))).astype(np.float32),
            offsets=np.cumsum([0, *map(len, ids)]),
            texts=texts,
            finish_reasons=["stop"] * len(texts),
            version=0,
        )


def verify(items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
    return [Verification(Verdict.CORRECT if text == "right" else Verdict.INCORRECT, text) for _, text, _ in items]


class KeepingLearner:
    """Keeps what it is to learn."""

    def __init__(self) -> None:
        self.tokenizer, self.pad_id, self.kl_coef = Characters(), 0, 0.0
        self.batches: list[TrainBatch] = []

    def update(self, batch: TrainBatch, step: int) -> dict[str, float]:
        self.batches.append(batch)
        return {"n_tokens": float(batch.n_tokens)}


def seeded(**seeding: Any) -> tuple[Seeded, KeepingLearner]:
    config = TrainConfig(
        task=ReasoningGymSpec(dataset="countdown"), prompts_per_step=4, group_size=N, max_tokens=8, seeding=seeding
    )
    job: Any = SimpleNamespace(
        config=config, problems=PROBLEMS, traces=TRACES, seed=3, policy=Policy(),
        verifier=SimpleNamespace(verify=verify),
    )  # fmt: skip
    learner, sync = KeepingLearner(), SimpleNamespace(folder=lambda step: Path(f"v{step}"))
    objective = objective_of(job, learner, sync, 0, None)  # type: ignore[arg-type]
    assert isinstance(objective, Seeded)
    return objective, learner


def test_advantages_are_over_the_mixed_group_and_records_over_the_policy_s_own() -> None:
    objective, learner = seeded(per_group=1)
    row = objective.step(0)
    (batch,) = learner.batches
    assert batch.foreign_B.view(-1, N)[:, -1].all() and batch.foreign_B.sum() == 4
    right_GN = torch.tensor(["right" in Characters().decode(row) for row in batch.ids_BT.tolist()]).view(-1, N).float()
    centred_GN = right_GN - right_GN.mean(1, keepdim=True)
    std_G1 = centred_GN.pow(2).mean(1, keepdim=True).sqrt()
    expected = (centred_GN / std_G1).nan_to_num(0.0)
    assert torch.allclose(batch.advantages_B.view(-1, N), expected, atol=1e-5)
    assert row["traces_used"] == 4.0
    assert row["foreign_token_share"] == pytest.approx(4 * 6 / batch.n_tokens)
    records = objective._book.of.values()
    assert sum(r.n for r in records) == 16  # what was drawn, not what was put in its place
    assert sum(r.c for r in records) == row["reward_mean"] * 16


def test_hints_count_as_drawn_tokens() -> None:
    objective, learner = seeded(prefix_share=0.5, groups="unsolved")
    n_unsolved = []
    for step in range(6):
        row = objective.step(step)
        n_unsolved.append(sum(objective._book.record(d.problem.id).last_c == 0 for d in objective._prompts(step)))
        assert row["hinted"] == 2 * n_unsolved[-1]
        assert (row["rollout_tokens"] > row["response_length"] * 16) == (row["hinted"] > 0)
        assert row["hinted_correct_share"] == 1.0 or not row["hinted"]
    assert 0 < sum(n_unsolved) < 24
    assert not learner.batches[0].foreign_B.any()


def test_reviews_come_once_there_are_solved_problems_that_are_not_coming_anyway() -> None:
    objective, _ = seeded(replay=2)
    rows = [objective.step(step) for step in range(4)]
    assert rows[0]["reviews"] == 0.0
    assert rows[3]["reviews"] == 2.0 and rows[3]["replay_buffer"] >= rows[1]["replay_buffer"] > 0
    assert sum(row["replayed"] for row in rows) > 0
    assert [d.epoch for d in objective._prompts(4)] == [2, 2, REVIEW, REVIEW]


def test_a_resumed_run_learns_the_same() -> None:
    settings = {"per_group": 1, "prefix_share": 0.25, "replay": 1}
    through, learner = seeded(**settings)
    states = []
    for step in range(6):
        through.step(step)
        states.append(json.dumps(through.state()))
    resumed, again = seeded(**settings)
    resumed.restore(json.loads(states[2]))
    for step in (3, 4, 5):
        resumed.step(step)
    for a, b in zip(learner.batches[3:], again.batches, strict=True):
        assert torch.equal(a.ids_BT, b.ids_BT) and torch.equal(a.advantages_B, b.advantages_B)
        assert torch.equal(a.sampler_logp_BT, b.sampler_logp_BT)
    assert json.dumps(resumed.state()) == states[-1]
