"""The clipped loss: hand-worked tokens, gradients by finite differences, and sums that do not depend on cuts."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.rlvr.batch import TrainBatch
from leash_ray.rlvr.kl import kl_estimate
from leash_ray.rlvr.losses import TokenLoss, token_logprobs_and_entropy, token_loss
from leash_ray.rlvr.settings import LossConfig

CLIP = LossConfig(clip_low=0.2, clip_high=0.3)


def f64(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def loss_of_ratios(
    ratios: list[list[float]], advantages: list[float], mask: list[list[float]], loss: LossConfig = CLIP
) -> TokenLoss:
    """The loss where old ln p is −1 everywhere and the ratios are given."""
    old_BT = torch.full((len(ratios), len(ratios[0])), -1.0, dtype=torch.float64)
    return token_loss(old_BT + f64(ratios).log(), old_BT, f64(advantages), torch.tensor(mask), loss)


def test_by_hand() -> None:
    # Clip to [0.8, 1.3].
    # A = 2:  ratio 1 -> −2;  ratio 2 is clipped high: −1.3·2 = −2.6;  ratio 0.5 is not: −0.5·2 = −1
    # A = −1: ratio 1 -> 1;   ratio 2 is not clipped: 2;               ratio 0.5 is clipped low: 0.8
    got = loss_of_ratios([[1.0, 2.0, 0.5], [1.0, 2.0, 0.5]], [2.0, -1.0], [[1.0] * 3, [1.0] * 3])
    assert got.loss_BT.tolist() == [pytest.approx([-2.0, -2.6, -1.0]), pytest.approx([1.0, 2.0, 0.8])]
    assert got.ratio_BT.tolist() == [pytest.approx([1.0, 2.0, 0.5])] * 2
    assert got.low_BT.tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert got.high_BT.tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_only_sampled_tokens_count() -> None:
    got = loss_of_ratios([[1.0, 2.0, 0.5], [1.0, 2.0, 0.5]], [2.0, -1.0], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert got.loss_BT.tolist() == [pytest.approx([0.0, -2.6, 0.0]), pytest.approx([1.0, 0.0, 0.0])]
    assert (got.ratio_BT.tolist(), got.low_BT.sum(), got.high_BT.sum()) == (
        [pytest.approx([0.0, 2.0, 0.0]), pytest.approx([1.0, 0.0, 0.0])], 0.0, 1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ratio", "advantage", "clipped"), [(2.0, 1.0, 1), (2.0, -1.0, 0), (0.5, 1.0, 0), (0.5, -1.0, 1)]
)
def test_a_clipped_token_has_no_gradient(ratio: float, advantage: float, clipped: int) -> None:
    logp_BT = f64([[math.log(ratio)]]).requires_grad_()
    zero_BT = torch.zeros(1, 1, dtype=torch.float64)
    got = token_loss(logp_BT, zero_BT, f64([advantage]), zero_BT + 1, CLIP)
    got.loss_BT.sum().backward()
    assert got.low_BT.sum() + got.high_BT.sum() == clipped
    # Unclipped: d(−ratio·A)/d ln p = −ratio·A.
    assert float(logp_BT.grad) == pytest.approx(0.0 if clipped else -ratio * advantage)


def test_prompt_and_padding_cannot_overflow_into_the_loss() -> None:
    # exp(200) is inf in float32, and inf·0 is NaN: neither the sum nor the gradient may see unsampled positions.
    logp_BT = torch.tensor([[-200.0, -1.0, -float("inf")]], requires_grad=True)
    old_BT, ref_BT = torch.tensor([[0.0, -1.0, 0.0]]), torch.tensor([[-1.0, -1.0, -1.0]])
    mask_BT = torch.tensor([[0.0, 1.0, 0.0]])
    loss_BT = token_loss(logp_BT, old_BT, torch.tensor([1.0]), mask_BT, CLIP).loss_BT
    kl_BT = kl_estimate(logp_BT, ref_BT, mask_BT, "k3")
    (loss_BT + 0.5 * kl_BT).sum().backward()
    assert (loss_BT.tolist(), kl_BT.tolist()) == ([[0.0, -1.0, 0.0]], [[0.0, 0.0, 0.0]])
    assert logp_BT.grad.tolist() == [[0.0, -1.0, 0.0]]


def test_logprobs_and_entropy_by_hand() -> None:
    # softmax([ln 1, ln 3]) = (1/4, 3/4). At temperature 1/2 the odds are squared: (1/10, 9/10).
    logits_BTV = f64([[[0.0, math.log(3)], [0.0, math.log(3)]]] * 2)
    ids_BT = torch.tensor([[0, 1], [0, 1]])
    logp_BT, entropy_BT = token_logprobs_and_entropy(logits_BTV, ids_BT, f64([1.0, 0.5]))
    assert logp_BT.exp().tolist() == [pytest.approx([0.25, 0.75]), pytest.approx([0.1, 0.9])]
    assert entropy_BT[0, 0] == pytest.approx(0.25 * math.log(4) + 0.75 * math.log(4 / 3))
    assert entropy_BT[1, 1] == pytest.approx(0.1 * math.log(10) + 0.9 * math.log(10 / 9))


def test_half_precision_logits_are_widened_and_double_is_kept() -> None:
    for given_dtype, dtype in (
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        logp_BT, entropy_BT = token_logprobs_and_entropy(
            torch.zeros(1, 1, 2, dtype=given_dtype), torch.tensor([[0]]), torch.ones(1)
        )
        assert (logp_BT.dtype, entropy_BT.dtype) == (dtype, dtype)
        assert float(logp_BT) == pytest.approx(-math.log(2))


@pytest.mark.parametrize("kl_coef", [0.0, 0.3])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_gradient_by_finite_differences(kl_coef: float, temperature: float) -> None:
    """Through the tempered softmax, the clip and the KL, on logits drawn away from the clip's corners."""
    draw = torch.Generator().manual_seed(1)
    logits_BTV = torch.randn(2, 3, 4, generator=draw, dtype=torch.float64)
    ids_BT = torch.tensor([[0, 3, 1], [2, 2, 0]])
    mask_BT = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    temperature_B = f64([temperature] * 2)
    now_BT, _ = token_logprobs_and_entropy(logits_BTV, ids_BT, temperature_B)
    # Ratios of sampled tokens: 1, 2 (clipped, A > 0), –; 1.1, 2 (not clipped, A < 0), 0.5 (clipped)
    old_BT = now_BT - f64([[1.0, 2.0, 1.0], [1.1, 2.0, 0.5]]).log()
    ref_BT = now_BT + 0.3 * torch.randn(2, 3, generator=draw, dtype=torch.float64)

    def loss(logits_BTV: torch.Tensor) -> torch.Tensor:
        logp_BT, _ = token_logprobs_and_entropy(logits_BTV, ids_BT, temperature_B)
        of_policy_BT = token_loss(logp_BT, old_BT, f64([1.5, -0.7]), mask_BT, CLIP).loss_BT
        return (of_policy_BT + kl_coef * kl_estimate(logp_BT, ref_BT, mask_BT, "k3")).sum()

    assert torch.autograd.gradcheck(loss, logits_BTV.requires_grad_(), eps=1e-6, atol=1e-7)


