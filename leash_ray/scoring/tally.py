"""What became of the texts of one command: counts, means, how well ln p agrees with what sampling stored or, where
sampling was cut, how much that took."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_GAP_A_TOKEN = 0.1
"""Nats. Far more than rounding to 16 bits gives, and far less than another model, prompt or temperature."""


_SUMS = ("texts", "tokens", "entropy_means", "with_steps", "gap_sum", "gap_tokens", "cut_nats", "cut_tokens")


@dataclass(slots=True)
class Tally:
    """Sums over texts, which add up."""

    texts: int = 0
    """That were scored."""
    tokens: int = 0
    entropy_means: float = 0.0
    """Sum of the mean entropy of each text's steps, in nats, over ``with_steps`` texts."""
    with_steps: int = 0
    """Texts of at least one token that are the scoring policy's own, or given."""
    unscored: Counter[str] = field(default_factory=Counter)
    """Why a text was not scored -> texts."""
    gap_max: float = 0.0
    """Largest |stored logprob_sum - ours| of a completion, in nats."""
    gap_sum: float = 0.0
    gap_tokens: int = 0
    """Of the completions whose stored logprob_sum can be compared."""
    cut_nats: float = 0.0
    """Sum of stored logprob_sum - ours, of completions whose sampling was cut (:mod:`leash_ray.scoring.cut`)."""
    cut_tokens: int = 0

    @property
    def token_entropy(self) -> float:
        """Mean over texts of the mean over steps, in nats; NaN of none."""
        return self.entropy_means / self.with_steps if self.with_steps else float("nan")

    @property
    def gap_a_token(self) -> float:
        return self.gap_sum / self.gap_tokens if self.gap_tokens else 0.0

    @property
    def cut_a_token(self) -> float:
        """Nats."""
        return self.cut_nats / self.cut_tokens if self.cut_tokens else 0.0

    def add(self, other: "Tally") -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unscored += other.unscored
        self.gap_max = max(self.gap_max, other.gap_max)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "unscored": dict(self.unscored)}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Tally":
        """What :meth:`to_json` gave."""
        return Tally(**{**value, "unscored": Counter(value["unscored"])})
