"""Estimates of KL(policy ‖ reference) from the policy's own samples (Schulman, "Approximating KL divergence", 2020)."""

import torch


def exact_kl(logits_BTV: torch.Tensor, ref_logits_BTV: torch.Tensor, temperature_B: torch.Tensor) -> torch.Tensor:
    """KL(policy ‖ reference) of the next token, over the whole vocabulary (nats) [B, T].

    What is left where the tokens are not the policy's own: no estimate from them is one of this.
    """
    scale_B11 = temperature_B[:, None, None]
    logp_BTV = torch.log_softmax(logits_BTV.float() / scale_B11, -1)
    ref_BTV = torch.log_softmax(ref_logits_BTV.float() / scale_B11, -1)
    return (logp_BTV.exp() * (logp_BTV - ref_BTV)).sum(-1)


def kl_estimate(
    logp_BT: torch.Tensor, ref_logp_BT: torch.Tensor, mask_BT: torch.Tensor, estimator: str
) -> torch.Tensor:
    """Of each sampled token (nats) [B, T], 0 elsewhere; with the gradient that ``logp_BT`` has.

    With ln r = ln p_ref − ln p: ``k1`` = −ln r, unbiased, and negative at times; ``k2`` = (ln r)²/2, biased and never
    negative; ``k3`` = r − 1 − ln r, unbiased and never negative (GRPO, arXiv 2402.03300, eq. 4).

    A good estimate of the KL need not lead to it as a part of what is trained (samples are the policy's own):

    - in the reward: ``k1``, summed over a completion, gives the gradient of KL(policy ‖ reference) of whole
      completions. Then the best policy is the exponentially tilted reference (Wu et al., arXiv 2507.14843, Prop. C.4).
      ``k2`` and ``k3`` there also punish what has become rarer than in the reference, and make it rarer still.
    - in the loss: ``k2`` has in expectation the gradient of each token's KL given the tokens before it, without what a
      token does to the KL of later ones: for completions of one token that is the same as above. ``k3`` has the
      gradient of KL(reference ‖ policy), the other direction; ``k1`` has none.
    """
    sampled_BT = mask_BT > 0  # elsewhere r may overflow, and 0·inf is no number
    log_r_BT = torch.where(sampled_BT, ref_logp_BT, 0.0) - torch.where(sampled_BT, logp_BT, 0.0)
    if estimator == "k1":
        return -log_r_BT
    if estimator == "k2":
        return 0.5 * log_r_BT**2
    return log_r_BT.exp() - 1.0 - log_r_BT
