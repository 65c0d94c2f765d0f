"""Checkpoints ``trained@step`` against one base: support along training, and when problems were lost and came back."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from leash_ray.measure.json import number
from leash_ray.measure.pair import within
from leash_ray.reducers import Reduced
from leash_ray.stats.series import NEVER, History, series, step_of


def checkpoints_of(policies: Sequence[str], trained: str) -> list[str]:
    """The policies that are checkpoints of ``trained`` (itself with or without a step), by step."""
    family = trained.partition("@")[0]
    steps = {p: step for p in policies if p.partition("@")[0] == family and (step := step_of(p)) is not None}
    return sorted(steps, key=lambda p: steps[p])


def found_by(reduced: Reduced, policy: str, problems: Sequence[str], k: int) -> Any:
    """Whether a policy found each problem among its first k scored samples, [N]; and its scored samples, [N]."""
    import polars as pl

    rows = pl.DataFrame({"problem_id": problems}).join(
        reduced.problems.filter(policy=policy), on="problem_id", how="left", maintain_order="left"
    )
    before = rows["scored_before_correct"].fill_null(-1).to_numpy().astype(np.int64)
    return within(before, k), rows["n"].fill_null(0).to_numpy().astype(np.int64)


def series_json(reduced: Reduced, base: str, checkpoints: Sequence[str]) -> dict[str, Any] | None:
    """Support at every step, at one k and over the problems that the base and all checkpoints have scored samples of;
    None where there are fewer than two checkpoints, or no such problems."""
    if len(checkpoints) < 2:
        return None
    names = sorted(set(reduced.problems.filter(policy=base)["problem_id"]))
    counts = np.stack([found_by(reduced, p, names, 0)[1] for p in (base, *checkpoints)])
    shared = counts.min(axis=0) > 0
    if not shared.any():
        return None
    problems = [name for name, keep in zip(names, shared, strict=True) if keep]
    k = int(counts[:, shared].min())
    found_base = found_by(reduced, base, problems, k)[0]
    found = np.stack([found_by(reduced, p, problems, k)[0] for p in checkpoints])
    steps = [step_of(p) for p in checkpoints]
    of = series([s for s in steps if s is not None], found_base, found)
    return {
        "n_problems": len(problems),
        "k": k,
        "steps": of.steps.tolist(),
        "policies": list(checkpoints),
        "support": {
            **{name: counts.tolist() for name, counts in of.counts.items()},
            **{name: [number(v) for v in values] for name, values in of.metrics.items()},
        },
        "lost": _history_json(of.lost, problems),
        "gained": _history_json(of.gained, problems),
    }


def _history_json(history: History, problems: Sequence[str]) -> dict[str, Any]:
    away = np.flatnonzero(history.ever)
    return {
        **history.counts(),
        "problems": [
            {
                "problem_id": problems[i],
                "first": int(history.first[i]),
                "back": None if history.back[i] == NEVER else int(history.back[i]),
                "at_last": bool(history.at_last[i]),
                "spells": int(history.spells[i]),
            }
            for i in away
        ],
    }
