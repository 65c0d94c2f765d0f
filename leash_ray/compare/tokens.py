"""What a run spent, in tokens."""

from typing import Any

from leash_ray.compare.runs import ComparedRun
from leash_ray.monitor import read_metrics
from leash_ray.report.training import training_series

_LOGGED = {"rollouts": "rollout_tokens", "training": "n_tokens"}


def tokens_json(run: ComparedRun) -> dict[str, float | None]:
    """``rollouts``: those sampled in training; ``training``: those that the steps learnt from, rollouts in RLVR and
    targets in SFT; ``base`` and ``trained``: those of the completions that were measured. None: not recorded, or not
    trained here."""
    steps = read_metrics(run.path, "train")
    logged = {name: training_series(steps, key) for name, key in _LOGGED.items()}
    return {
        **{name: sum(n for _, n in series) if series else None for name, series in logged.items()},
        **{role: _measuring(run.policy(role)) for role in ("base", "trained")},
    }


def _measuring(policy: Any) -> float | None:
    length = policy.get("mean_n_tokens")
    return None if length is None else round(length * policy["n_completions"])
