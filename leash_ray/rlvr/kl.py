"""Estimates of KL(policy ‖ reference) from the policy's own samples (Schulman, "Approximating KL divergence", 2020)."""

import torch


def kl_estimate(
    logp_BT: torch.Tensor, ref_logp_BT: torch.Tensor, mask_BT: torch.Tensor, estimator: str
) -> torch.Tensor:
    """Of each sampled token (nats) [B, T], 0 elsewhere; with the gradient that ``logp_BT`` has.

    With ln r = ln p_ref − ln p: ``k1`` = −ln r, unbiased, and negative at times; ``k2`` = (ln r)²/2, biased, but its
    gradient is that of the KL; ``k3`` = r − 1 − ln r, unbiased and never negative (GRPO, arXiv 2402.03300, eq. 4).
    """
    sampled_BT = mask_BT > 0  # elsewhere r may overflow, and 0·inf is no number
    log_r_BT = torch.where(sampled_BT, ref_logp_BT, 0.0) - torch.where(sampled_BT, logp_BT, 0.0)
    if estimator == "k1":
        return -log_r_BT
    if estimator == "k2":
        return 0.5 * log_r_BT**2
    return log_r_BT.exp() - 1.0 - log_r_BT
