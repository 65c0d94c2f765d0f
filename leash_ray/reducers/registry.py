"""All reducers. What estimates need is always reduced; the others where they are asked for."""

from collections.abc import Iterable, Sequence
from typing import Final

from leash_ray.reducers.answers import AnswerCounts
from leash_ray.reducers.bounded import NAME as BOUNDED
from leash_ray.reducers.bounded import BoundedAnswers
from leash_ray.reducers.first_hits import FirstHits
from leash_ray.reducers.halves import HalfCounts
from leash_ray.reducers.lengths import Lengths
from leash_ray.reducers.quantiles import TokenQuantiles
from leash_ray.reducers.reducer import Reducer
from leash_ray.reducers.samples import SampleIndices
from leash_ray.reducers.tasks import Tasks
from leash_ray.reducers.tokens import TokenSums
from leash_ray.reducers.verdicts import VerdictCounts


class _Reducers(dict[str, Reducer]):
    def __missing__(self, name: str) -> Reducer:
        kind, at, size = name.partition("@")
        if kind != BOUNDED or not at:
            raise KeyError(name)
        self[name] = found = BoundedAnswers(int(size))
        return found


REDUCERS: Final = _Reducers(
    (one.name, one)
    for one in (
        VerdictCounts(),
        FirstHits(),
        AnswerCounts(),
        HalfCounts(),
        SampleIndices("samples"),
        SampleIndices("errors", "ERROR"),
        TokenSums(),
        Tasks(),
        Lengths(),
        TokenQuantiles(),
    )
)
"""By name; bounded answers are made of any size."""

ESTIMATED: Final = ("verdicts", "first_hits", "answers", "halves", "samples", "errors", "tokens", "tasks")
"""What estimates need."""

SPREADS: Final = ("lengths", "token_quantiles")
"""What quantiles need."""

KEPT: Final = (*ESTIMATED, *SPREADS)
"""Of what states are kept on disk."""

VERSION: Final = "1." + "-".join(f"{name}{REDUCERS[name].version}" for name in KEPT)
"""Of the states on disk: a state of another version is made again from the rows."""


def with_bounded_answers(reducers: Sequence[str], size: int) -> tuple[str, ...]:
    """The same with answers in bounded memory: ``size`` distinct ones of a (policy, problem)."""
    return (*(name for name in reducers if name not in ("answers", "halves")), f"{BOUNDED}@{size}")


def bounded(reducers: Iterable[str]) -> BoundedAnswers | None:
    """The reducer among them that keeps answers in bounded memory."""
    return next((one for name in reducers if isinstance(one := REDUCERS[name], BoundedAnswers)), None)
