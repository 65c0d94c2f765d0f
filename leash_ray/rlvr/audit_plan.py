"""What the support audit asks while training: which problems, how many completions of each, against whom.

The base of an audit is what training starts from, version 0 of the policy that is trained, asked as that policy is: so
what an audit shows is what training did, and no difference of prompts or engines. Its completions are drawn once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leash_ray.config import RunConfig
from leash_ray.errors import UsageError
from leash_ray.rlvr.sections import AuditConfig
from leash_ray.sampling.budget import Design, design_of
from leash_ray.sampling.origin import origin_of
from leash_ray.sampling.settings import BudgetConfig, SamplingConfig
from leash_ray.types import Problem

FOLDER = "audits"
STAGE = "audit"
"""Of the metrics."""
_STREAM = 0x61756469
"""Keeps the choice of problems apart from what else the run's seed decides."""


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """The same for every audit of a run."""

    config: AuditConfig
    problems: tuple[Problem, ...]
    """As the trained policy is asked them."""
    base: str
    trained: str
    """Policy ids; a checkpoint is ``trained@step``."""
    sampling: SamplingConfig
    """The run's own: an audit samples as the run does after training."""
    origin: Mapping[str, Any]
    """Of the base's completions, without their prompts."""
    shared: int = 0
    """The base's first samples of each problem that the run would draw just so itself; they become its own, too."""
    zeta: float = 0.05
    confidence: float = 0.95

    @property
    def design(self) -> Design:
        """Rounds up to ``first``, ``4 first``, ``16 first`` ... ``n`` samples, until a problem is solved."""
        budget = BudgetConfig(first=self.config.first, max=self.config.n)
        return design_of(SamplingConfig(n=None, budget=budget))

    def policy_at(self, step: int) -> str:
        """Id of the policy after ``step`` steps."""
        return f"{self.trained}@{step}"

    def origin_at(self, step: int) -> dict[str, Any]:
        """Of the completions of the policy after ``step`` steps."""
        return {**self.origin, "version": step}

    def is_due(self, step: int, steps: int) -> bool:
        """Whether there is an audit after ``step`` of ``steps`` steps: every so many, and after the last one."""
        return step % self.config.every == 0 or step == steps


def plan_of(config: RunConfig, asked: Mapping[str, Sequence[Problem]], models: Mapping[str, str]) -> AuditPlan | None:
    """The plan that a config asks for; None: it asks for no audits.

    Args:
        asked: policy -> the measured problems as it is asked them.
        models: where each policy starts.

    Raises:
        UsageError: the completions of a problem would all be equal.
    """
    if config.train is None or config.train.audit is None:
        return None
    audit, sampling, trained = config.train.audit, config.sampling, config.trained
    if sampling.temperature == 0:
        raise UsageError(
            "train.audit draws several completions of a problem, which are all equal at sampling.temperature 0: set it "
            "above 0, or leave train.audit out"
        )
    origins = {
        name: origin_of(sampling.params, config.seed, config.policies[name], models[name])
        for name in (config.base, trained)
    }
    is_own = origins[trained] == origins[config.base] and asked[trained] == asked[config.base]
    return AuditPlan(
        config=audit,
        problems=chosen(asked[trained], audit.problems, config.seed),
        base=config.base,
        trained=trained,
        sampling=sampling,
        origin=origins[trained],
        # Of an adaptive budget it is not known beforehand which samples the run will want.
        shared=(sampling.n or 0) if is_own else 0,
        zeta=config.zeta,
        confidence=config.measure.confidence,
    )


def chosen(problems: Sequence[Problem], n: int | None, seed: int) -> tuple[Problem, ...]:
    """``n`` of the problems (None, or more than there are: all), in their order: of one seed always the same ones."""
    if n is None or n >= len(problems):
        return tuple(problems)
    places = np.random.default_rng([seed, _STREAM]).choice(len(problems), n, replace=False)
    return tuple(problems[i] for i in sorted(places.tolist()))


def completions_folder(run_path: Path) -> Path:
    """The audits' own completions table."""
    return run_path / FOLDER / "completions"


def result_path(run_path: Path, step: int) -> Path:
    """What the audit after ``step`` steps found."""
    return run_path / FOLDER / f"step-{step:06d}.json"
