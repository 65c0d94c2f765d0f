"""Many checkpoints against one base: support at each step, and when each problem was lost and came back.

Source: Wu et al., "The Invisible Leash" (arXiv 2507.14843), table 4: P, E, S, O and their metrics along training.

Assumption: "found" means the same at every step: the same k for the base and all checkpoints, over the same problems.
At one k a problem near the edge of reach comes and goes by chance alone; base against itself (the split-half floor)
says how often.

Degenerate cases: no steps give empty tables; a problem that was never lost has step -1, as has one that never came
back.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leash_ray.stats.support import support_metrics

_STEP = re.compile(r"@(\d+)\Z", re.ASCII)

NEVER = -1
"""In place of a step."""


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """When problems were away from where the base had them: lost (base found them, a checkpoint did not) or gained
    (a checkpoint found what the base had not). All [N]."""

    ever: NDArray[np.bool_]
    """Away at some step."""
    first: NDArray[np.int64]
    """First step away; NEVER."""
    back: NDArray[np.int64]
    """First step after ``first`` at which it was as with the base again; NEVER."""
    at_last: NDArray[np.bool_]
    """Away at the last step (also where it had come back in between)."""
    spells: NDArray[np.int64]
    """How many times it went away."""

    def counts(self) -> dict[str, int]:
        """Numbers of problems: ever away, came back at least once, away at the last step, went away more than once."""
        return {
            "ever": int(self.ever.sum()),
            "came_back": int(np.sum(self.back != NEVER)),
            "at_last": int(self.at_last.sum()),
            "more_than_once": int(np.sum(self.spells > 1)),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Support along training."""

    steps: NDArray[np.int64]
    """[S], rising."""
    counts: dict[str, NDArray[np.int64]]
    """P, E, S, O, each [S]."""
    metrics: dict[str, NDArray[np.float64]]
    """SRR, NDR, SDS, NSCR, each [S]; NaN where undefined."""
    lost: History
    gained: History


def step_of(policy: str) -> int | None:
    """The step in a policy id such as ``trained@200``; None where it has none."""
    match = _STEP.search(policy)
    return int(match[1]) if match else None


def series(steps: ArrayLike, found_base: ArrayLike, found: ArrayLike) -> Series:
    """Support at every step, and the history of every problem.

    Args:
        steps: of the checkpoints, [S], rising.
        found_base: whether the base found each problem, [N].
        found: whether each checkpoint did, [S, N].

    Raises:
        ValueError: shapes that do not fit, or steps that do not rise.
    """
    steps_S = np.asarray(steps, dtype=np.int64)
    base_N, found_SN = np.asarray(found_base, dtype=bool), np.asarray(found, dtype=bool)
    if base_N.ndim != 1 or steps_S.ndim != 1 or found_SN.shape != (len(steps_S), len(base_N)):
        raise ValueError(
            f"give one row of flags per step and one flag per problem of the base: found {found_SN.shape}, "
            f"steps {steps_S.shape}, found_base {base_N.shape}"
        )
    if np.any(np.diff(steps_S) <= 0):
        raise ValueError("sort the checkpoints by step, each step once")
    if np.any(steps_S < 0):
        raise ValueError("steps count from 0")
    lost_SN, gained_SN = base_N & ~found_SN, ~base_N & found_SN
    counts = {
        "P": np.sum(base_N & found_SN, axis=1),
        "E": gained_SN.sum(axis=1),
        "S": lost_SN.sum(axis=1),
        "O": np.sum(~base_N & ~found_SN, axis=1),
    }
    metrics = support_metrics(counts["P"], counts["E"], counts["S"])
    return Series(steps_S, counts, metrics, _history(steps_S, lost_SN), _history(steps_S, gained_SN))


def _history(steps: NDArray[np.int64], away_SN: NDArray[np.bool_]) -> History:
    n_steps, n_problems = away_SN.shape
    if not n_steps:
        nothing = np.zeros(n_problems, dtype=bool)
        never = np.full(n_problems, NEVER)
        return History(nothing, never, never.copy(), nothing.copy(), np.zeros(n_problems, dtype=np.int64))
    ever_N, first_N = np.asarray(away_SN.any(axis=0)), away_SN.argmax(axis=0)
    back_SN = ~away_SN & (np.arange(n_steps)[:, None] > first_N)
    came_back_N = ever_N & back_SN.any(axis=0)
    return History(
        ever=ever_N,
        first=np.where(ever_N, steps[first_N], NEVER),
        back=np.where(came_back_N, steps[back_SN.argmax(axis=0)], NEVER),
        at_last=away_SN[-1],
        spells=away_SN[0].astype(np.int64) + np.sum(away_SN[1:] & ~away_SN[:-1], axis=0),
    )
