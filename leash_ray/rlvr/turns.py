"""What training itself shows of the leash: each problem's first turn in training against a later one.

Every problem comes up once before any comes up twice, with ``group_size`` completions at each turn. They are kept as
completions of the policies ``turn-0``, ``turn-1`` ..., and compared as base and trained are: the same problems, the
same k, and what was found the first time and is not found any more is S.

Assumptions: ``turn-0`` is not the base but the policy of the first steps, while it moves, so this misses what is lost
before a problem's first turn; the problems are those that are trained on; k is only ``group_size``. It tells where
training is heading; what it did, completions of base and trained on other problems tell.
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from leash_ray.errors import RunFailed
from leash_ray.rlvr.rollouts import Draw
from leash_ray.types import CompletionBatch
from leash_ray.verify import Verification

if TYPE_CHECKING:
    from leash_ray.reducers import Reduced

FOLDER = "rollouts"
_PREFIX = "turn-"


class Turns:
    """Keeps rollouts as completions tables, without texts and tokens. Never fails training."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.n_failures = 0

    def keep(self, draws: Sequence[Draw], groups: Sequence[CompletionBatch], verified: Sequence[Verification]) -> None:
        """Write one worker's rollouts of one step.

        Args:
            groups: of each draw, all of one size.
            verified: of each completion, group after group.
        """
        from pyarrow import ArrowException

        try:
            self._write(draws, groups, verified)
        except (OSError, RunFailed, ArrowException) as e:  # a disk that is full or gone
            self.n_failures += 1
            if self.n_failures == 1:
                print(f"warning: rollouts are not kept ({e}); training goes on without them", file=sys.stderr)

    def _write(
        self, draws: Sequence[Draw], groups: Sequence[CompletionBatch], verified: Sequence[Verification]
    ) -> None:
        import pyarrow as pa

        from leash_ray.sampling.manifest import write_new
        from leash_ray.sampling.shard import Shard
        from leash_ray.sampling.table import tabulate

        size = len(groups[0])
        for epoch, of in groupby(range(len(draws)), key=lambda i: draws[i].epoch):
            at = list(of)
            if epoch < 0:  # a review is not a turn
                continue
            problems = [draws[i].problem for i in at]
            shard = Shard(f"{_PREFIX}{epoch}", tuple(p.id for p in problems), 0, size)
            own = [v for i in at for v in verified[i * size : (i + 1) * size]]
            table = tabulate(shard, problems, [groups[i] for i in at], own)
            for name in ("text", "token_ids"):
                place = table.schema.get_field_index(name)
                field = table.schema.field(place)
                table = table.set_column(place, field, pa.nulls(len(table), field.type))
            write_new(self._folder, shard, table, {})


def first_and_latest(reduced: "Reduced") -> tuple[str, str] | None:
    """The first turn, and the latest one that at least half of its problems have had; None: there is none."""
    n = reduced.problems["policy"].value_counts()
    n_problems: Mapping[str, int] = dict(zip(n["policy"].to_list(), n["count"].to_list(), strict=True))
    first = f"{_PREFIX}0"
    later = [int(name.removeprefix(_PREFIX)) for name, of in n_problems.items() if 2 * of >= n_problems.get(first, 0)]
    latest = max(later, default=0)
    return (first, f"{_PREFIX}{latest}") if latest and first in n_problems else None


def in_turns(numbers: Mapping[str, float | None]) -> dict[str, float | None]:
    """Estimates by flat names, with policies named ``first`` and ``latest``, and which turn that is as ``turn``."""
    found: dict[str, float | None] = {}
    for name, value in numbers.items():
        policy, slash, rest = name.partition("/")
        if policy.startswith(_PREFIX):
            turn = int(policy.removeprefix(_PREFIX))
            found["turn"] = max(turn, found.get("turn") or 0)
            policy = "latest" if turn else "first"
        found[policy + slash + rest] = value
    return found
