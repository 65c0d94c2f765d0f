"""Training by the real advantages, losses and KL, on policies small enough that their best is known.

The policy is a table of logits over 12 answers, or over 4 first tokens and, given each, 4 second ones. Reward 1 for
some of them. What the best policy is within a KL weight β follows on paper; what training arrives at is compared with
it by total variation, ½ Σ |π − π*|.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from leash_ray.rlvr.advantages import advantages
from leash_ray.rlvr.kl import kl_estimate
from leash_ray.rlvr.losses import row_scales, token_logprobs_and_entropy, token_loss
from leash_ray.rlvr.sections import AdvantageConfig, KLConfig, LossConfig
from leash_ray.stats.tilt import tilts

BETA = 0.5
"""Of KL: the tilt is exp(R / BETA), so a correct answer's odds grow e² fold."""
V = 12
GROUPS, N = 16, 64


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that share a millisecond's work mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def base_logits() -> torch.Tensor:
    return torch.randn(V, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


REWARD = torch.zeros(V, dtype=torch.float64).index_fill(0, torch.tensor([1, 4, 7]), 1.0)
Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(table, ids_BT) -> logits_BTV of each of the ids."""


def train(
    start: torch.Tensor, forward: Forward, sample: Callable[[torch.Tensor, torch.Generator], torch.Tensor],
    reward: Callable[[torch.Tensor], torch.Tensor], advantage: AdvantageConfig, kl: KLConfig, steps: int = 600,
) -> torch.Tensor:  # fmt: skip
    """The table after training, averaged over the last third of the steps.

    Args:
        sample: (table, generator) -> ids_BT of one step, group after group.
        reward: ids_BT -> reward of each [B].
    """
    table = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([table], lr=0.05, weight_decay=0.0)
    draw, mean = torch.Generator().manual_seed(1), torch.zeros_like(start)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / steps)
        ids_BT = sample(table.detach(), draw)
        mask_BT = torch.ones_like(ids_BT, dtype=torch.float64)
        ones_B = mask_BT[:, 0]
        logp_BT, _ = token_logprobs_and_entropy(forward(table, ids_BT), ids_BT, ones_B)
        with torch.no_grad():
            ref_BT, _ = token_logprobs_and_entropy(forward(start, ids_BT), ids_BT, ones_B)
        kl_BT = kl_estimate(logp_BT, ref_BT, mask_BT, kl.estimator)
        rewards_B = reward(ids_BT)
        if kl.place == "reward":
            rewards_B = rewards_B - kl.coef * kl_BT.detach().sum(1)
        rewards_GN = rewards_B.view(GROUPS, N)
        found_GN = advantages(rewards_GN, torch.ones_like(rewards_GN, dtype=torch.bool), advantage)
        loss_BT = token_loss(logp_BT, logp_BT.detach(), found_GN.flatten(), mask_BT, LossConfig()).loss_BT
        if kl.place == "loss":
            loss_BT = loss_BT + kl.coef * kl_BT
        scale_B = row_scales(mask_BT, "token", float(mask_BT.sum()), len(ids_BT), 1)
        optimizer.zero_grad()
        (loss_BT * scale_B[:, None]).sum().backward()
        optimizer.step()
        if step >= steps * 2 // 3:
            mean += table.detach() / (steps - steps * 2 // 3)
    return mean


def train_bandit(kind: str, **kl: Any) -> torch.Tensor:
    """The policy over the answers [V]."""
    table = train(
        base_logits(),
        lambda table, ids_BT: table.expand(len(ids_BT), 1, V),
        lambda table, draw: torch.multinomial(torch.softmax(table, 0), GROUPS * N, True, generator=draw)[:, None],
        lambda ids_BT: REWARD[ids_BT[:, 0]],
        AdvantageConfig(kind=kind),  # type: ignore[arg-type]
        KLConfig(**{"coef": BETA, **kl}),
    )
    return torch.softmax(table, 0)


def tilted(q: torch.Tensor, reward: torch.Tensor, beta: float) -> torch.Tensor:
    """q · exp(R / beta), normalised."""
    return torch.softmax(q.log() + reward / beta, 0)


def distance(p: torch.Tensor, q: torch.Tensor) -> float:
    return 0.5 * float((p - q).abs().sum())


def train_pairs(**kl: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(trained, base, reward) of the 16 answers of two tokens."""
    draw = torch.Generator().manual_seed(3)
    start = torch.randn(
        5, 4, generator=draw, dtype=torch.float64
    )  # row 0: first tokens; row 1 + a: second ones after a
    reward = (torch.rand(16, generator=draw) < 0.3).double()

    def policy(table: torch.Tensor) -> torch.Tensor:
        return (torch.softmax(table[0], 0)[:, None] * torch.softmax(table[1:], 1)).flatten()

    def sample(table: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
        chosen = torch.multinomial(policy(table), GROUPS * N, True, generator=draw)
        return torch.stack([chosen // 4, chosen % 4], dim=1)

    trained = train(
        start,
        lambda table, ids_BT: torch.stack([table[0].expand(len(ids_BT), 4), table[1 + ids_BT[:, 0]]], dim=1),
        sample,
        lambda ids_BT: reward[4 * ids_BT[:, 0] + ids_BT[:, 1]],
        AdvantageConfig(kind="rloo"),
        KLConfig(**{"coef": BETA, **kl}),
    )
    return policy(trained), policy(start), reward


Q = torch.softmax(base_logits(), 0)
RIGHT = REWARD > 0


@pytest.mark.parametrize("kind", ["rloo", "dr_grpo", "grpo"])
def test_k1_in_the_reward_leads_to_the_tilted_base(kind: str) -> None:
    """Exactly: there all rewards less KL are equal, and no sample has an advantage. Dividing by the standard deviation
    changes the way, not the end."""
    best = tilted(Q, REWARD, BETA)
    assert distance(Q, best) > 0.4  # 23% right before, 69% after
    policy = train_bandit(kind, place="reward", estimator="k1")
    assert distance(policy, best) < 1e-3
    # What Prop. C.4 says of the right ones: their shares among themselves are the base's.
    assert distance(policy[RIGHT] / policy[RIGHT].sum(), Q[RIGHT] / Q[RIGHT].sum()) < 1e-3


def test_the_measured_tilt_is_one_over_the_weight_of_kl() -> None:
    """leash_ray.stats.tilt, on counts as a million samples would have them."""
    policy = train_bandit("rloo", place="reward", estimator="k1")
    n = 1_000_000
    counts = [np.array([round(n * float(p[RIGHT].sum()))]) for p in (Q, policy)]
    beta, _ = tilts([n], counts[0], [n], counts[1])
    assert beta[0] == pytest.approx(1 / BETA, abs=0.01)


def test_k2_in_the_loss_leads_to_the_tilted_base() -> None:
    assert distance(train_bandit("rloo", place="loss", estimator="k2"), tilted(Q, REWARD, BETA)) < 3e-3


def test_k3_in_the_loss_leads_elsewhere() -> None:
    """It is the other KL: the best of E[R] − β KL(q ‖ π) is β q/(λ − R), with λ such that it sums to 1."""
    top = brentq(lambda x: float((BETA * Q / (x - REWARD)).sum()) - 1.0, 1.0 + 1e-9, 50.0)
    best = BETA * Q / (top - REWARD)
    policy = train_bandit("rloo", place="loss", estimator="k3")
    assert distance(policy, best) < 3e-3
    assert distance(policy, tilted(Q, REWARD, BETA)) > 0.015


def test_other_estimators_in_the_reward_lead_nowhere() -> None:
    """k2 and k3 grow on both sides: an answer that has become rarer than in the base is punished for it, and so
    becomes rarer still."""
    for estimator in ("k2", "k3"):
        assert float(train_bandit("rloo", place="reward", estimator=estimator)[RIGHT].sum()) > 0.99


def test_grpo_with_kl_in_the_loss_tilts_by_the_standard_deviation() -> None:
    """Its advantage is (R − p)/√(p(1 − p)), so the policy is tilted by exp(R/b) with b = β √(p(1 − p)), p its own share
    of right answers; at a small β there is no such p but 1."""

    def missing(b: float, beta: float) -> float:
        p = float(tilted(Q, REWARD, b)[RIGHT].sum())
        return b - beta * (p * (1 - p)) ** 0.5

    assert missing(1.0, 3.0) < 0 < missing(2.0, 3.0) and min(missing(b / 100, BETA) for b in range(2, 100)) > 0
    b = brentq(missing, 1.0, 2.0, args=(3.0,))
    assert distance(train_bandit("grpo", place="loss", estimator="k2", coef=3.0), tilted(Q, REWARD, b)) < 5e-3
    assert float(train_bandit("grpo", place="loss", estimator="k2")[RIGHT].sum()) > 0.99


def test_of_two_tokens_only_k1_in_the_reward_leads_to_the_tilted_base() -> None:
    """KL as a term of each token's loss does not see what a first token does to the KL of the second."""
    policy, q, reward = train_pairs(place="reward", estimator="k1")
    assert distance(policy, tilted(q, reward, BETA)) < 1e-3
    policy, q, reward = train_pairs(place="loss", estimator="k2")
    assert 0.015 < distance(policy, tilted(q, reward, BETA)) < 0.04
