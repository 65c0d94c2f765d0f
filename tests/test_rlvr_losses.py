"""The clipped loss: hand-worked tokens, gradients by finite differences, and sums that do not depend on cuts."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.rlvr.batch import TrainBatch
from leash_ray.rlvr.losses import LossSums, clipped_token_loss, token_logprobs_and_entropy

LOW, HIGH = 0.2, 0.3


def loss_of_ratios(ratios: list[list[float]], advantages: list[float], mask: list[list[float]]) -> LossSums:
    """The loss where old ln p is −1 everywhere and the ratios are given."""
    old_BT = torch.full((len(ratios), len(ratios[0])), -1.0, dtype=torch.float64)
    logp_BT = old_BT + torch.tensor(ratios, dtype=torch.float64).log()
    return clipped_token_loss(
        logp_BT, old_BT, torch.tensor(advantages, dtype=torch.float64), torch.tensor(mask), LOW, HIGH
    )


def test_by_hand() -> None:
    # Clip to [0.8, 1.3].
    # A = 2:  ratio 1 -> −2;  ratio 2 is clipped high: −1.3·2 = −2.6;  ratio 0.5 is not: −0.5·2 = −1
    # A = −1: ratio 1 -> 1;   ratio 2 is not clipped: 2;               ratio 0.5 is clipped low: 0.8
    sums = loss_of_ratios([[1.0, 2.0, 0.5], [1.0, 2.0, 0.5]], [2.0, -1.0], [[1.0] * 3, [1.0] * 3])
    assert float(sums.loss) == pytest.approx(-2 - 2.6 - 1 + 1 + 2 + 0.8)
    assert (sums.n_tokens, sums.n_clipped_low, sums.n_clipped_high) == (6, 1.0, 1.0)
    assert math.isnan(sums.kl_nats)  # no reference: not measured, not 0


def test_only_sampled_tokens_count() -> None:
    sums = loss_of_ratios([[1.0, 2.0, 0.5], [1.0, 2.0, 0.5]], [2.0, -1.0], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert float(sums.loss) == pytest.approx(-2.6 + 1)
    assert (sums.n_tokens, sums.n_clipped_low, sums.n_clipped_high) == (2, 0.0, 1.0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "clipped"), [(2.0, 1.0, 1), (2.0, -1.0, 0), (0.5, 1.0, 0), (0.5, -1.0, 1)]
)
def test_a_clipped_token_has_no_gradient(ratio: float, advantage: float, clipped: int) -> None:
    logp_BT = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    zero_BT = torch.zeros(1, 1, dtype=torch.float64)
    sums = clipped_token_loss(logp_BT, zero_BT, torch.tensor([advantage], dtype=torch.float64), zero_BT + 1, LOW, HIGH)
    sums.loss.backward()
    assert sums.n_clipped_low + sums.n_clipped_high == clipped
    # Unclipped: d(−ratio·A)/d ln p = −ratio·A.
    assert float(logp_BT.grad) == pytest.approx(0.0 if clipped else -ratio * advantage)


def test_kl_by_hand() -> None:
    # p = 1/2 and p_ref = 1/4: r = 1/2, k3 = 1/2 − 1 + ln 2. p = p_ref: 0. The third token is not sampled.
    logp_BT = torch.tensor([[0.5, 0.25, 0.9]], dtype=torch.float64).log().requires_grad_()
    ref_BT = torch.tensor([[0.25, 0.25, 0.1]], dtype=torch.float64).log()
    mask_BT, zero_B = torch.tensor([[1.0, 1.0, 0.0]]), torch.zeros(1, dtype=torch.float64)
    k3 = math.log(2) - 0.5
    measured = clipped_token_loss(logp_BT, logp_BT.detach(), zero_B, mask_BT, LOW, HIGH, ref_BT)
    assert (measured.loss.item(), measured.kl_nats) == (0.0, pytest.approx(k3))  # measured, not trained on
    trained = clipped_token_loss(logp_BT, logp_BT.detach(), zero_B, mask_BT, LOW, HIGH, ref_BT, kl_coef=0.1)
    assert (trained.loss.item(), trained.kl_nats) == (pytest.approx(0.1 * k3), pytest.approx(k3))
    trained.loss.backward()
    # d k3/d ln p = 1 − r
    assert logp_BT.grad.tolist() == [pytest.approx([0.1 * 0.5, 0.0, 0.0])]


def test_mean_k3_is_the_kl() -> None:
    """The expectation of k3 under p is KL(p ‖ p_ref), summed over the whole of a small vocabulary."""
    p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    ref = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)
    k3 = [
        clipped_token_loss(
            p[v].log().view(1, 1), p[v].log().view(1, 1), torch.zeros(1), torch.ones(1, 1), LOW, HIGH,
            ref[v].log().view(1, 1),
        ).kl_nats
        for v in range(3)
    ]  # fmt: skip
    assert sum(float(p[v]) * k3[v] for v in range(3)) == pytest.approx(float((p * (p / ref).log()).sum()))
    assert min(k3) >= 0


def test_prompt_and_padding_cannot_overflow_into_the_loss() -> None:
    # exp(200) is inf in float32, and inf·0 is NaN: neither the sum nor the gradient may see unsampled positions.
    logp_BT = torch.tensor([[-200.0, -1.0, -float("inf")]], requires_grad=True)
    old_BT, ref_BT = torch.tensor([[0.0, -1.0, 0.0]]), torch.tensor([[-1.0, -1.0, -1.0]])
    sums = clipped_token_loss(
        logp_BT, old_BT, torch.tensor([1.0]), torch.tensor([[0.0, 1.0, 0.0]]), LOW, HIGH, ref_BT, kl_coef=0.5
    )
    sums.loss.backward()
    assert (sums.loss.item(), sums.kl_nats) == (-1.0, 0.0)
    assert logp_BT.grad.tolist() == [[0.0, -1.0, 0.0]]


def test_logprobs_and_entropy_by_hand() -> None:
    # softmax([ln 1, ln 3]) = (1/4, 3/4). At temperature 1/2 the odds are squared: (1/10, 9/10).
    logits_BTV = torch.tensor([[[0.0, math.log(3)], [0.0, math.log(3)]]], dtype=torch.float64)
    ids_BT = torch.tensor([[0, 1]])
    logp_BT, entropy_BT = token_logprobs_and_entropy(logits_BTV, ids_BT, 1.0)
    assert logp_BT.exp().tolist() == [pytest.approx([0.25, 0.75])]
    assert entropy_BT[0, 0] == pytest.approx(0.25 * math.log(4) + 0.75 * math.log(4 / 3))
    logp_BT, entropy_BT = token_logprobs_and_entropy(logits_BTV, ids_BT, 0.5)
    assert logp_BT.exp().tolist() == [pytest.approx([0.1, 0.9])]
    assert entropy_BT[0, 1] == pytest.approx(0.1 * math.log(10) + 0.9 * math.log(10 / 9))


def test_half_precision_logits_are_widened_and_double_is_kept() -> None:
    for given_dtype, dtype in (
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        logp_BT, entropy_BT = token_logprobs_and_entropy(
            torch.zeros(1, 1, 2, dtype=given_dtype), torch.tensor([[0]]), 1.0
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
    now_BT, _ = token_logprobs_and_entropy(logits_BTV, ids_BT, temperature)
    # Ratios of sampled tokens: 1, 2 (clipped, A > 0), –; 1.1, 2 (not clipped, A < 0), 0.5 (clipped)
    old_BT = now_BT - torch.tensor([[1.0, 2.0, 1.0], [1.1, 2.0, 0.5]], dtype=torch.float64).log()
    ref_BT = now_BT + 0.3 * torch.randn(2, 3, generator=draw, dtype=torch.float64)
    advantages_B = torch.tensor([1.5, -0.7], dtype=torch.float64)

    def loss(logits_BTV: torch.Tensor) -> torch.Tensor:
        logp_BT, _ = token_logprobs_and_entropy(logits_BTV, ids_BT, temperature)
        return clipped_token_loss(logp_BT, old_BT, advantages_B, mask_BT, LOW, HIGH, ref_BT, kl_coef).loss

    assert torch.autograd.gradcheck(loss, logits_BTV.requires_grad_(), eps=1e-6, atol=1e-7)


def test_gradient_is_the_policy_gradient() -> None:
    """On policy, minus the loss's gradient is the gradient of Σ p(v)·A(v): REINFORCE, exactly, over a vocabulary."""
    logits_V = torch.tensor([0.2, -1.0, 0.7], dtype=torch.float64, requires_grad=True)
    value_V = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    expected_V = torch.autograd.grad((torch.softmax(logits_V, 0) * value_V).sum(), logits_V)[0]
    p_V = torch.softmax(logits_V.detach(), 0)
    got_V = torch.zeros(3, dtype=torch.float64)
    for v in range(3):  # each token as often as it is drawn
        logp_BT, _ = token_logprobs_and_entropy(logits_V.view(1, 1, 3), torch.tensor([[v]]), 1.0)
        sums = clipped_token_loss(logp_BT, logp_BT.detach(), value_V[v : v + 1], torch.ones(1, 1), LOW, HIGH)
        got_V -= p_V[v] * torch.autograd.grad(sums.loss, logits_V)[0]
    torch.testing.assert_close(got_V, expected_V)


