"""Two engines, one policy: the sampler's log-probabilities are not quite the trainer's.

Rounding, kernels and stale weights make them differ; then the gradient is of samples from another policy. Truncated
importance sampling weighs each token by p_trainer / p_sampler, cut off so that its variance stays finite (Yao et al.,
"Your efficient RL framework secretly brings you off-policy RL training", 2025; Ionides 2008).
"""

import torch

from leash_ray.rlvr.sections import MismatchConfig


def importance_weights(
    trainer_logp_BT: torch.Tensor, sampler_logp_BT: torch.Tensor, mask_BT: torch.Tensor, mismatch: MismatchConfig
) -> torch.Tensor:
    """Weights of the tokens [B, T], no gradient, 0 where nothing was sampled.

    ``level: sequence`` has one weight a completion, of the product of its tokens' ratios. ``truncate``: min(w, cap);
    ``mask``: 0 where w > cap or w < 1/cap.
    """
    log_w_BT = torch.where(mask_BT > 0, trainer_logp_BT - sampler_logp_BT, 0.0).detach()
    if mismatch.level == "sequence":
        log_w_BT = log_w_BT.sum(1, keepdim=True).expand_as(log_w_BT)
    w_BT = log_w_BT.exp()
    if mismatch.correction == "truncate":
        w_BT = w_BT.clamp(max=mismatch.cap)
    elif mismatch.correction == "mask":
        w_BT = torch.where((w_BT > mismatch.cap) | (w_BT < 1.0 / mismatch.cap), 0.0, w_BT)
    return w_BT * mask_BT
