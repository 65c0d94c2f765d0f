"""Token entropy up or down against answer entropy up or down: the paper's decoupling, per task.

Source: Wu et al., "The Invisible Leash" (arXiv 2507.14843), §5: training can make a policy less certain at each token
and still have it end in fewer different answers. One problem is one point; the table counts in which quadrant it falls.

What to give: per problem the change (trained minus base) of the mean over sequences of the mean over steps of the exact
full-vocabulary entropy, or of the mean surprisal of sampled tokens (at temperature 1 without truncation an unbiased
companion; otherwise it is another quantity), and the change of an answer entropy (stats/entropy.py, the same estimator
on both sides). Only signs count, so nats and bits give the same table.

Assumption: none on the distribution; a sign says nothing of size, and the plug-in entropy's bias cancels only where
both policies have about as many samples.

Degenerate cases: a change of exactly 0 is neither up nor down, and such problems are counted apart as ties (a problem
that both policies answer in one way always is one); problems with an undefined (NaN) change are counted apart too.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Quadrants:
    """Counts of problems; they sum to the number of problems of the task. First word: tokens; second: answers."""

    up_up: int
    up_down: int
    """Less certain at each token, fewer different answers in the end: the paper's surprise."""
    down_up: int
    down_down: int
    ties: int
    """At least one of the changes is exactly 0."""
    undefined: int
    """At least one of the changes is NaN."""

    def table(self) -> NDArray[np.int64]:
        """[2, 2]: rows are token entropy up, down; columns are answer entropy up, down."""
        return np.array([[self.up_up, self.up_down], [self.down_up, self.down_down]], dtype=np.int64)

    def to_json(self) -> dict[str, int]:
        """As JSON-able values."""
        return asdict(self)


def entropy_quadrants(token_change: ArrayLike, answer_change: ArrayLike, task: Sequence[str]) -> dict[str, Quadrants]:
    """One table per task.

    Args:
        token_change: trained minus base, token entropy or surprisal of each problem, [problems].
        answer_change: trained minus base, answer entropy of each problem, [problems].
        task: the task of each problem, [problems].

    Returns:
        Task -> its counts, sorted by task.

    Raises:
        ValueError: the lengths differ.
    """
    token_N, answer_N = (np.asarray(x, dtype=np.float64) for x in (token_change, answer_change))
    task_N = np.asarray(task, dtype=np.str_)
    if not token_N.shape == answer_N.shape == task_N.shape or token_N.ndim != 1:
        raise ValueError(
            "give one change of each entropy and one task per problem: "
            f"shapes {token_N.shape}, {answer_N.shape} and {task_N.shape} differ"
        )
    undefined_N = np.isnan(token_N) | np.isnan(answer_N)
    tie_N = ~undefined_N & ((token_N == 0) | (answer_N == 0))
    # 0 .. 3 in the order of the fields, 4 ties, 5 undefined
    kind_N = np.where(undefined_N, 5, np.where(tie_N, 4, 2 * (token_N < 0) + (answer_N < 0)))
    tasks, number_N = np.unique(task_N, return_inverse=True)
    counts = np.bincount(number_N * 6 + kind_N, minlength=6 * len(tasks)).reshape(-1, 6)
    return {str(name): Quadrants(*row) for name, row in zip(tasks, counts.tolist(), strict=True)}