@given(st.integers(1, 7), st.integers(0, 3), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_sums_do_not_depend_on_cuts_or_padding(size: int, extra_width: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    rows, width = 6, 5
    mask_BT = (torch.rand(rows, width, generator=draw) < 0.6).double()
    logp_BT, old_BT, ref_BT = (-torch.rand(3, rows, width, generator=draw, dtype=torch.float64) * 2).unbind()
    advantages_B = torch.randn(rows, generator=draw, dtype=torch.float64)

    def sums(rows: slice, width: int) -> tuple[float, ...]:
        pad = (0, max(0, width - logp_BT.shape[1]))
        cut = [torch.nn.functional.pad(x[rows], pad, value=v)[:, :width] for x, v in (
            (logp_BT, -9.0), (old_BT, 0.0), (mask_BT, 0.0), (ref_BT, -3.0))]  # fmt: skip
        got = clipped_token_loss(cut[0], cut[1], advantages_B[rows], cut[2], LOW, HIGH, cut[3], 0.2)
        return float(got.loss), got.n_tokens, got.n_clipped_low, got.n_clipped_high, got.kl_nats

    whole = sums(slice(0, rows), width)
    batch = TrainBatch(torch.zeros(rows, width + 1, dtype=torch.int64), mask_BT, old_BT, advantages_B)
    cuts = [
        sums(slice(i * size, i * size + size), micro.mask_BT.shape[1] + extra_width)
        for i, micro in enumerate(batch.micro_batches(size))
    ]
    assert [sum(values) for values in zip(*cuts)] == pytest.approx(list(whole))
