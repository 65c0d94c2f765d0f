"""Policy losses: hand-worked tokens, gradients by finite differences, and sums that do not depend on cuts."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.rlvr.batch import TrainBatch
from leash_ray.rlvr.kl import kl_estimate
from leash_ray.rlvr.losses import TokenLoss, row_scales, shaped_token_loss, token_logprobs_and_entropy, token_loss
from leash_ray.rlvr.sections import LossConfig

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


# Other losses, each at ratio r with advantage A, clipped to [0.8, 1.3]: what the loss is, and its gradient by ln p.
RATIO_LOSSES = [
    # dual clip at 3: for A < 0 no more than −3·A, and no gradient beyond; for A > 0 nothing changes
    (LossConfig(clip_low=0.2, clip_high=0.3, dual_clip=3.0), 2.0, -1.0, 2.0, 2.0, (0, 0)),
    (LossConfig(clip_low=0.2, clip_high=0.3, dual_clip=3.0), 5.0, -1.0, 3.0, 0.0, (0, 1)),
    (LossConfig(clip_low=0.2, clip_high=0.3, dual_clip=3.0), 5.0, 1.0, -1.3, 0.0, (0, 1)),
    (LossConfig(clip_low=0.2, clip_high=0.3, dual_clip=3.0), 0.5, -1.0, 0.8, 0.0, (1, 0)),
    # cispo: ln p = ln r − 1 here, weighed by the clipped ratio: −clip(r)·A·ln p, gradient −clip(r)·A everywhere
    (LossConfig(kind="cispo", clip_low=0.2, clip_high=0.3), 1.0, 2.0, 2.0, -2.0, (0, 0)),
    (LossConfig(kind="cispo", clip_low=0.2, clip_high=0.3), math.e, 2.0, 0.0, -2.6, (0, 1)),
    (LossConfig(kind="cispo", clip_low=0.2, clip_high=0.3), 1 / math.e, 2.0, 3.2, -1.6, (1, 0)),
    (LossConfig(kind="cispo", clip_low=0.2, clip_high=0.3), 1 / math.e, -1.0, -1.6, 0.8, (1, 0)),
    (LossConfig(kind="cispo", clip_low=1.0, clip_high=0.3), 1 / math.e, 2.0, 4 / math.e, -2 / math.e, (0, 0)),
    # nll: no ratio at all: −A·ln p
    (LossConfig(kind="nll"), math.e**2, 2.0, -2.0, -2.0, (0, 0)),
    (LossConfig(kind="nll"), 1.0, -1.0, -1.0, 1.0, (0, 0)),
]


@pytest.mark.parametrize(("config", "ratio", "advantage", "expected", "slope", "clipped"), RATIO_LOSSES)
def test_other_losses_by_hand(
    config: LossConfig, ratio: float, advantage: float, expected: float, slope: float, clipped: tuple[int, int]
) -> None:
    logp_BT = f64([[math.log(ratio) - 1.0]]).requires_grad_()
    got = token_loss(logp_BT, f64([[-1.0]]), f64([advantage]), torch.ones(1, 1), config)
    got.loss_BT.sum().backward()
    assert (got.loss_BT.item(), logp_BT.grad.item()) == (pytest.approx(expected), pytest.approx(slope))
    assert (got.low_BT.item(), got.high_BT.item()) == clipped


def test_gspo_by_hand() -> None:
    # Ratios 2, 1/2 and 4 over three tokens: (2·½·4)^(1/3) = 4^(1/3) ≈ 1.587 for each of them, clipped at 1.3 if A > 0.
    # The second row has two tokens, 2 and 2: 2, and A < 0 leaves it alone. Its third is not sampled.
    gspo = LossConfig(kind="gspo", clip_low=0.2, clip_high=0.3)
    old_BT = torch.full((2, 3), -1.0, dtype=torch.float64)
    logp_BT = (old_BT + f64([[2.0, 0.5, 4.0], [2.0, 2.0, 9.0]]).log()).requires_grad_()
    mask_BT = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    got = token_loss(logp_BT, old_BT, f64([2.0, -1.0]), mask_BT, gspo)
    assert got.ratio_BT.tolist() == [pytest.approx([4 ** (1 / 3)] * 3), pytest.approx([2.0, 2.0, 0.0])]
    assert got.loss_BT.tolist() == [pytest.approx([-2.6] * 3), pytest.approx([2.0, 2.0, 0.0])]
    assert got.high_BT.tolist() == [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    # Averaged over completions, the second is s·1 with s = √(r₁r₂): ds/d ln pₜ = s/2, and half of that of two rows.
    (got.loss_BT * row_scales(mask_BT, "sequence", 5, 2, 9)[:, None]).sum().backward()
    assert logp_BT.grad.tolist() == [pytest.approx([0.0] * 3), pytest.approx([0.5, 0.5, 0.0])]


def test_gspo_of_one_token_is_the_clip() -> None:
    ratios_BT = f64([[0.3], [0.9], [1.2], [2.0]]).log()
    for advantage in (1.0, -1.0):
        args = (ratios_BT, torch.zeros(4, 1), f64([advantage] * 4), torch.ones(4, 1))
        gspo = token_loss(*args, LossConfig(kind="gspo", clip_low=0.2, clip_high=0.3))
        assert torch.equal(gspo.loss_BT, token_loss(*args, CLIP).loss_BT)


@pytest.mark.parametrize("kind", ["clip", "cispo", "gspo", "nll"])
def test_weights_multiply_and_have_no_gradient(kind: str) -> None:
    logp_BT, old_BT = f64([[-1.0, -2.0]]), f64([[-1.1, -1.9]])
    args = (old_BT, f64([1.5]), torch.ones(1, 2), LossConfig(kind=kind))  # type: ignore[arg-type]
    weights_BT = f64([[0.5, 2.0]])
    assert torch.equal(token_loss(logp_BT, *args, weights_BT).loss_BT, token_loss(logp_BT, *args).loss_BT * weights_BT)


def test_another_policy_s_tokens_by_hand() -> None:
    # p = 1/4 and γ = 1/4: −A/2, and d/d ln p of p/(p + γ) is γp/(p + γ)² = (1/16)/(1/4) = 1/4. Twice that for A = 2.
    logp_BT = f64([[0.25, 0.5]]).log().requires_grad_()
    loss_BT = shaped_token_loss(logp_BT, f64([2.0]), torch.tensor([[1.0, 0.0]]), 0.25)
    loss_BT.sum().backward()
    assert loss_BT.tolist() == [pytest.approx([-1.0, 0.0])]
    assert logp_BT.grad.tolist() == [pytest.approx([-0.5, 0.0])]


def test_averages_by_hand() -> None:
    # Completions of 2, 4 and 0 tokens in a step of 10 tokens and 4 completions with any; at most 8 tokens each.
    mask_BT = f64([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    assert row_scales(mask_BT, "token", 10, 4, 8).tolist() == pytest.approx([1 / 10] * 3)
    assert row_scales(mask_BT, "sequence", 10, 4, 8)[:2].tolist() == pytest.approx([1 / 8, 1 / 16])
    assert row_scales(mask_BT, "fixed", 10, 4, 8).tolist() == pytest.approx([1 / 32] * 3)
    for mean in ("token", "sequence", "fixed"):
        assert row_scales(mask_BT[2:], mean, 0.0, 0.0, 8).isfinite().all()  # nothing to learn from is no division by 0


@given(st.integers(1, 8), st.sampled_from(["token", "sequence", "fixed"]), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_averages_do_not_depend_on_cuts(size: int, mean: str, seed: int) -> None:
    """Row by row, in cuts of ``size`` rows, and against what each average is called."""
    draw = torch.Generator().manual_seed(seed)
    mask_BT = (torch.rand(8, 5, generator=draw) < 0.5).double()
    loss_BT = torch.randn(8, 5, generator=draw, dtype=torch.float64) * mask_BT
    n_tokens, n_rows = float(mask_BT.sum()), float((mask_BT.sum(1) > 0).sum())
    cut = sum(
        float((loss_BT[i : i + size] * row_scales(mask_BT[i : i + size], mean, n_tokens, n_rows, 7)[:, None]).sum())
        for i in range(0, 8, size)
    )
    rows = [row[m > 0] for row, m in zip(loss_BT, mask_BT, strict=True) if m.any()]
    if not rows:
        return
    whole = {
        "token": torch.cat(rows).mean(),
        "sequence": torch.stack([row.mean() for row in rows]).mean(),
        "fixed": torch.stack([row.sum() / 7 for row in rows]).mean(),
    }[mean]
    assert cut == pytest.approx(float(whole))
