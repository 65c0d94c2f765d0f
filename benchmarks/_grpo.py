"""What both sides of ``rlvr_step.py`` train: the model, the prompts of each step, the settings."""

from dataclasses import asdict, dataclass
from typing import Any

from _smollm2 import NAME as SMOLLM2
from _smollm2 import smollm2

from leash_ray.deploy import resolve_model
from leash_ray.rlvr.rollouts import prompts_of_step
from leash_ray.tasks import ReasoningGymSpec, load_problems
from leash_ray.types import Problem

EMBEDDED = "embedded:countdown"
NUMBERS = {"min_numbers": 3, "max_numbers": 3, "min_value": 1, "max_value": 15, "min_target": 10, "max_target": 60}


@dataclass(frozen=True)
class Setting:
    """One model's step; JSON carries it to the other side's process."""

    model: str
    prompt: str
    """Style of the prompts."""
    prompts_per_step: int
    group_size: int
    max_tokens: int
    lr: float
    kl_coef: float = 0.0
    """0: neither side has a reference policy."""
    seed: int = 0
    staleness: int = 0
    """Of our rollouts."""

    @property
    def folder(self) -> str:
        """The Hugging Face folder."""
        return str(smollm2()) if self.model == SMOLLM2 else resolve_model(self.model)

    def problems(self) -> list[Problem]:
        """All problems to train on."""
        task: dict[str, Any] = {"dataset": "countdown", "config": NUMBERS, "seed": 2, "size": 600, "split": (70, 90)}
        return load_problems(ReasoningGymSpec(prompt=self.prompt, **task))  # type: ignore[arg-type]

    def of_steps(self, steps: int) -> list[Problem]:
        """The problems of the first steps, in order."""
        problems = self.problems()
        return [
            draw.problem
            for step in range(steps)
            for draw in prompts_of_step(problems, step, self.prompts_per_step, self.seed)
        ]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


SETTINGS = {
    # Those of the demo.
    EMBEDDED: Setting(EMBEDDED, "compact", prompts_per_step=32, group_size=16, max_tokens=12, lr=3e-4),
    SMOLLM2: Setting(SMOLLM2, "question", prompts_per_step=4, group_size=8, max_tokens=32, lr=1e-6),
}
