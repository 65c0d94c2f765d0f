"""Advantages from rewards of groups. Shapes: G groups (prompts), N completions of each.

All take ``rewards_GN`` and ``scored_GN`` (bool: False where the verifier failed), and give ``advantages_GN`` that are
exactly 0 where nothing was scored, and in a group whose rewards say nothing.
"""

import torch

from leash_ray.rlvr.settings import AdvantageConfig


def advantages(
    rewards_GN: torch.Tensor, scored_GN: torch.Tensor, config: AdvantageConfig, moments: tuple[float, float]
) -> torch.Tensor:
    """As the config says, with its weights of positive and negative ones.

    Args:
        moments: mean and standard deviation of the rewards of the whole step, over all workers (``reinforce_pp``).
    """
    if config.kind == "pass_at_k":
        found_GN = pass_at_k(rewards_GN, scored_GN, config.k)
    elif config.kind == "reinforce_pp":
        found_GN = global_normalised(rewards_GN, scored_GN, *moments)
    else:
        found_GN = {"grpo": group_normalised, "dr_grpo": centred, "rloo": leave_one_out}[config.kind](
            rewards_GN, scored_GN
        )
    return torch.where(found_GN > 0, config.positive * found_GN, config.negative * found_GN)


def group_normalised(rewards_GN: torch.Tensor, scored_GN: torch.Tensor) -> torch.Tensor:
    """GRPO: each reward less its group's mean, over its group's standard deviation (DeepSeekMath,
    arXiv 2402.03300, §4.1.2).

    The standard deviation is the population's (divides by N), as in the paper's ``std(r)`` over the group itself.
    """
    centred_GN = centred(rewards_GN, scored_GN)
    n_G1 = scored_GN.sum(1, keepdim=True).clamp(min=1)
    std_G1 = ((centred_GN**2).sum(1, keepdim=True) / n_G1).sqrt()
    return torch.where(std_G1 > 0, centred_GN / torch.where(std_G1 > 0, std_G1, 1.0), 0.0)


def centred(rewards_GN: torch.Tensor, scored_GN: torch.Tensor) -> torch.Tensor:
    """Dr.GRPO: each reward less its group's mean (arXiv 2503.20783, §3.2): dividing by the standard deviation weighs
    the easiest and the hardest problems most."""
    n_G1 = scored_GN.sum(1, keepdim=True).clamp(min=1)
    mean_G1 = (rewards_GN * scored_GN).sum(1, keepdim=True) / n_G1
    # Not left to the mean: that of equal numbers is not always that number.
    return torch.where(_differ(rewards_GN, scored_GN) & scored_GN, rewards_GN - mean_G1, 0.0)


def leave_one_out(rewards_GN: torch.Tensor, scored_GN: torch.Tensor) -> torch.Tensor:
    """RLOO: each reward less the mean of the group's others (arXiv 2402.14740, eq. 8), which is independent of it."""
    n_G1 = scored_GN.sum(1, keepdim=True)
    return centred(rewards_GN, scored_GN) * torch.where(n_G1 > 1, n_G1 / (n_G1 - 1).clamp(min=1), 0.0)


def global_normalised(rewards_GN: torch.Tensor, scored_GN: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """REINFORCE++: each reward less the mean of all, over the standard deviation of all (arXiv 2501.03262, §3).

    A group whose rewards are all equal still teaches here: it is better or worse than the others.
    """
    if std <= 0:
        return torch.zeros_like(rewards_GN)
    return torch.where(scored_GN, (rewards_GN - mean) / std, 0.0)


def pass_at_k(rewards_GN: torch.Tensor, scored_GN: torch.Tensor, k: int) -> torch.Tensor:
    """Advantage of a completion where the reward is that of the best of k, in closed form over all C(N, k) subsets of
    the group (Chen et al., "Pass@k training", arXiv 2508.10751, eq. 12 to 15).

    With c correct of N, a subset's reward is 1 unless it has none of them: R = 1 − C(N−c, k)/C(N, k), σ = √(R(1−R)).
    A correct completion's subsets all have reward 1: (1 − R)/σ. Of a wrong one's, C(N−c−1, k−1)/C(N−1, k−1) have none:
    (1 − R − that)/σ. A reward above 0 counts as correct. Fewer than k scored: the group says nothing.
    """
    correct_GN = (rewards_GN > 0) & scored_GN
    n_G1 = scored_GN.sum(1, keepdim=True).to(rewards_GN.dtype)
    wrong_G1 = n_G1 - correct_GN.sum(1, keepdim=True)
    none_G1 = _without(wrong_G1, n_G1, k)
    sigma_G1 = (none_G1 * (1.0 - none_G1)).sqrt()
    wrong_A_G1 = none_G1 - _without(wrong_G1 - 1, n_G1 - 1, k - 1)
    says_G1 = (n_G1 >= k) & (sigma_G1 > 0)
    scaled_GN = torch.where(correct_GN, none_G1, wrong_A_G1) / torch.where(says_G1, sigma_G1, 1.0)
    return torch.where(says_G1 & scored_GN, scaled_GN, 0.0)


def _without(wrong_G1: torch.Tensor, n_G1: torch.Tensor, k: int) -> torch.Tensor:
    """C(wrong, k) / C(n, k): the chance that k of n, drawn without replacement, are all among the wrong ones."""
    found_G1 = torch.ones_like(n_G1)
    for i in range(k):
        found_G1 = found_G1 * ((wrong_G1 - i).clamp(min=0) / (n_G1 - i).clamp(min=1))
    return found_G1


def _differ(rewards_GN: torch.Tensor, scored_GN: torch.Tensor) -> torch.Tensor:
    """Whether a group's scored rewards differ [G, 1]."""
    infinity = float("inf")
    high_G1 = torch.where(scored_GN, rewards_GN, -infinity).amax(1, keepdim=True)
    low_G1 = torch.where(scored_GN, rewards_GN, infinity).amin(1, keepdim=True)
    return high_G1 > low_G1
