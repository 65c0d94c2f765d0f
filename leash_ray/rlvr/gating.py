"""How much each problem may move the policy, from what training has seen of it."""

from collections.abc import Sequence
from math import prod

import torch

from leash_ray.rlvr.book import Record
from leash_ray.rlvr.sections import AdvantageConfig


def gate(records: Sequence[Record], config: AdvantageConfig) -> torch.Tensor:
    """Weight of each group's advantages [G], in [0, 1], from the records of the steps before this one.

    Both are of Yuan et al., "Understanding diversity collapse in RLVR via the lens of overtraining"
    (arXiv 2606.15455): once pass@k of a problem is near 1, updates no longer add to what the model can solve, and
    still concentrate the policy on what it draws.

    - ``unsolved``: 1 where no completion was correct so far, else 0: a problem's first successes are learnt from, those
      of all later steps are not.
    - ``boundary``: the estimated marginal contribution of the problem to pass@k: d/dp [1 − (1 − p)^k] = k(1 − p)^(k−1)
      over k, its largest value. p is not known, so its mean is taken over the posterior Beta(c + ½, n − c + ½) that c
      correct of n completions leave of Jeffreys' prior: ∏ (n − c + ½ + i)/(n + 1 + i), i = 0 … k − 2, with
      k = ``advantage.k``. (The paper's gate is Bayesian too; prior and normalisation here are our own choice.)

    Assumptions: all of a problem's completions so far count alike, also those of the policy as it was long ago. Groups
    that are weighed down still count in the loss's average.
    """
    if config.gate == "unsolved":
        return torch.tensor([float(r.c == 0) for r in records])
    if config.gate == "boundary":
        return torch.tensor([_mean_power_of_misses(r.n, r.c, config.k - 1) for r in records])
    return torch.ones(len(records))


def _mean_power_of_misses(n: int, c: int, power: int) -> float:
    """E[(1 − p)^power] of p ~ Beta(c + ½, n − c + ½)."""
    return prod((n - c + 0.5 + i) / (n + 1.0 + i) for i in range(power))
