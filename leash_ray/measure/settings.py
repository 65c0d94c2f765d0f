"""How to measure: the config's ``measure`` section."""

from typing import Annotated

from pydantic import Field

from leash_ray.section import Number, Section

Rate = Annotated[Number, Field(gt=0.0, lt=1.0)]


class MeasureConfig(Section):
    """Intervals, clusters and guessing. May be changed after sampling: measuring again costs no samples."""

    bootstrap: int = Field(2000, ge=100)
    """Replicates of the problem-level bootstrap."""
    confidence: Rate = 0.95
    """Of all intervals."""
    seed: int = Field(0, ge=0)
    """Of everything in the statistics that is drawn."""
    cluster_by: str | None = None
    """Key of the problems' metadata: problems with an equal value (variants of one problem) are resampled together."""
    guess_rate: Rate | dict[str, Rate] | None = None
    """Chance that a blind guess is right, for all tasks or by task. Multiple choice and the shape ``aime`` know their
    own."""
    above_guessing: bool = False
    """Count a problem as found only where a policy solves it more often than guessing would, at level zeta."""
