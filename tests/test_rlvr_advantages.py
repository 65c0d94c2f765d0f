"""Group-normalised advantages, and the learning rate: hand-worked numbers and invariances."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.rlvr.advantages import group_normalised
from leash_ray.rlvr.schedule import learning_rate

REWARDS = st.integers(2, 6).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 4).map(float), min_size=n, max_size=n), min_size=1, max_size=4)
)


def normalised(rewards_GN: torch.Tensor) -> torch.Tensor:
    """GRPO's, with everything scored."""
    return group_normalised(rewards_GN, torch.ones_like(rewards_GN, dtype=torch.bool))


def test_by_hand() -> None:
    # Group 0: mean 1/4, variance (9/16 + 3·1/16)/4 = 3/16, so √3/4: advantages 3/√3 = √3 and −1/√3.
    # Group 1: mean 1/2, standard deviation 1/2: ±1. Each group by its own.
    got = normalised(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]]))
    third = 1 / math.sqrt(3)
    assert got[0].tolist() == pytest.approx([math.sqrt(3), -third, -third, -third])
    assert got[1].tolist() == [-1.0, 1.0, 1.0, -1.0]


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, -0.3, 1e9, 1e-9])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 16])
def test_equal_rewards_say_nothing(reward: float, n: int) -> None:
    # In float32 the mean of seven 0.1 is not 0.1: a rounding error must not become an advantage of ±1.
    assert normalised(torch.full((2, n), reward)).tolist() == [[0.0] * n] * 2


@given(REWARDS)
@settings(max_examples=40, deadline=None)
def test_centred_and_scaled(rewards: list[list[float]]) -> None:
    for row, got in zip(rewards, normalised(torch.tensor(rewards, dtype=torch.float64)).tolist()):
        assert sum(got) == pytest.approx(0.0, abs=1e-9)
        assert sum(a * a for a in got) / len(got) == pytest.approx(float(len(set(row)) > 1))
        assert [a > b for a in got for b in got] == [a > b for a in row for b in row]  # order is kept


@given(REWARDS, st.sampled_from([1e-6, 0.5, 3.0, 1e4]), st.sampled_from([-7.0, 0.0, 100.0]))
@settings(max_examples=40, deadline=None)
def test_reward_scale_and_origin_do_not_matter(rewards: list[list[float]], scale: float, origin: float) -> None:
    rewards_GN = torch.tensor(rewards, dtype=torch.float64)
    torch.testing.assert_close(normalised(rewards_GN * scale + origin), normalised(rewards_GN), atol=1e-6, rtol=1e-6)


def test_learning_rates_by_hand() -> None:
    def rates(schedule: str, warmup_steps: int) -> list[float]:
        return [learning_rate(step, lr=8.0, steps=6, warmup_steps=warmup_steps, schedule=schedule) for step in range(6)]

    assert rates("constant", 0) == [8.0] * 6
    assert rates("constant", 2) == [4.0, 8.0, 8.0, 8.0, 8.0, 8.0]
    # After 2 warm-up steps, 4 steps lose a quarter each: the first at the full rate, none at 0.
    assert rates("linear", 2) == [4.0, 8.0, 8.0, 6.0, 4.0, 2.0]
    # cos 0, π/4, π/2, 3π/4: 4·(1 + 1), 4·(1 + √½), 4·(1 + 0), 4·(1 − √½)
    root = math.sqrt(0.5)
    assert rates("cosine", 2) == pytest.approx([4.0, 8.0, 8.0, 4 + 4 * root, 4.0, 4 - 4 * root])
    assert rates("linear", 6) == pytest.approx([8 * i / 6 for i in range(1, 7)])  # warm-up alone
