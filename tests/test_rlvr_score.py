"""From verified rollouts to advantages, in a process group of one."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.config import TrainConfig
from leash_ray.rlvr.batch import TrainBatch, collate
from leash_ray.rlvr.book import Book
from leash_ray.rlvr.rollouts import Draw, verified
from leash_ray.rlvr.score import score
from leash_ray.tasks import ReasoningGymSpec
from leash_ray.types import CompletionBatch, Problem, Verdict
from leash_ray.verify import Verification

C, W, E = Verdict.CORRECT, Verdict.INCORRECT, Verdict.ERROR


pytestmark = pytest.mark.usefixtures("alone")


def scored(
    *groups: Sequence[Verdict],
    book: Book | None = None,
    kl_coef: float = 0.0,
    kl_B: torch.Tensor | None = None,
    **config: Any,
) -> TrainBatch:
    """One completion of 2 tokens for each verdict, of one problem a group."""
    problems = [Problem.make("t", f"{i}:", "scripted", "") for i in range(len(groups))]
    n = len(groups[0])
    drawn = [
        CompletionBatch(
            prompt_ids=np.array([5], np.int32),
            token_ids_T=np.arange(2 * n, dtype=np.int32),
            logprobs_T=-np.arange(2.0 * n).astype(np.float32),
            offsets=np.arange(0, 2 * n + 1, 2),
            texts=[""] * n,
            finish_reasons=["length" if v == Verdict.TRUNCATED else "stop" for v in verdicts],
            version=0,
        )
        for verdicts in groups
    ]
    verifications = [Verification(v, None, None) for verdicts in groups for v in verdicts]
    rollouts = verified([Draw(p, 0) for p in problems], drawn, [1.0] * len(groups), lambda _: verifications, 0.0)
    settings = TrainConfig(
        task=ReasoningGymSpec(dataset="countdown"), prompts_per_step=len(groups), group_size=n, **config
    )
    return score(rollouts, collate(drawn, 0, rollouts.temperatures), book or Book(), settings, 0, kl_coef, kl_B)


def advantages(*verdicts: Verdict) -> list[float]:
    return scored(verdicts).advantages_B.tolist()


def test_errors_teach_nothing() -> None:
    # Of the three that are scored the mean is 1/3, the variance (4/9 + 1/9 + 1/9)/3 = 2/9.
    root = math.sqrt(2)
    assert advantages(C, W, E, W) == pytest.approx([root, -root / 2, 0.0, -root / 2])
    assert advantages(E, E, E) == [0.0, 0.0, 0.0]
    assert advantages(C, E, C) == [0.0, 0.0, 0.0]  # not "better than the ERROR"
    assert advantages(W, E, W) == [0.0, 0.0, 0.0]
    # No answer and a cut-off one are wrong, not unscored.
    assert advantages(C, Verdict.NO_ANSWER, C, Verdict.TRUNCATED) == [1.0, -1.0, 1.0, -1.0]


@given(st.lists(st.sampled_from(list(Verdict)), min_size=8, max_size=8))
@settings(max_examples=60, deadline=None)
def test_every_row_has_the_advantage_of_its_own_verdict(verdicts: list[Verdict]) -> None:
    groups = verdicts[:4], verdicts[4:]
    got = scored(*groups).advantages_B.tolist()
    says = [len({v == C for v in group if v != E}) == 2 for group in groups]
    for verdict, advantage, says_it in zip(verdicts, got, itertools.chain([says[0]] * 4, [says[1]] * 4), strict=True):
        if verdict == E or not says_it:
            assert advantage == 0.0
        else:
            assert (advantage > 0) == (verdict == C) and advantage != 0


def test_the_whole_step_s_moments() -> None:
    # Rewards 1 0 | 1 1 and an error: of four, mean 3/4 and deviation √3/4.
    got = scored((C, W, E), (C, C, E), advantage={"kind": "reinforce_pp"}).advantages_B.tolist()
    third = 1 / math.sqrt(3)
    assert got == pytest.approx([third, -math.sqrt(3), 0.0, third, third, 0.0])
    assert scored((E, E), (E, E), advantage={"kind": "reinforce_pp"}).advantages_B.tolist() == [0.0] * 4


def test_a_step_of_equal_rewards_says_nothing() -> None:
    # Completions of 2 tokens, 3 at most, all 3 of them dear: each loses 0.1·2/3, which float32 cannot write.
    config = {"advantage": {"kind": "reinforce_pp"}, "max_tokens": 3, "overlong": {"buffer": 3, "penalty": 0.1}}
    assert scored([W] * 7, **config).advantages_B.tolist() == [0.0] * 7


def test_penalties_come_before_advantages() -> None:
    # Without a group's baseline the penalty of 0.5·(2 − 0)/4 = 1/4 of everything is gone again in the mean.
    config = {"max_tokens": 4, "overlong": {"buffer": 4, "penalty": 0.5}, "advantage": {"kind": "dr_grpo"}}
    assert scored((C, W), **config).advantages_B.tolist() == pytest.approx([0.5, -0.5])
    # The KL of each completion does differ: rewards 1 − 0.1·2, 0 − 0.1·5, mean 0.15.
    got = scored((C, W), kl_coef=0.1, kl_B=torch.tensor([2.0, 5.0]), **config)
    assert got.advantages_B.tolist() == pytest.approx([0.65, -0.65])


def test_a_wrong_completion_near_the_reference_is_not_made_right_by_it() -> None:
    # k1 may be negative: rewards 1 − 0.1·3 = 0.7, and 0 + 0.1·2 = 0.2 twice. Sets of 2: 0.7 (two of three) and 0.2, so
    # σ = 0.5·√2/3, and the right one's sets are worth (0.7 − 1.6/3)/σ = 1/√2: as without KL.
    config = {"advantage": {"kind": "pass_at_k", "k": 2}}
    got = scored((C, W, W), kl_coef=0.1, kl_B=torch.tensor([3.0, -2.0, -2.0]), **config).advantages_B.tolist()
    assert got == pytest.approx([1 / math.sqrt(2), -0.25 * math.sqrt(2), -0.25 * math.sqrt(2)])


def test_what_was_cut_off_is_masked() -> None:
    cut = Verdict.TRUNCATED
    got = scored((C, W, cut), overlong={"mask": True})
    assert got.mask_BT.sum(1).tolist() == [2.0, 2.0, 0.0]
    assert got.advantages_B[0] == pytest.approx(math.sqrt(2))  # against all three: it was wrong
    assert scored((C, W, cut)).mask_BT.sum(1).tolist() == [2.0, 2.0, 2.0]


def test_rarer_ones_are_worth_more() -> None:
    # Token t has ln p = −t: later rows are less likely. Ranks 0, 1, 2 of 3 with β = 0.3: 0.7, wrong, 0.9.
    got = scored((C, W, C), advantage={"kind": "dr_grpo", "rarity": 0.3}).advantages_B.tolist()
    mean = (0.7 + 0.9) / 3
    assert got == pytest.approx([0.7 - mean, -mean, 0.9 - mean])


def test_problems_are_weighed_by_what_was_seen_before() -> None:
    book, problems = Book(), [Problem.make("t", f"{i}:", "scripted", "").id for i in range(2)]
    book.add({problems[0]: (16, 1)})
    got = scored((C, W), (C, W), book=book, advantage={"kind": "dr_grpo", "gate": "unsolved"})
    assert got.advantages_B.tolist() == [0.0, 0.0, 0.5, -0.5]
    got = scored((C, W), (C, W), book=book, advantage={"kind": "dr_grpo", "gate": "boundary", "k": 2})
    weight = (15 + 0.5) / 17
    assert got.advantages_B.tolist() == pytest.approx([0.5 * weight, -0.5 * weight, 0.25, -0.25])
