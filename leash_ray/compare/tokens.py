"""What a run spent, in tokens."""

from typing import Any

from leash_ray.compare.runs import ComparedRun
from leash_ray.monitor import read_metrics
from leash_ray.report.training import training_series


def tokens_json(run: ComparedRun) -> dict[str, float | None]:
    """``training``: those that the steps learnt from, rollouts in RLVR and targets in SFT; ``base`` and ``trained``:
    those of the completions that were measured. None: not recorded, or not trained here."""
    steps = training_series(read_metrics(run.path, "train"), "n_tokens")
    return {
        "training": sum(n for _, n in steps) if steps else None,
        **{role: _measuring(run.policy(role)) for role in ("base", "trained")},
    }


def _measuring(policy: Any) -> float | None:
    length = policy.get("mean_n_tokens")
    return None if length is None else round(length * policy["n_completions"])
