"""Advantages from rewards of groups. Shapes: G groups (prompts), N completions of each.

All take ``rewards_GN`` and ``scored_GN`` (bool: False where the verifier failed), and give ``advantages_GN`` that are
exactly 0 where nothing was scored and, where a group is the baseline, if its rewards say nothing. A scored reward that
is no number makes the advantages none of all that are compared with it: it is not hidden.
"""

from math import comb

import torch

from leash_ray.rlvr.sections import AdvantageConfig


def advantages(
    rewards_GN: torch.Tensor,
    scored_GN: torch.Tensor,
    config: AdvantageConfig,
    moments: tuple[float, float] | None = None,
) -> torch.Tensor:
    """As the config says, with its weights of positive and negative ones (positive and negative sample reinforcement:
    Zhu et al., arXiv 2506.01347, which has them of ``signed``).

    Args:
        moments: mean and standard deviation of the rewards of the whole step, over all workers (``reinforce_pp``).
    """
    if config.kind == "pass_at_k":
        found_GN = best_of_k(rewards_GN, scored_GN, config.k)
    elif config.kind == "reinforce_pp":
        assert moments is not None
        found_GN = global_normalised(rewards_GN, scored_GN, *moments)
    else:
        found_GN = _OF_GROUPS[config.kind](rewards_GN, scored_GN)
    return torch.where(found_GN > 0, config.positive * found_GN, config.negative * found_GN)


def group_normalised(rewards_GN: torch.Tensor, scored_GN: torch.Tensor) -> torch.Tensor:
    """GRPO: each reward less its group's mean, over its group's standard deviation (DeepSeekMath,
    arXiv 2402.03300, §4.1.2).

    The standard deviation is the population's (divides by N), as in the paper's ``std(r)`` over the group itself.
    """
    centred_GN = centred(rewards_GN, scored_GN)
    n_G1 = scored_GN.sum(1, keepdim=True).clamp(min=1)
    std_G1 = ((centred_GN**2).sum(1, keepdim=True) / n_G1).sqrt()
    return centred_GN / torch.where(std_G1 == 0, 1.0, std_G1)


def centred(rewards_GN: torch.Tensor, scored_GN: torch.Tensor) -> torch.Tensor:
    """Dr.GRPO: each reward less its group's mean (arXiv 2503.20783, §3.2): dividing by the standard deviation weighs
    the easiest and the hardest problems most."""
    n_G1 = scored_GN.sum(1, keepdim=True).clamp(min=1)
    mean_G1 = torch.where(scored_GN, rewards_GN, 0.0).sum(1, keepdim=True) / n_G1
    # Not left to the mean: that of equal numbers is not always that number.
    return torch.where(_differ(rewards_GN, scored_GN) & scored_GN, rewards_GN - mean_G1, 0.0)


def leave_one_out(rewards_GN: torch.Tensor, scored_GN: torch.Tensor) -> torch.Tensor:
    """RLOO: each reward less the mean of the group's others, which is independent of it (Kool et al. 2019; Ahmadian et
    al., arXiv 2402.14740, §3). Alone in its group, a completion has nothing to be compared with: 0."""
    n_G1 = scored_GN.sum(1, keepdim=True)
    return centred(rewards_GN, scored_GN) * (n_G1 / (n_G1 - 1).clamp(min=1))


def global_normalised(rewards_GN: torch.Tensor, scored_GN: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """REINFORCE++, without group baseline: each reward less the mean of all the step's completions, over their
    standard deviation (arXiv 2501.03262).

    A group whose rewards are all equal still teaches here: it is better or worse than the others. ``std`` 0: nothing
    differs from anything, all are 0.
    """
    if std == 0:
        return torch.zeros_like(rewards_GN)
    return torch.where(scored_GN, (rewards_GN - mean) / std, 0.0)


def signed(rewards_GN: torch.Tensor, scored_GN: torch.Tensor) -> torch.Tensor:
    """Without a baseline: 1 for a reward of 1, −1 for 0 (REINFORCE as in Zhu et al., arXiv 2506.01347, §2). A group
    teaches also where all of it is right, or wrong."""
    return torch.where(scored_GN, 2.0 * rewards_GN - 1.0, 0.0)


def best_of_k(rewards_GN: torch.Tensor, scored_GN: torch.Tensor, k: int) -> torch.Tensor:
    """Pass@k training: a set of k completions is worth its best reward, and a completion's advantage is the mean worth
    of the sets that have it, less that of all C(N, k) sets, over the standard deviation over sets (Chen et al.,
    arXiv 2508.10751, §2).

    For rewards of 0 and 1 these are the paper's closed forms: with c correct of N and R = 1 − C(N−c, k)/C(N, k),
    (1 − R)/√(R(1−R)) where correct, else (1 − R − C(N−c−1, k−1)/C(N−1, k−1))/√(R(1−R)). Any other rewards (with
    penalties, say) are ranked: with the i-th from below as best there are C(i−1, k−1) sets. k = 1 is GRPO.

    A group says nothing where all sets are worth the same: fewer wrong ones than k, or all alike. So does one with
    fewer than k scored.
    """
    found_GN = torch.zeros_like(rewards_GN)
    for found_N, rewards_N, scored_N in zip(found_GN, rewards_GN, scored_GN, strict=True):
        if int(scored_N.sum()) >= k:
            found_N[scored_N] = _best_of_k(rewards_N[scored_N].double(), k).to(found_N.dtype)
    return found_GN


def _best_of_k(rewards_N: torch.Tensor, k: int) -> torch.Tensor:
    n = len(rewards_N)
    order = torch.argsort(rewards_N)
    sorted_N = rewards_N[order]
    if sorted_N[-1] <= sorted_N[k - 1]:  # the worst set is worth as much as the best
        return torch.zeros_like(rewards_N)
    share_N = sorted_N.new_tensor([comb(i, k - 1) / comb(n, k) for i in range(n)])  # of sets, with i as their best
    mean = share_N @ sorted_N
    std = (share_N @ (sorted_N - mean) ** 2).sqrt()
    # Sets that have i: i is the best of C(i, k-1) of them; a better one, j, is the best of C(j-1, k-2).
    n_own = comb(n - 1, k - 1)
    as_best_N = sorted_N.new_tensor([comb(i, k - 1) / n_own for i in range(n)])
    below_N = sorted_N.new_tensor([comb(j - 1, k - 2) / n_own if j and k > 1 else 0.0 for j in range(n)])
    better_N = (below_N * sorted_N).flip(0).cumsum(0).flip(0) - below_N * sorted_N
    found_N = torch.empty_like(rewards_N)
    found_N[order] = (as_best_N * sorted_N + better_N - mean) / std
    return found_N


_OF_GROUPS = {"grpo": group_normalised, "dr_grpo": centred, "rloo": leave_one_out, "signed": signed}


def _differ(rewards_GN: torch.Tensor, scored_GN: torch.Tensor) -> torch.Tensor:
    """Whether a group's scored rewards differ [G, 1]; also where one is no number."""
    infinity = float("inf")
    high_G1 = torch.where(scored_GN, rewards_GN, -infinity).amax(1, keepdim=True)
    low_G1 = torch.where(scored_GN, rewards_GN, infinity).amin(1, keepdim=True)
    return ~(high_G1 <= low_G1)
