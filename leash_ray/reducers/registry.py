"""All reducers. What estimates need is always reduced; the others where they are asked for."""

from typing import Final

from leash_ray.reducers.answers import AnswerCounts
from leash_ray.reducers.first_hits import FirstHits
from leash_ray.reducers.halves import HalfCounts
from leash_ray.reducers.lengths import Lengths
from leash_ray.reducers.quantiles import TokenQuantiles
from leash_ray.reducers.reducer import Reducer
from leash_ray.reducers.samples import SampleIndices
from leash_ray.reducers.tasks import Tasks
from leash_ray.reducers.tokens import TokenSums
from leash_ray.reducers.verdicts import VerdictCounts

REDUCERS: Final[dict[str, Reducer]] = {
    one.name: one
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
}
"""By name."""

ESTIMATED: Final = ("verdicts", "first_hits", "answers", "halves", "samples", "errors", "tokens", "tasks")
"""What estimates need."""

SPREADS: Final = ("lengths", "token_quantiles")
"""What quantiles need."""

KEPT: Final = (*ESTIMATED, *SPREADS)
"""Of what states are kept on disk."""

VERSION: Final = "1." + "-".join(f"{name}{REDUCERS[name].version}" for name in KEPT)
"""Of the states on disk: a state of another version is made again from the rows."""
