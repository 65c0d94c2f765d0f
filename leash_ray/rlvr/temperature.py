"""A temperature of each problem's own: hotter where all its completions fail or all succeed.

Such a group teaches nothing. At a higher temperature a problem that always fails may have its first success, and one
that always succeeds its failures, and other right answers. Sampler and loss have the same temperature, so completions
stay the policy's own, of the distribution that the temperature names.
"""

import math
from collections.abc import Mapping

from leash_ray.rlvr.sections import TemperatureByProblem


def next_heat(heat: int, n: int, c: int, most: int) -> int:
    """Heat of a problem after a turn: one more where its ``n`` scored completions, ``c`` of them correct, were all
    wrong or all right; else one less. From 0 to ``most``; fewer than two completions say nothing."""
    if n < 2:
        return heat
    return min(most, heat + 1) if c in (0, n) else max(0, heat - 1)


def heated(base: float, heat: int, config: TemperatureByProblem) -> float:
    """Temperature of a problem: ``rate`` above ``base`` for each unit of heat, at most ``high``."""
    return round(max(base, min(config.high, base + config.rate * heat)), 6)


class Temperatures:
    """Each problem's heat: the same on every worker, and kept in checkpoints."""

    def __init__(self, config: TemperatureByProblem | None) -> None:
        self._config = config
        self._heat: dict[str, int] = {}

    def of(self, problem_id: str, base: float) -> float:
        """Where ``base`` is the step's temperature."""
        return heated(base, self._heat.get(problem_id, 0), self._config) if self._config else base

    def add(self, seen: Mapping[str, tuple[int, int]], base: float) -> None:
        """Take note of the (scored, correct) completions of a step at ``base``."""
        if self._config is None:
            return
        most = math.ceil(round((self._config.high - base) / self._config.rate, 6))
        for problem_id, (n, c) in seen.items():
            self._heat[problem_id] = next_heat(self._heat.get(problem_id, 0), n, c, max(0, most))

    def state(self) -> dict[str, int]:
        """As JSON."""
        return {problem_id: heat for problem_id, heat in self._heat.items() if heat}

    def restore(self, state: Mapping[str, int]) -> None:
        self._heat = dict(state)
