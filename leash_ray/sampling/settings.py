"""The config's ``sampling`` section. Imports nothing heavy."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from leash_ray.section import NonNegative, Number, PositiveInt, Section, Share
from leash_ray.types import SamplingParams


class BudgetConfig(Section):
    """Adaptive sampling: rounds up to ``first``, ``first * grow``, ``first * grow**2`` ... ``max`` samples of a problem
    and policy, each only for those that are still undecided. docs/sampling.md says what that leaves unbiased."""

    first: PositiveInt = 32
    """Samples that every problem gets."""
    grow: int = Field(4, ge=2)
    """How many times as many samples a problem has after each further round."""
    max: PositiveInt = 16384
    """Samples of a problem that is never decided: support is measured at this k."""
    stop_after_correct: PositiveInt | None = 1
    """CORRECT samples that decide a problem; null: nothing does, so that all get ``max``, as with ``n``."""
    all_reach: PositiveInt | None = None
    """Samples that every problem gets, decided or not, as answer entropy and pass@k want; null: ``first``."""

    @model_validator(mode="after")
    def _within_max(self) -> "BudgetConfig":
        for name in ("first", "all_reach"):
            if (value := getattr(self, name) or 0) > self.max:
                raise ValueError(f"{name} ({value}) is above max ({self.max}); raise max, or lower {name}")
        return self


class SamplingConfig(Section):
    """How many completions a problem gets, and how they are drawn."""

    n: PositiveInt | None = 256
    """Completions of every problem and policy; null where ``budget`` says how many."""
    budget: BudgetConfig | None = None
    """Completions by need, in place of ``n``."""
    temperature: NonNegative = 1.0
    top_p: Annotated[Number, Field(gt=0.0, le=1.0)] = 1.0
    top_k: int = Field(0, ge=0)
    min_p: Share = 0.0
    max_tokens: PositiveInt = 32
    samples_per_shard: PositiveInt = 4096
    """About how many completions are written as one Parquet file, whole or not at all."""
    in_flight: PositiveInt = 2
    """Shards under way for each replica of a policy: one in its batch, and one that waits for it or is verified and
    written. More where verifying takes longer than drawing; each is a process."""
    concurrent: bool = True
    """Serve both policies at the same time; false: base alone, then the trained one alone, where they do not fit
    together."""
    base_from: str | None = None
    """A run whose completions of the base are taken over, if they are what this run would draw: several recipes from
    one base, with the same ``seed``, sample it once."""
    max_tries: PositiveInt = 3
    """Times that a request is made before it goes to the dead letters."""
    max_dead_share: Share = 0.01
    """Share of the planned completions that may end as dead letters; beyond it sampling stops."""

    @model_validator(mode="before")
    @classmethod
    def _budget_alone(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and raw.get("budget") is not None and "n" not in raw:
            return {**raw, "n": None}
        return raw

    @model_validator(mode="after")
    def _draws(self) -> "SamplingConfig":
        if (self.n is None) == (self.budget is None):
            raise ValueError("give either n (as many for all problems; then budget: null) or budget (then n: null)")
        if self.temperature == 0 and self.most > 1:
            raise ValueError(
                f"at temperature 0 all n = {self.most} completions of a problem would be equal; set n to 1, or "
                "temperature above 0"
            )
        return self

    @property
    def most(self) -> int:
        """Completions of a problem that gets the most."""
        return self.n if self.budget is None else self.budget.max  # type: ignore[return-value]  # one of the two

    @property
    def params(self) -> SamplingParams:
        return SamplingParams(self.temperature, self.top_p, self.top_k, self.min_p, self.max_tokens)
