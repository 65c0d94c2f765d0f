"""Advantages from rewards of groups. Shapes: G groups (prompts), N completions of each."""

import torch


def group_normalised(rewards_GN: torch.Tensor) -> torch.Tensor:
    """GRPO: each reward less its group's mean, over its group's standard deviation (DeepSeekMath,
    arXiv 2402.03300, §4.1.2).

    A group whose rewards are all equal says nothing: its advantages are exactly 0. The standard deviation is
    the population's (divides by N), as in the paper's ``std(r)`` over the group itself.
    """
    centred_GN = rewards_GN - rewards_GN.mean(dim=1, keepdim=True)
    std_G1 = rewards_GN.std(dim=1, keepdim=True, unbiased=False)
    # Not "std > 0": the mean of equal numbers is not always that number.
    differ_G1 = rewards_GN.amax(dim=1, keepdim=True) > rewards_GN.amin(dim=1, keepdim=True)
    return torch.where(differ_G1, centred_GN / torch.where(differ_G1, std_G1, 1.0), 0.0)
