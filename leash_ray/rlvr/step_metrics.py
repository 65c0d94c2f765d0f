"""Rates and memory of a training step, beside what the objective and the learner tell."""

import math
from collections.abc import Mapping


def rates(metrics: Mapping[str, float]) -> dict[str, float]:
    """What follows from a step's counts and seconds; only of what was done.

    Args:
        metrics: of all workers; seconds are those of the whole step, or a mean over workers.
    """
    per_s = {
        "tokens_per_s": ("n_tokens", "step_s"),
        "rollout_tokens_per_s": ("rollout_tokens", "rollout_s"),
        "verify_completions_per_s": ("rollout_completions", "verify_s"),
        "update_tokens_per_s": ("n_tokens", "update_s"),
        "sync_share": ("sync_s", "step_s"),
    }
    return {
        name: metrics[count] / metrics[seconds] if metrics[seconds] else math.nan
        for name, (count, seconds) in per_s.items()
        if count in metrics and seconds in metrics
    }


def memory() -> dict[str, float]:
    """Bytes: what this process holds, what its node uses in all, and, where torch uses a GPU, the most that it has held
    there since the last call."""
    import psutil
    import torch

    found = {
        "memory_trainer_bytes": float(psutil.Process().memory_info().rss),
        "memory_node_bytes": float(psutil.virtual_memory().used),
    }
    if torch.cuda.is_initialized():
        found["memory_gpu_bytes"] = float(torch.cuda.max_memory_allocated())
        torch.cuda.reset_peak_memory_stats()
    return found