def test_gradient_is_the_policy_gradient() -> None:
    """On policy, minus the loss's gradient is the gradient of Σ p(v)·A(v): REINFORCE, exactly, over a vocabulary."""
    logits_V = f64([0.2, -1.0, 0.7]).requires_grad_()
    value_V = f64([1.0, -2.0, 0.5])
    expected_V = torch.autograd.grad((torch.softmax(logits_V, 0) * value_V).sum(), logits_V)[0]
    p_V = torch.softmax(logits_V.detach(), 0)
    got_V = torch.zeros(3, dtype=torch.float64)
    for v in range(3):  # each token as often as it is drawn
        logp_BT, _ = token_logprobs_and_entropy(logits_V.view(1, 1, 3), torch.tensor([[v]]), torch.ones(1))
        loss_BT = token_loss(logp_BT, logp_BT.detach(), value_V[v : v + 1], torch.ones(1, 1), CLIP).loss_BT
        got_V -= p_V[v] * torch.autograd.grad(loss_BT.sum(), logits_V)[0]
    torch.testing.assert_close(got_V, expected_V)


@given(st.integers(1, 40), st.integers(0, 3), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_sums_do_not_depend_on_cuts_or_padding(tokens: int, extra_width: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    rows, width = 6, 5
    mask_BT = (torch.rand(rows, width, generator=draw) < 0.6).double()
    logp_BT, old_BT, ref_BT = (-torch.rand(3, rows, width, generator=draw, dtype=torch.float64) * 2).unbind()
    advantages_B = torch.randn(rows, generator=draw, dtype=torch.float64)

    def sums(rows: torch.Tensor, width: int) -> tuple[float, ...]:
        pad = (0, max(0, width - logp_BT.shape[1]))
        logp, old, mask, ref = (torch.nn.functional.pad(x[rows], pad, value=v)[:, :width] for x, v in (
            (logp_BT, -9.0), (old_BT, 0.0), (mask_BT, 0.0), (ref_BT, -3.0)))  # fmt: skip
        got = token_loss(logp, old, advantages_B[rows], mask, CLIP)
        kl_BT = kl_estimate(logp, ref, mask, "k3")
        return tuple(float(x.sum()) for x in (got.loss_BT, got.ratio_BT, got.low_BT, got.high_BT, kl_BT))

    whole = sums(torch.arange(rows), width)
    batch = TrainBatch(
        torch.zeros(rows, width + 1, dtype=torch.int64), mask_BT, old_BT, advantages_B, torch.ones(rows),
        torch.zeros(rows, dtype=torch.bool),
    )  # fmt: skip
    cuts = [sums(index, micro.mask_BT.shape[1] + extra_width) for index, micro in batch.micro_batches(tokens)]
    assert [sum(values) for values in zip(*cuts)] == pytest.approx(list(whole))
