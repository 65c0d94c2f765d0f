"""How much each problem may move the policy, from what training has seen of it."""

from collections.abc import Sequence

import torch

from leash_ray.rlvr.book import Record
from leash_ray.rlvr.settings import AdvantageConfig


def gate(records: Sequence[Record], config: AdvantageConfig) -> torch.Tensor:
    """Weight of each group [G], from the records before this step.

    - ``unsolved``: 1 where no completion was correct so far, else 0: the first success is learnt from, no later one.
    - ``boundary``: the marginal contribution to pass@k, d/dp [1 − (1 − p)^k] = k(1 − p)^(k−1), over its largest value
      k: what raises p is worth much where the problem is out of reach, and nothing where k samples find it anyway
      (arXiv 2606.15455). p is (c + ½)/(n + 1), and k is ``advantage.k``.
    """
    if config.gate == "unsolved":
        return torch.tensor([float(r.c == 0) for r in records])
    if config.gate == "boundary":
        return torch.tensor([(1.0 - (r.c + 0.5) / (r.n + 1.0)) ** (config.k - 1) if r.n else 1.0 for r in records])
    return torch.ones(len(records))
