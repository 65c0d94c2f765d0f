"""How to measure, and what is known of the problems that are measured."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from leash_ray.errors import UsageError
from leash_ray.measure.pair import Ints
from leash_ray.measure.settings import MeasureConfig
from leash_ray.stats.bootstrap import Resampling
from leash_ray.types import GUESS_RATE, Problem


@dataclass(frozen=True, slots=True)
class Measuring:
    """Settings and what is known of the problems."""

    zeta: float = 0.05
    config: MeasureConfig = field(default_factory=MeasureConfig)
    clusters: Mapping[str, str] | None = None
    """problem id -> its cluster; None: each problem is its own."""
    guess: Mapping[str, float] | None = None
    """problem id -> chance that a guess is right, of the problems of which it is known."""
    by: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Key of the problems' metadata -> problem id -> its value: groups that are measured apart."""

    def __post_init__(self) -> None:
        if not 0 < self.zeta < 1:
            raise UsageError(f"zeta must lie strictly between 0 and 1, such as 0.05; got {self.zeta}")

    def resampling(self, clusters: Ints | None = None) -> Resampling:
        return Resampling(self.config.bootstrap, self.config.confidence, self.config.seed, clusters)


def measuring_of(config: MeasureConfig, zeta: float, problems: Iterable[Problem]) -> Measuring:
    """Settings applied to a run's problems.

    Raises:
        UsageError: no problem has the metadata that they are to be clustered by, or guessing is to be taken off and
            no problem's guess rate is known.
    """
    problems = list(problems)
    clusters = _clusters(config.cluster_by, problems) if config.cluster_by else None
    rates = {p.id: rate for p in problems if not math.isnan(rate := guess_rate(p, config))}
    if config.above_guessing and not rates:
        raise UsageError(
            "measure.above_guessing needs guess rates and no problem's is known: give measure.guess_rate, a number or "
            "one by task"
        )
    return Measuring(zeta, config, clusters, rates or None)


def groups_by(keys: Iterable[str], problems: Iterable[Problem]) -> dict[str, dict[str, str]]:
    """Problems by the values of their metadata (``task``: their task).

    Raises:
        UsageError: no problem has a key.
    """
    problems = list(problems)
    found = {}
    for key in keys:
        of = {p.id: str(p.metadata[key]) for p in problems if key in p.metadata}
        if key == "task":
            of = {p.id: p.task for p in problems}
        elif not of:
            known = ", ".join(sorted({k for p in problems for k in p.metadata})) or "none"
            raise UsageError(f"--by {key}: no problem's metadata has it; its keys: {known}, and task")
        found[key] = of
    return found


def guess_rate(problem: Problem, config: MeasureConfig) -> float:
    """Chance that a blind guess is right; NaN: unknown. The config's word goes before the task's, and that before the
    verifier's."""
    from leash_ray.verify.kinds import kind_of

    given = config.guess_rate.get(problem.task) if isinstance(config.guess_rate, dict) else config.guess_rate
    if given is not None:
        return given
    if isinstance(told := problem.metadata.get(GUESS_RATE), float):
        return told
    if not problem.verifier:
        return math.nan
    known = kind_of(problem.verifier).guess_rate(problem.reference)
    return math.nan if known is None else known


def _clusters(key: str, problems: list[Problem]) -> dict[str, str]:
    found = {p.id: str(p.metadata[key]) for p in problems if key in p.metadata}
    if not found:
        keys = ", ".join(sorted({k for p in problems for k in p.metadata})) or "none"
        raise UsageError(f"measure.cluster_by is {key!r}, which no problem's metadata has; its keys: {keys}")
    # A problem without the key is a cluster of its own, and its id is no other cluster's name.
    return {p.id: found.get(p.id, f"problem {p.id}") for p in problems}
