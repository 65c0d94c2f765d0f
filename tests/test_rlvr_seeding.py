"""Traces and hints in groups: which are taken, what of them is learnt, what is counted; by a scripted policy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from leash_ray.rlvr.losses import shaped_token_loss
from leash_ray.rlvr.mixing import Mixture, Piece
from leash_ray.rlvr.rollouts import Draw, Rollouts, verified
from leash_ray.rlvr.sections import SeedingConfig
from leash_ray.rlvr.seeding import SUMS, Seeding, metrics_of
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams, Verdict
from leash_ray.verify import Verification

PROBLEMS = [Problem.make("t", f"{i}:", "scripted", "") for i in range(3)]
EOS, PAD = 1, 0
RIGHT = "abcdef"


class Characters:
    """Each character is a token."""

    eos_token_id = EOS

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}

    def decode(self, ids: Sequence[int], **options: bool) -> str:
        return "".join(chr(i) for i in ids if i > EOS)


def verify(items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
    return [Verification(Verdict.CORRECT if text == RIGHT else Verdict.INCORRECT, text) for _, text, _ in items]


def batch_of(prompt: str, texts: Sequence[str]) -> CompletionBatch:
    ids = [[*map(ord, text), EOS] for text in texts]
    return CompletionBatch(
        prompt_ids=np.array([*map(ord, prompt)], np.int32),
        token_ids_T=np.array([i for row in ids for i in row], np.int32),
        logprobs_T=np.full(sum(map(len, ids)), -0.5, np.float32),
        offsets=np.cumsum([0, *map(len, ids)]),
        texts=list(texts),
        finish_reasons=["stop"] * len(texts),
        version=0,
    )


@dataclass
class Policy:
    """Goes on rightly, always."""

    asked: list[SampleRequest] = field(default_factory=list)

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
        self.asked += requests
        return [batch_of(r.prompt, [RIGHT[len(r.prompt.partition(":")[2]) :]] * r.n) for r in requests]


def own(*groups: Sequence[str]) -> Rollouts:
    """Drawn texts of problems 0, 1, 2."""
    draws = [Draw(PROBLEMS[g], 0) for g in range(len(groups))]
    batches = [batch_of(PROBLEMS[g].prompt, texts) for g, texts in enumerate(groups)]
    return verified(draws, batches, [1.0] * len(groups), verify, 0.0)


WRONG = ["x", "yy", "z", "w"]
MIXED = ["x", RIGHT, "z", "w"]


def seeded(
    traces: dict[str, tuple[str, ...]], *groups: Sequence[str], step: int = 0, max_tokens: int = 8, **settings: Any
) -> tuple[Mixture, dict[str, float], Policy]:
    mixture, policy = Mixture(own(*groups)), Policy()
    seeding = Seeding(SeedingConfig(**settings), traces, Characters(), verify, seed=5)
    return mixture, seeding.into(mixture, policy, step, max_tokens), policy


def all_traces(*texts: str) -> dict[str, tuple[str, ...]]:
    return {p.id: texts for p in PROBLEMS}


def test_a_trace_takes_the_last_place_and_is_foreign() -> None:
    mixture, sums, policy = seeded({PROBLEMS[0].id: (RIGHT,)}, WRONG, MIXED, per_group=1)
    mixed, batch = mixture.rollouts(), mixture.batch(PAD)
    assert mixed.groups[0].texts == ["x", "yy", "z", RIGHT]
    assert mixed.groups[1].texts == MIXED  # this problem has no trace
    assert [v.verdict for v in mixed.verifications[:4]] == [Verdict.INCORRECT] * 3 + [Verdict.CORRECT]
    assert batch.foreign_B.tolist() == [False, False, False, True] + [False] * 4
    assert batch.ids_BT[3].tolist() == [ord("0"), ord(":"), *map(ord, RIGHT), EOS]
    assert batch.mask_BT[3].tolist() == [0.0] + [1.0] * 7
    assert batch.sampler_logp_BT[3].tolist() == [0.0] * 8
    assert batch.sampler_logp_BT[0].tolist() == [0.0, -0.5, -0.5] + [0.0] * 5
    assert sums == {**dict.fromkeys(SUMS, 0.0), "traces_used": 1.0, "foreign_tokens": 7.0}
    assert policy.asked == []
    assert mixture.own.groups[0].texts == WRONG and mixture.own.sums["correct"] == 1.0


def test_traces_that_are_wrong_or_too_long_are_refused_and_counted() -> None:
    _, sums, _ = seeded(all_traces("wrong"), WRONG, MIXED, per_group=1)
    assert (sums["traces_used"], sums["traces_refused"]) == (0.0, 2.0)
    mixture, sums, _ = seeded(all_traces(RIGHT), WRONG, per_group=1, max_tokens=6)
    assert (sums["traces_used"], sums["traces_refused"]) == (0.0, 1.0)
    assert mixture.rollouts().groups[0].texts == WRONG


def test_only_unsolved_groups_where_that_is_asked_for() -> None:
    mixture, sums, _ = seeded(all_traces(RIGHT), WRONG, MIXED, per_group=1, groups="unsolved")
    assert sums["traces_used"] == 1.0
    assert [g.texts[-1] for g in mixture.rollouts().groups] == [RIGHT, "w"]


def test_as_many_distinct_traces_as_there_are() -> None:
    mixture, sums, _ = seeded({PROBLEMS[0].id: (RIGHT, "wrong")}, WRONG, per_group=3)
    assert (sums["traces_used"], sums["traces_refused"]) == (1.0, 1.0)
    assert mixture.rollouts().groups[0].texts == ["x", "yy", "z", RIGHT]


def test_which_trace_is_drawn_is_named_by_step_and_problem() -> None:
    def chosen(step: int) -> float:
        return seeded(all_traces(RIGHT, "wrong"), WRONG, WRONG, WRONG, step=step, per_group=1)[1]["traces_used"]

    assert [chosen(step) for step in range(6)] == [chosen(step) for step in range(6)]
    assert sum(chosen(step) for step in range(60)) == pytest.approx(90, abs=25)  # of 180; 3.7 standard deviations


def test_a_hint_is_asked_and_not_learnt() -> None:
    mixture, sums, policy = seeded({PROBLEMS[0].id: (RIGHT,)}, WRONG, MIXED, prefix_share=0.5)
    (request,) = policy.asked
    prefix = request.prompt.partition(":")[2]
    assert request.n == 2 and RIGHT.startswith(prefix) and 1 <= len(prefix) <= 4  # 0.8 of 6
    mixed, batch = mixture.rollouts(), mixture.batch(PAD)
    assert mixed.groups[0].texts == ["x", "yy", RIGHT, RIGHT]
    assert not batch.foreign_B.any()
    for b in (2, 3):  # the prompt's 2 tokens and the hint's are not learnt; what the policy drew is, with its own ln p
        learnt = [0.0] * (1 + len(prefix)) + [1.0] * (7 - len(prefix))
        assert batch.mask_BT[b].tolist() == learnt
        assert batch.sampler_logp_BT[b].tolist() == [-0.5 * one for one in learnt]
    expected = {"hinted": 2.0, "hinted_correct": 2.0, "hint_tokens": 2.0 * (7 - len(prefix))}
    assert sums == {**dict.fromkeys(SUMS, 0.0), **expected}


def test_prefixes_of_all_lengths_up_to_the_longest_from_a_named_stream() -> None:
    def prefix(step: int) -> str:
        (request,) = seeded({PROBLEMS[0].id: (RIGHT,)}, WRONG, step=step, prefix_share=0.25, prefix_most=0.5)[2].asked
        return request.prompt.partition(":")[2]

    assert {prefix(step) for step in range(40)} == {"a", "ab", "abc"}
    assert [prefix(step) for step in range(9)] == [prefix(step) for step in range(9)]


def test_solutions_too_short_to_cut_give_no_hint() -> None:
    _, sums, policy = seeded(all_traces("a"), WRONG, prefix_share=0.5)
    assert (sums["hints_refused"], policy.asked) == (1.0, [])
    _, sums, policy = seeded(all_traces("ab"), WRONG, prefix_share=0.5)
    assert [r.prompt for r in policy.asked] == ["0:a"]


def test_a_hint_that_changes_the_prompt_s_tokens_is_refused() -> None:
    class Merging(Policy):
        def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
            return [batch_of("0" + chr(999) + r.prompt[3:], ["x"] * r.n) for r in requests]  # ":a" is one token

    mixture = Mixture(own(WRONG))
    seeding = Seeding(SeedingConfig(prefix_share=0.5), all_traces(RIGHT), Characters(), verify, seed=5)
    sums = seeding.into(mixture, Merging(), 0, 8)
    assert (sums["hints_refused"], sums["hinted"]) == (1.0, 0.0)
    assert mixture.rollouts().groups[0].texts == WRONG


def test_traces_and_hints_together_leave_the_first_places_to_the_policy() -> None:
    mixture, _, _ = seeded({PROBLEMS[0].id: (RIGHT,)}, WRONG, per_group=1, prefix_share=0.5)
    batch = mixture.batch(PAD)
    assert mixture.rollouts().groups[0].texts == ["x", RIGHT, RIGHT, RIGHT]
    assert batch.foreign_B.tolist() == [False, True, False, False]
    with pytest.raises(AssertionError):  # one of a group's completions stays
        mixture.put(0, Piece([1], [0.0], "", "stop", Verification(Verdict.CORRECT, None)))


def test_the_shaped_ratio_s_gradient_by_hand() -> None:
    """d/dlnp of −A·p/(p + γ) is −A·pγ/(p + γ)²: largest where p is γ, not where p is 1."""
    for p, gamma in ((0.1, 0.1), (0.01, 0.1), (0.9, 0.1)):
        logp = torch.tensor([[math.log(p)]], requires_grad=True)
        shaped_token_loss(logp, torch.tensor([2.0]), torch.ones(1, 1), gamma).sum().backward()
        assert logp.grad is not None
        assert float(logp.grad) == pytest.approx(-2.0 * p * gamma / (p + gamma) ** 2)


def test_metrics_by_hand() -> None:
    sums = {"foreign_tokens": 7.0, "traces_used": 1.0, "traces_refused": 2.0, "hinted": 4.0, "hinted_correct": 3.0,
            "hint_tokens": 9.0, "hints_refused": 1.0}  # fmt: skip
    assert metrics_of(sums, 70.0) == {
        "foreign_token_share": 0.1, "traces_used": 1.0, "traces_refused": 2.0, "hinted": 4.0,
        "hinted_correct_share": 0.75, "hints_refused": 1.0,
    }  # fmt: skip
    none = metrics_of(dict.fromkeys(SUMS, 0.0), 0.0)
    assert math.isnan(none["foreign_token_share"]) and math.isnan(none["hinted_correct_share"])
