"""What a completion is worth: verdicts, and what length and likelihood take from it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.rlvr.rewards import overlong_penalty, rarity_discount, rewards_of
from leash_ray.rlvr.sections import OverlongConfig
from leash_ray.types import Verdict
from leash_ray.verify import Verification

C, W, E = Verdict.CORRECT, Verdict.INCORRECT, Verdict.ERROR


def test_rewards_keep_groups_apart() -> None:
    verdicts = (C, E, C, W, Verdict.TRUNCATED, Verdict.NO_ANSWER)
    rewards_GN, scored_GN = rewards_of([Verification(v, None, None) for v in verdicts], 3)
    assert rewards_GN.tolist() == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    assert scored_GN.tolist() == [[True, False, True], [True, True, True]]
    assert rewards_GN.dtype == torch.float32


def test_overlong_by_hand() -> None:
    # At most 20 tokens, the last 8 of them dearer and dearer: 12 are free, 14 cost a quarter of the penalty.
    lengths_GN = torch.tensor([[0, 12, 14], [16, 20, 25]])
    got_GN = overlong_penalty(lengths_GN, 20, OverlongConfig(buffer=8, penalty=0.5))
    assert got_GN.tolist() == [pytest.approx([0.0, 0.0, 0.125]), pytest.approx([0.25, 0.5, 0.5])]
    assert overlong_penalty(lengths_GN, 20, OverlongConfig()).tolist() == [[0.0] * 3] * 2


def test_rarity_by_hand() -> None:
    # Ranks by likelihood, wrong ones too: −1 (0), −2 (1), −3 (2), −4 (3). With β = 0.4 of 4: 1 − 0.4·4/4 = 0.6 for the
    # likeliest, 1 − 0.4·1/4 = 0.9 for the least likely. A wrong one stays at 0.
    got = rarity_discount(torch.tensor([[1.0, 1.0, 0.0, 1.0]]), torch.tensor([[-1.0, -4.0, -3.0, -2.0]]), 0.4)
    assert got.tolist() == [pytest.approx([0.6, 0.9, 0.0, 0.7])]
    # Copies share the mean of their ranks, 0 and 1: 1 − 0.4·3.5/4.
    got = rarity_discount(torch.ones(1, 4), torch.tensor([[-1.0, -1.0, -3.0, -4.0]]), 0.4)
    assert got.tolist() == [pytest.approx([0.65, 0.65, 0.8, 0.9])]


def test_a_group_of_copies_says_nothing() -> None:
    got = rarity_discount(torch.ones(1, 8), torch.full((1, 8), -2.5), 0.5)
    assert len(set(got[0].tolist())) == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(-9, 0)), min_size=2, max_size=8), st.floats(0.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_rarer_is_worth_more_and_wrong_ones_nothing(group: list[tuple[bool, int]], rarity: float) -> None:
    rewards_GN = torch.tensor([[float(correct) for correct, _ in group]], dtype=torch.float64)
    got = rarity_discount(rewards_GN, torch.tensor([[float(logp) for _, logp in group]]), rarity)[0].tolist()
    for (correct, logp), value in zip(group, got, strict=True):
        assert value == 0.0 if not correct else 1 - rarity - 1e-6 <= value <= 1.0
        for (other_correct, other_logp), other in zip(group, got, strict=True):
            assert not (correct and other_correct and logp <= other_logp) or value >= other
