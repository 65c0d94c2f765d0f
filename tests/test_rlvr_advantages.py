"""Advantages: hand-worked numbers, brute force, invariances; and the learning rate."""

import itertools
import math
from statistics import fmean, pstdev
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.rlvr.advantages import advantages, best_of_k, centred, global_normalised, group_normalised, leave_one_out
from leash_ray.rlvr.schedule import learning_rate
from leash_ray.rlvr.sections import AdvantageConfig

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


NAN = float("nan")
KINDS = ("grpo", "dr_grpo", "rloo", "reinforce_pp", "pass_at_k")
GROUP = st.integers(2, 7).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([0.0, 1.0, 0.1, -0.5]), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
)


def f64(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def of(kind: str, rewards: Any, scored: Any = None, **config: Any) -> torch.Tensor:
    """Of one group, with the step's moments those of the group itself, by Python's own statistics."""
    rewards_GN = f64([rewards])
    scored_GN = torch.ones_like(rewards_GN, dtype=torch.bool) if scored is None else torch.tensor([scored])
    counted = [r for r, s in zip(rewards, scored_GN[0].tolist(), strict=True) if s] or [0.0]
    moments = (
        (fmean(counted), NAN if math.isnan(fmean(counted)) else pstdev(counted)) if kind == "reinforce_pp" else None
    )
    return advantages(rewards_GN, scored_GN, AdvantageConfig(kind=kind, **{"k": 2, **config}), moments)[0]  # type: ignore[arg-type]


def test_unscored_ones_are_left_out_by_hand() -> None:
    # Scored: 1, 0, 0, so mean 1/3 and variance (4/9 + 1/9 + 1/9)/3 = 2/9, the deviation √2/3.
    # RLOO: 1 − 0, and 0 − 1/2. Pass@2 of 3: sets {1,0} {1,0} {0,0}, R = 2/3, σ = √2/3. The right one's sets are worth
    # 1: (1/3)/σ = 1/√2. A wrong one's, 1/2: (1/2 − 2/3)/σ = −1/(2√2).
    rewards, scored, root = [1.0, NAN, 0.0, 0.0], [True, False, True, True], math.sqrt(2)
    assert of("dr_grpo", rewards, scored).tolist() == pytest.approx([2 / 3, 0.0, -1 / 3, -1 / 3])
    assert of("grpo", rewards, scored).tolist() == pytest.approx([root, 0.0, -root / 2, -root / 2])
    assert of("rloo", rewards, scored).tolist() == pytest.approx([1.0, 0.0, -0.5, -0.5])
    assert of("reinforce_pp", rewards, scored).tolist() == pytest.approx([root, 0.0, -root / 2, -root / 2])
    assert of("pass_at_k", rewards, scored).tolist() == pytest.approx([1 / root, 0.0, -root / 4, -root / 4])


@pytest.mark.parametrize("kind", KINDS)
def test_groups_that_say_nothing(kind: str) -> None:
    assert of(kind, [1.0, 0.0], [False, False]).tolist() == [0.0, 0.0]  # nothing was scored
    assert of(kind, [1.0, 0.0], [True, False]).tolist() == [0.0, 0.0]  # alone, it is not better than another
    assert of(kind, [0.1] * 7).tolist() == [0.0] * 7
    assert of(kind, [NAN, 1.0, 1.0], [False, True, True]).tolist() == [0.0] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_reward_that_is_no_number_is_not_hidden(kind: str) -> None:
    assert of(kind, [NAN, 1.0, 0.0]).isnan().all()


def test_without_a_baseline_groups_without_signal_teach() -> None:
    rewards, scored = [1.0, NAN, 0.0, 0.75], [True, False, True, True]
    assert of("signed", rewards, scored).tolist() == [1.0, 0.0, -1.0, 0.5]
    assert of("signed", [0.0, 0.0]).tolist() == [-1.0, -1.0]
    # Negative sample reinforcement has nothing of what is right, positive of what is wrong (arXiv 2506.01347).
    assert of("signed", [1.0, 0.0, 1.0], positive=0.0).tolist() == [0.0, -1.0, 0.0]
    assert of("signed", [1.0, 0.0, 1.0], negative=0.0, positive=0.1).tolist() == pytest.approx([0.1, 0.0, 0.1])
    assert of("signed", [NAN, 0.0]).isnan().tolist() == [True, False]


def test_in_float32_equal_rewards_say_nothing() -> None:
    # The mean of seven 0.1 is not 0.1 in float32: a rounding error must not become an advantage of ±1.
    rewards_GN, scored_GN = torch.full((1, 7), 0.1), torch.ones(1, 7, dtype=torch.bool)
    for kind in ("grpo", "dr_grpo", "rloo", "pass_at_k"):
        assert advantages(rewards_GN, scored_GN, AdvantageConfig(kind=kind)).abs().max() == 0.0  # type: ignore[arg-type]


@given(GROUP)
@settings(max_examples=60, deadline=None)
def test_leave_one_out_is_what_it_is_called(group: tuple[list[float], list[bool]]) -> None:
    rewards, scored = group
    got = leave_one_out(f64([rewards]), torch.tensor([scored]))[0].tolist()
    for i, (reward, is_scored) in enumerate(zip(rewards, scored, strict=True)):
        others = [r for j, (r, s) in enumerate(zip(rewards, scored, strict=True)) if s and j != i]
        assert got[i] == pytest.approx(reward - fmean(others) if is_scored and others else 0.0)


@given(GROUP, st.integers(1, 7))
@settings(max_examples=120, deadline=None)
def test_best_of_k_by_all_sets(group: tuple[list[float], list[bool]], k: int) -> None:
    """Every set of k scored completions, its best reward, and the mean over the sets that have each completion."""
    rewards, scored = group
    at = [i for i, s in enumerate(scored) if s]
    worth = {chosen: max(rewards[i] for i in chosen) for chosen in itertools.combinations(at, k)}
    mean = fmean(worth.values()) if worth else 0.0
    std = pstdev(worth.values()) if len(set(worth.values())) > 1 else 0.0
    got = best_of_k(f64([rewards]), torch.tensor([scored]), k)[0].tolist()
    for i in range(len(rewards)):
        with_it = [value for chosen, value in worth.items() if i in chosen]
        assert got[i] == pytest.approx((fmean(with_it) - mean) / std if std and with_it else 0.0, abs=1e-9)
        assert std or got[i] == 0.0  # exactly


@pytest.mark.parametrize(("n", "c", "k"), [(8, 1, 4), (8, 3, 4), (8, 4, 4), (16, 2, 8), (8, 5, 4), (256, 3, 64)])
def test_best_of_k_is_the_paper_s_closed_form(n: int, c: int, k: int) -> None:
    got = best_of_k(f64([[1.0] * c + [0.0] * (n - c)]), torch.ones(1, n, dtype=torch.bool), k)[0].tolist()
    r = 1 - math.comb(n - c, k) / math.comb(n, k)
    if n - c < k:  # every set has a correct one
        assert r == 1 and got == [0.0] * n
        return
    sigma = math.sqrt(r * (1 - r))
    right, wrong = (1 - r) / sigma, (1 - r - math.comb(n - c - 1, k - 1) / math.comb(n - 1, k - 1)) / sigma
    assert got == pytest.approx([right] * c + [wrong] * (n - c))


@given(GROUP)
@settings(max_examples=40, deadline=None)
def test_best_of_one_is_grpo(group: tuple[list[float], list[bool]]) -> None:
    rewards_GN, scored_GN = f64([group[0]]), torch.tensor([group[1]])
    torch.testing.assert_close(best_of_k(rewards_GN, scored_GN, 1), group_normalised(rewards_GN, scored_GN))


@given(GROUP, st.sampled_from(KINDS), st.sampled_from([-3.0, 0.25, 40.0]))
@settings(max_examples=80, deadline=None)
def test_sums_to_zero_whatever_the_origin(group: tuple[list[float], list[bool]], kind: str, origin: float) -> None:
    rewards, scored = group
    got = of(kind, rewards, scored)
    assert float(got.sum()) == pytest.approx(0.0, abs=1e-9)
    assert all(a == 0.0 for a, s in zip(got.tolist(), scored, strict=True) if not s)
    torch.testing.assert_close(of(kind, [r + origin for r in rewards], scored), got, atol=1e-6, rtol=1e-6)


@given(GROUP, st.sampled_from(KINDS), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_within_a_group_does_not_matter(group: tuple[list[float], list[bool]], kind: str, random: Any) -> None:
    order = list(range(len(group[0])))
    random.shuffle(order)
    shuffled = of(kind, [group[0][i] for i in order], [group[1][i] for i in order])
    torch.testing.assert_close(shuffled, of(kind, *group)[order])


def test_the_whole_step_s_mean_and_deviation_by_hand() -> None:
    # Rewards 1 1 | 1 0: mean 3/4, deviation √3/4: (1/4)/(√3/4) = 1/√3, and −√3. A group that is all right is better
    # than the others.
    got = global_normalised(f64([[1, 1], [1, 0]]), torch.ones(2, 2, dtype=torch.bool), 0.75, math.sqrt(3) / 4)
    third = 1 / math.sqrt(3)
    assert got.tolist() == [pytest.approx([third, third]), pytest.approx([third, -math.sqrt(3)])]


def test_weights_of_positive_and_negative_ones() -> None:
    assert of("dr_grpo", [1.0, 0.0], positive=3.0, negative=0.5).tolist() == [1.5, -0.25]
    assert of("dr_grpo", [1.0, 0.0], positive=0.0).tolist() == [0.0, -0.5]  # mistakes alone
    assert of("dr_grpo", [1.0, 0.0], negative=0.0).tolist() == [0.5, 0.0]  # successes alone


def test_no_group_sees_another() -> None:
    rewards_GN, scored_GN = f64([[1, 0, 0], [0, 1, 1], [5, 5, 5]]), torch.ones(3, 3, dtype=torch.bool)
    for function in (group_normalised, centred, leave_one_out, lambda r, s: best_of_k(r, s, 2)):
        alone = [function(rewards_GN[g : g + 1], scored_GN[g : g + 1]) for g in range(3)]
        assert torch.equal(function(rewards_GN, scored_GN), torch.cat(alone))


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
