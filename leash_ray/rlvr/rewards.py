"""What a completion is worth, before advantages. Shapes: G groups, N completions of each."""

from collections.abc import Sequence

import torch

from leash_ray.rlvr.sections import OverlongConfig
from leash_ray.types import Verdict
from leash_ray.verify import Verification


def rewards_of(verifications: Sequence[Verification], group_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(rewards_GN, scored_GN): 1 for CORRECT, 0 for any other verdict; an ERROR was not scored: it is neither."""
    correct = torch.tensor([float(v.verdict == Verdict.CORRECT) for v in verifications])
    scored = torch.tensor([v.verdict != Verdict.ERROR for v in verifications], dtype=torch.bool)
    return correct.view(-1, group_size), scored.view(-1, group_size)


def overlong_penalty(lengths_GN: torch.Tensor, max_tokens: int, overlong: OverlongConfig) -> torch.Tensor:
    """What is taken from the reward for length (DAPO, arXiv 2503.14476, eq. 13).

    0 up to max_tokens − buffer, then linearly more, ``penalty`` at max_tokens. No buffer: no penalty.
    """
    if not overlong.buffer:
        return torch.zeros_like(lengths_GN, dtype=torch.float32)
    into_GN = (lengths_GN.float() - (max_tokens - overlong.buffer)) / overlong.buffer
    return overlong.penalty * into_GN.clamp(0.0, 1.0)


def rarity_discount(rewards_GN: torch.Tensor, logprob_sums_GN: torch.Tensor, rarity: float) -> torch.Tensor:
    """Rewards of correct completions, less the more likely they are (unlikeliness reward, He et al., "Rewarding the
    unlikely", arXiv 2506.02355): r · (1 − β · (N − rank)/N), where the likeliest of the group, correct or not, has rank
    0. Equally likely ones, such as copies of one another, share their mean rank.

    Args:
        logprob_sums_GN: ln p of each whole completion under the policy that sampled it.
        rarity: β.
    """
    n = rewards_GN.shape[1]
    theirs_GNN, own_GNN = logprob_sums_GN[:, None, :], logprob_sums_GN[:, :, None]
    rank_GN = (theirs_GNN > own_GNN).sum(2) + ((theirs_GNN == own_GNN).sum(2) - 1) / 2
    return torch.where(rewards_GN > 0, rewards_GN * (1.0 - rarity * (n - rank_GN) / n), rewards_GN)
