"""The entropy's weight: fixed, or driven to a target; and that it drives."""

import pytest
import torch

from leash_ray.rlvr.entropy_bonus import EntropyBonus
from leash_ray.rlvr.losses import token_logprobs_and_entropy
from leash_ray.rlvr.sections import LossConfig


def test_fixed() -> None:
    bonus = EntropyBonus(LossConfig(entropy_coef=0.01))
    bonus.observe(0.0)
    bonus.observe(9.0)
    assert bonus.in_use and bonus.coef == 0.01
    assert not EntropyBonus(LossConfig()).in_use and EntropyBonus(LossConfig()).coef == 0.0


def test_to_a_target_by_hand() -> None:
    bonus = EntropyBonus(LossConfig(entropy_coef=0.5, entropy_target=2.0, entropy_rate=0.25))
    seen = []
    # Below: more each time. Above: less, and off meanwhile. At the target: as it is. Unknown: as it is.
    for entropy in (1.0, 1.5, 2.5, 3.0, 2.0, float("nan"), 1.9):
        bonus.observe(entropy)
        seen.append(bonus.coef)
    assert seen == [0.75, 1.0, 0.0, 0.0, 0.5, 0.5, 0.75]


def test_it_never_falls_below_zero() -> None:
    bonus = EntropyBonus(LossConfig(entropy_target=2.0, entropy_rate=0.25))
    assert bonus.in_use and bonus.coef == 0.0
    for _ in range(5):
        bonus.observe(3.0)
    bonus.observe(1.0)
    assert bonus.coef == 0.25  # one step below the target is enough to have it back


def test_a_checkpoint_keeps_it() -> None:
    loss = LossConfig(entropy_coef=0.5, entropy_target=2.0, entropy_rate=0.25)
    for entropies in ([1.0], [3.0], [3.0, 1.0, 3.0]):
        bonus, restored = EntropyBonus(loss), EntropyBonus(loss)
        for entropy in entropies:
            bonus.observe(entropy)
        restored.restore(bonus.state())
        for entropy in (1.0, 3.0, 2.0):
            assert restored.coef == bonus.coef
            bonus.observe(entropy)
            restored.observe(entropy)


@pytest.mark.parametrize("start", [0.0, 3.0])
def test_it_holds_a_policy_s_entropy_at_the_target(start: float) -> None:
    """A reward that pulls towards one of four answers, against a target of 0.9 nats (1.386 is all there is)."""
    loss = LossConfig(entropy_target=0.9, entropy_rate=0.02, entropy_coef=start)
    bonus, logits_V = EntropyBonus(loss), torch.zeros(4, dtype=torch.float64, requires_grad=True)
    reward_V = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    optimizer = torch.optim.SGD([logits_V], lr=0.3)
    late = []
    for step in range(600):
        _, entropy = token_logprobs_and_entropy(logits_V[None, None], torch.tensor([[0]]), torch.ones(1), True)
        optimizer.zero_grad()
        (-(torch.softmax(logits_V, 0) @ reward_V) - bonus.coef * entropy.sum()).backward()
        optimizer.step()
        bonus.observe(entropy.item())
        if step >= 300:
            late.append(entropy.item())
    assert sum(late) / len(late) == pytest.approx(0.9, abs=0.03)
    assert torch.softmax(logits_V, 0)[0] > 0.5
