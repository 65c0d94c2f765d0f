"""Gradients of a whole step's loss by finite differences, for every loss, on a tiny model in float64."""

from typing import Any

import pytest
import torch

from leash_ray.rlvr.kl import kl_estimate
from leash_ray.rlvr.losses import row_scales, shaped_token_loss, token_logprobs_and_entropy, token_loss
from leash_ray.rlvr.mismatch import importance_weights
from leash_ray.rlvr.sections import LossConfig, MismatchConfig


def f64(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


class TinyModel(torch.nn.Module):
    """Embedding, one layer of attention over the past (a mean), a head: 4 tokens, 3 numbers a token."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(5)
        self.into = torch.nn.Parameter(torch.randn(4, 3, generator=draw, dtype=torch.float64))
        self.out = torch.nn.Parameter(torch.randn(3, 4, generator=draw, dtype=torch.float64))

    def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:
        seen_BTD = self.into[ids_BT].cumsum(1) / torch.arange(1, ids_BT.shape[1] + 1)[:, None]
        return torch.tanh(seen_BTD) @ self.out


FAR = LossConfig(clip_low=0.05, clip_high=0.07)  # most tokens are clipped, none at a corner
GRADIENTS = [
    *(LossConfig(kind=kind, clip_low=0.2, clip_high=0.3, mean=mean) for kind in ("clip", "cispo", "gspo", "nll")
      for mean in ("token", "sequence", "fixed")),
    FAR, LossConfig(dual_clip=1.05), LossConfig(entropy_coef=0.3), LossConfig(kind="gspo", dual_clip=1.01),
]  # fmt: skip


@pytest.mark.parametrize("estimator", ["", "k2", "k3"])
@pytest.mark.parametrize("config", GRADIENTS, ids=lambda c: f"{c.kind}-{c.mean}-{c.dual_clip}-{c.entropy_coef}")
def test_gradients_of_a_tiny_model_equal_finite_differences(config: LossConfig, estimator: str) -> None:
    """The whole loss of a step: policy, importance weights, another policy's row, KL, entropy, averages."""
    model, draw = TinyModel(), torch.Generator().manual_seed(2)
    ids_BT = torch.randint(0, 4, (4, 6), generator=draw)
    mask_BT = f64([[0, 1, 1, 1, 1], [0, 1, 1, 0, 0], [1, 1, 1, 1, 0], [0, 0, 1, 1, 1]])
    own_BT, foreign_BT = mask_BT * f64([1, 1, 1, 0])[:, None], mask_BT * f64([0, 0, 0, 1])[:, None]
    advantages_B, temperature_B = f64([1.5, -0.7, 0.4, 1.0]), f64([1.0, 0.7, 1.3, 1.0])
    scales_B = row_scales(mask_BT, config.mean, float(mask_BT.sum()), 4.0, 6)

    def forward() -> tuple[torch.Tensor, torch.Tensor]:
        return token_logprobs_and_entropy(model(ids_BT)[:, :-1], ids_BT[:, 1:], temperature_B, entropy_gradient=True)

    start_BT = forward()[0].detach()
    old_BT = start_BT + 0.4 * torch.randn(4, 5, generator=draw, dtype=torch.float64)
    ref_BT = start_BT + 0.4 * torch.randn(4, 5, generator=draw, dtype=torch.float64)
    weights_BT = importance_weights(start_BT, old_BT, own_BT, MismatchConfig(correction="truncate", cap=1.2))
    # What CISPO holds stays as it was while the weights are moved: at clip(r) of the start.
    held_BT = (start_BT - old_BT).exp().clamp(1 - config.clip_low, 1 + config.clip_high)

    def step_loss(is_moved: bool) -> torch.Tensor:
        logp_BT, entropy_BT = forward()
        if is_moved and config.kind == "cispo":
            loss_BT = -held_BT * advantages_B[:, None] * logp_BT * own_BT * weights_BT
        else:
            loss_BT = token_loss(logp_BT, old_BT, advantages_B, own_BT, config, weights_BT).loss_BT
        loss_BT = loss_BT + shaped_token_loss(logp_BT, advantages_B, foreign_BT, 0.1)
        if estimator:
            loss_BT = loss_BT + 0.3 * kl_estimate(logp_BT, ref_BT, own_BT, estimator) * own_BT
        return ((loss_BT - config.entropy_coef * entropy_BT * mask_BT) * scales_B[:, None]).sum()

    step_loss(False).backward()
    eps = 1e-6
    for parameter in model.parameters():
        for i in range(parameter.numel()):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[i] += sign * eps
                    ends.append(float(step_loss(True)))
                    parameter.view(-1)[i] -= sign * eps
            assert parameter.grad.view(-1)[i].item() == pytest.approx(
                (ends[0] - ends[1]) / (2 * eps), abs=1e-7, rel=1e-6
            )
