"""Policy losses on token log-probabilities. Shapes: B completions, T tokens, V vocabulary; all logs natural."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class LossSums:
    """Sums over the tokens of one micro-batch: they add up over micro-batches and workers."""

    loss: torch.Tensor
    """Scalar with gradient: Σ over tokens of −min(ratio·A, clip(ratio)·A) + kl_coef·KL."""
    n_tokens: int
    n_clipped_low: float
    n_clipped_high: float
    kl_nats: float
    """Σ of the k3 estimate of KL(policy ‖ reference); NaN without a reference."""


def token_logprobs_and_entropy(
    logits_BTV: torch.Tensor, ids_BT: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """ln p of each id under softmax(logits / temperature), and that distribution's entropy (nats, no gradient).

    ``logits_BTV[:, t]`` must be the prediction *of* ``ids_BT[:, t]`` (already shifted). Temperature belongs
    here: the sampler's distribution is the tempered one, and only that ratio is the importance ratio.
    """
    at_least_float32 = torch.promote_types(logits_BTV.dtype, torch.float32)
    logp_BTV = torch.log_softmax(logits_BTV.to(at_least_float32) / temperature, dim=-1)
    logp_BT = logp_BTV.gather(-1, ids_BT.unsqueeze(-1)).squeeze(-1)
    with torch.no_grad():
        entropy_BT = -(logp_BTV.exp() * logp_BTV).sum(-1)
    return logp_BT, entropy_BT


def clipped_token_loss(
    logp_BT: torch.Tensor,
    old_logp_BT: torch.Tensor,
    advantages_B: torch.Tensor,
    mask_BT: torch.Tensor,
    clip_low: float,
    clip_high: float,
    ref_logp_BT: torch.Tensor | None = None,
    kl_coef: float = 0.0,
) -> LossSums:
    """PPO's clipped surrogate a token (arXiv 1707.06347, eq. 7) with GRPO's group advantages, summed, not averaged.

    Summing lets the caller divide by the token count of the *whole* batch, so the loss is the same however the
    batch is cut into micro-batches and workers (token-level loss; DAPO, arXiv 2503.14476, eq. 12).
    The KL term is k3 = r − 1 − ln r with r = p_ref/p (Schulman; GRPO eq. 4): unbiased and never negative.
    """
    advantages_B1 = advantages_B.unsqueeze(1)
    # Prompt and padding: no ratio there may overflow, for 0·inf would make the sum and its gradient NaN.
    sampled_BT = mask_BT > 0
    logp_BT = torch.where(sampled_BT, logp_BT, 0.0)
    ratio_BT = torch.exp(logp_BT - torch.where(sampled_BT, old_logp_BT, 0.0))
    clipped_BT = ratio_BT.clamp(1.0 - clip_low, 1.0 + clip_high)
    loss_BT = -torch.minimum(ratio_BT * advantages_B1, clipped_BT * advantages_B1)
    kl_nats = float("nan")
    if ref_logp_BT is not None:
        log_r_BT = torch.where(sampled_BT, ref_logp_BT, 0.0) - logp_BT
        kl_BT = torch.exp(log_r_BT) - 1.0 - log_r_BT
        kl_nats = float((kl_BT.detach() * mask_BT).sum())
        if kl_coef:
            loss_BT = loss_BT + kl_coef * kl_BT
    # Clipped means: the gradient of this token's surrogate is zero because of the clip.
    low_BT = (ratio_BT < 1.0 - clip_low) & (advantages_B1 < 0)
    high_BT = (ratio_BT > 1.0 + clip_high) & (advantages_B1 > 0)
    return LossSums(
        loss=(loss_BT * mask_BT).sum(),
        n_tokens=int(mask_BT.sum()),
        n_clipped_low=float((low_BT * mask_BT).sum()),
        n_clipped_high=float((high_BT * mask_BT).sum()),
        kl_nats=kl_nats,
    )
