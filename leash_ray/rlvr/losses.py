"""Policy losses on token log-probabilities. Shapes: B completions, T tokens, V vocabulary; all logs natural."""

from dataclasses import dataclass

import torch

from leash_ray.rlvr.sections import LossConfig


@dataclass(frozen=True, slots=True)
class TokenLoss:
    """Each token's loss, and what clipping did to it. Where ``mask_BT`` is 0, all are 0."""

    loss_BT: torch.Tensor
    """With gradient; not averaged yet: :func:`row_scales` says what each completion's tokens count."""
    ratio_BT: torch.Tensor
    """p / p_old, of a completion's tokens all the same where the ratio is the completion's; no gradient."""
    low_BT: torch.Tensor
    """1 where the clip from below has taken the token's gradient."""
    high_BT: torch.Tensor
    """1 where the clip from above has, dual clip included; with ``cispo``: has bounded its weight."""


def token_logprobs_and_entropy(
    logits_BTV: torch.Tensor, ids_BT: torch.Tensor, temperature_B: torch.Tensor, entropy_gradient: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """ln p of each id under softmax(logits / temperature), and that distribution's entropy (nats).

    ``logits_BTV[:, t]`` must be the prediction *of* ``ids_BT[:, t]`` (already shifted). Temperature belongs
    here: the sampler's distribution is the tempered one, and only that ratio is the importance ratio.

    Args:
        temperature_B: of each completion.
        entropy_gradient: whether the entropy is to be differentiated, which keeps one more [B, T, V] in memory.
    """
    at_least_float32 = torch.promote_types(logits_BTV.dtype, torch.float32)
    logp_BTV = torch.log_softmax(logits_BTV.to(at_least_float32) / temperature_B[:, None, None], dim=-1)
    logp_BT = logp_BTV.gather(-1, ids_BT.unsqueeze(-1)).squeeze(-1)
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        entropy_BT = -(logp_BTV.exp() * logp_BTV).sum(-1)
    return logp_BT, entropy_BT


def token_loss(
    logp_BT: torch.Tensor,
    old_logp_BT: torch.Tensor,
    advantages_B: torch.Tensor,
    mask_BT: torch.Tensor,
    loss: LossConfig,
    weights_BT: torch.Tensor | None = None,
) -> TokenLoss:
    """The loss of each sampled token.

    - ``clip``: −min(r·A, clip(r)·A), r = p/p_old (PPO, arXiv 1707.06347, eq. 7; unequal bounds: DAPO, arXiv
      2503.14476, eq. 8). With ``dual_clip`` c, for A < 0 at most −c·A (arXiv 1912.09729, eq. 5).
    - ``gspo``: the same, with r = exp(mean over tokens of ln p − ln p_old) of the whole completion (arXiv 2507.18071,
      eq. 7); average over ``sequence`` to have its objective. (Its authors clip at about 3e-4 and 4e-4.)
    - ``cispo``: −sg(clip(r))·A·ln p: bounded weights, and no token loses its gradient (arXiv 2506.13585, eq. 4;
      there without a bound from below: ``clip_low: 1``).
    - ``nll``: −A·ln p: REINFORCE; with A = 1, maximum likelihood.

    Args:
        logp_BT: with gradient.
        old_logp_BT: what the ratio is taken against.
        advantages_B: of each completion.
        mask_BT: 1 where a token was sampled. Prompt and padding: no ratio there may overflow, for 0·inf would make the
            sum and its gradient NaN.
        weights_BT: importance weights without gradient (:mod:`leash_ray.rlvr.mismatch`).
    """
    advantages_B1 = advantages_B.unsqueeze(1)
    sampled_BT = mask_BT > 0
    logp_BT = torch.where(sampled_BT, logp_BT, 0.0)
    log_ratio_BT = logp_BT - torch.where(sampled_BT, old_logp_BT, 0.0)
    if loss.kind == "gspo":
        n_B1 = mask_BT.sum(1, keepdim=True).clamp(min=1.0)
        log_ratio_BT = ((log_ratio_BT * mask_BT).sum(1, keepdim=True) / n_B1).expand_as(log_ratio_BT)
    ratio_BT = log_ratio_BT.exp()
    below_BT, above_BT = ratio_BT < 1.0 - loss.clip_low, ratio_BT > 1.0 + loss.clip_high
    clipped_BT = ratio_BT.clamp(1.0 - loss.clip_low, 1.0 + loss.clip_high)
    if loss.kind == "nll":
        loss_BT = -advantages_B1 * logp_BT
        low_BT = high_BT = torch.zeros_like(mask_BT)
    elif loss.kind == "cispo":
        loss_BT = -clipped_BT.detach() * advantages_B1 * logp_BT
        low_BT, high_BT = below_BT.float(), above_BT.float()
    else:
        loss_BT = -torch.minimum(ratio_BT * advantages_B1, clipped_BT * advantages_B1)
        low_BT = (below_BT & (advantages_B1 < 0)).float()
        high_BT = (above_BT & (advantages_B1 > 0)).float()
        if loss.dual_clip is not None:
            too_far_BT = (ratio_BT > loss.dual_clip) & (advantages_B1 < 0)
            loss_BT = torch.where(too_far_BT, -loss.dual_clip * advantages_B1, loss_BT)
            high_BT = high_BT + too_far_BT.float()
    if weights_BT is not None:
        loss_BT = loss_BT * weights_BT
    return TokenLoss(loss_BT * mask_BT, ratio_BT.detach() * mask_BT, low_BT * mask_BT, high_BT * mask_BT)


def shaped_token_loss(
    logp_BT: torch.Tensor, advantages_B: torch.Tensor, mask_BT: torch.Tensor, shaping: float
) -> torch.Tensor:
    """Loss of tokens that another policy wrote: −A·p/(p + γ) (LUFFY, arXiv 2504.14945, eq. 6), [B, T].

    With γ → ∞ it is −A·p/γ, which leaves alone what the policy finds unlikely; a small γ lets it learn just that.
    """
    p_BT = torch.where(mask_BT > 0, logp_BT, 0.0).exp()
    return -advantages_B.unsqueeze(1) * p_BT / (p_BT + shaping) * mask_BT


def row_scales(mask_BT: torch.Tensor, mean: str, n_tokens: float, n_rows: float, max_tokens: int) -> torch.Tensor:
    """What each token of a completion counts in the step's loss [B]; the sums run over all workers.

    Dividing by the *whole* step's counts makes the loss the same however it is cut into micro-batches and workers.

    Args:
        mean: ``token``: 1 / tokens of the step (DAPO, eq. 12); ``sequence``: 1 / (completions · own tokens) (GRPO,
            arXiv 2402.03300, eq. 3); ``fixed``: 1 / (completions · max_tokens) (Dr.GRPO, arXiv 2503.20783).
        n_tokens, n_rows: of the step, with at least one sampled token.
    """
    own_B = mask_BT.sum(1)
    if mean == "token":
        return torch.full_like(own_B, 1.0 / max(1.0, n_tokens))
    if mean == "sequence":
        return 1.0 / (max(1.0, n_rows) * own_B.clamp(min=1.0))
    return torch.full_like(own_B, 1.0 / (max(1.0, n_rows) * max_tokens))
