"""How many samples a problem gets: the same for all, or more and more while it is undecided.

A design is a list of ends e_0 < e_1 < ... and a rule to stop. Every (policy, problem) gets its samples up to e_0, and
from e_i up to e_{i+1} where fewer than m of its first e_i are CORRECT. Whether it does depends on nothing but those
verdicts, pair by pair: not on timing, on shards, on when the run was stopped, or on what was drawn before.

Whether there is a correct sample among the first k stays known at every k up to the last end, whatever m >= 1: where
sampling stopped, there is one. (Unbiased: the event "first hit < k" does not depend on samples after the hit.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from leash_ray.sampling.settings import SamplingConfig


@dataclass(frozen=True, slots=True)
class Design:
    """Ends of the rounds, ascending, and the number of CORRECT samples that decides a problem; None: never."""

    ends: tuple[int, ...]
    stop_after_correct: int | None = None

    @property
    def most(self) -> int:
        """Samples of a problem that is never decided."""
        return self.ends[-1]

    def next_end(self, n_held: int, correct: Sequence[int]) -> int | None:
        """Up to where one problem is drawn next; None: it has all its samples.

        Args:
            n_held: samples 0 .. n_held-1 are there.
            correct: indices of the CORRECT ones among them, ascending; the first ``stop_after_correct`` suffice.
        """
        for end in self.ends:
            if n_held < end:
                return end
            m = self.stop_after_correct
            if m is not None and len(correct) >= m and correct[m - 1] < end:
                return None
        return None


def design_of(config: SamplingConfig) -> Design:
    """The design that a config asks for."""
    budget = config.budget
    if budget is None:
        assert config.n is not None
        return Design((config.n,))
    if budget.stop_after_correct is None:
        return Design((budget.max,))
    ends, end = [], budget.first
    while end < budget.max:
        ends.append(end)
        end *= budget.grow
    least = max(budget.first, budget.all_reach or 0)
    return Design((least, *(e for e in (*ends, budget.max) if e > least)), budget.stop_after_correct)
