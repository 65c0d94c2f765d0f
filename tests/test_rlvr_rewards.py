"""What a completion is worth: verdicts, and what length and likelihood take from it."""

import torch

from leash_ray.rlvr.rewards import rewards_of
from leash_ray.types import Verdict
from leash_ray.verify import Verification

C, W, E = Verdict.CORRECT, Verdict.INCORRECT, Verdict.ERROR


def test_rewards_keep_groups_apart() -> None:
    verdicts = (C, E, C, W, Verdict.TRUNCATED, Verdict.NO_ANSWER)
    rewards_GN, scored_GN = rewards_of([Verification(v, None, None) for v in verdicts], 3)
    assert rewards_GN.tolist() == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    assert scored_GN.tolist() == [[True, False, True], [True, True, True]]
    assert rewards_GN.dtype == torch.float32
