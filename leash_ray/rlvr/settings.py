"""How to train: the config's ``train`` section. Nothing here imports torch."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from leash_ray.rlvr.sections import (
    AdvantageConfig,
    AuditConfig,
    DynamicConfig,
    KLConfig,
    LimitsConfig,
    LoraConfig,
    LossConfig,
    MismatchConfig,
    OverlongConfig,
    SeedingConfig,
    SupervisedConfig,
    TemperatureByProblem,
)
from leash_ray.section import NonNegative, Number, Positive, PositiveInt, Section
from leash_ray.tasks.spec import TaskSpec


class Change(Section):
    """A value from a step on."""

    from_step: int = Field(ge=0)
    """0-based."""
    value: Positive


Schedule = list[Change]
"""Changes in order of their steps, the first at step 0."""


class TrainConfig(Section):
    """RLVR with DeepSpeed on Ray Train workers."""

    task: TaskSpec
    objective: Literal["rlvr", "sft", "rft"] = "rlvr"
    """Reinforcement learning, supervised fine-tuning on solutions, or on the policy's own correct completions."""
    seed: int | None = Field(None, ge=0)
    """Of the order of problems and of rollouts; None: the run's. Runs that differ in it alone measure with the same
    completions of the base."""
    steps: PositiveInt = 100
    prompts_per_step: PositiveInt = 32
    group_size: int = Field(16, ge=2)
    """Completions a prompt; a group is never split over workers."""
    temperature: Positive | Schedule = 1.0
    top_p: Annotated[Number, Field(ge=1.0, le=1.0)] = 1.0
    """Only 1, and top_k only 0: training needs whole distributions."""
    top_k: Literal[0] = 0
    max_tokens: PositiveInt | Schedule = 32
    lr: Positive = 3e-4
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    weight_decay: NonNegative = 0.0
    grad_clip: Positive = 1.0
    epochs: PositiveInt = 1
    """Passes over each step's completions."""
    minibatches: PositiveInt = 1
    """Optimizer steps a pass."""
    staleness: int = Field(0, ge=0, le=1)
    """1: a step's completions are drawn while the step before is learnt from, so by a policy one step old."""
    advantage: AdvantageConfig = Field(default_factory=AdvantageConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    kl: KLConfig = Field(default_factory=KLConfig)
    mismatch: MismatchConfig = Field(default_factory=MismatchConfig)
    dynamic: DynamicConfig | None = None
    overlong: OverlongConfig = Field(default_factory=OverlongConfig)
    temperature_by_problem: TemperatureByProblem | None = None
    supervised: SupervisedConfig = Field(default_factory=SupervisedConfig)
    seeding: SeedingConfig | None = None
    audit: AuditConfig | None = None
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    lora: LoraConfig | None = None
    zero_stage: int = Field(0, ge=0, le=3)
    offload: Literal["none", "optimizer", "all"] = "none"
    """What ZeRO keeps in the CPU's memory: the optimizer's state (stages 1 to 3), or the parameters too (stage 3)."""
    workers: PositiveInt = 1
    cpus_per_worker: Positive = 0.5
    gpus_per_worker: Positive = 1.0
    """On GPU clusters."""
    micro_tokens: PositiveInt = 16384
    """Tokens, padding included, in one forward and backward pass of one worker; a longer completion goes alone."""
    share_prompts: bool = True
    """Compute each distinct prompt of a micro-batch once, and each distinct completion, where the model allows it (not:
    gradient_checkpointing)."""
    bf16: bool = False
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, about a third more time."""
    checkpoint_every: PositiveInt = 50
    keep_checkpoints: PositiveInt = 2

    @model_validator(mode="before")
    @classmethod
    def _whole_distribution(cls, raw: object) -> object:
        """The ratio needs both probabilities on one support."""
        if isinstance(raw, dict):
            for key, all_ in (("top_p", 1.0), ("top_k", 0)):
                if raw.get(key, all_) != all_:
                    raise ValueError(
                        f"{key} {raw[key]!r} is refused in training: the sampler's log-probabilities would be "
                        "renormalised over the tokens that it keeps, the trainer's over the whole vocabulary, so their "
                        f"ratio would be of two supports; train with {key}: {all_:g}, and cut only in sampling"
                    )
        return raw

    @model_validator(mode="before")
    @classmethod
    def _likelihood(cls, raw: object) -> object:
        """Supervised objectives have one loss."""
        if isinstance(raw, dict) and raw.get("objective", "rlvr") != "rlvr" and isinstance(raw.get("loss", {}), dict):
            return {**raw, "loss": {"kind": "nll", **raw.get("loss", {})}}
        return raw

    @model_validator(mode="after")
    def _whole_groups(self) -> "TrainConfig":
        if self.prompts_per_step % self.workers:
            raise ValueError(
                f"prompts_per_step ({self.prompts_per_step}) must be a multiple of workers ({self.workers}), "
                "so that every worker trains on whole groups"
            )
        if self.prompts_per_step // self.workers % self.minibatches:
            raise ValueError(
                f"a worker's prompts a step ({self.prompts_per_step // self.workers}) must be a multiple of "
                f"minibatches ({self.minibatches}), so that every optimizer step has whole groups"
            )
        return self

    @model_validator(mode="after")
    def _schedules(self) -> "TrainConfig":
        for name in ("temperature", "max_tokens"):
            changes = getattr(self, name)
            if not isinstance(changes, list):
                continue
            steps = [change.from_step for change in changes]
            if not steps or steps[0] != 0 or steps != sorted(set(steps)):
                raise ValueError(f"{name} must begin with from_step: 0 and go on in the order of its steps")
            if name == "max_tokens" and any(change.value != int(change.value) for change in changes):
                raise ValueError("max_tokens must be whole numbers")
        hot = self.temperature_by_problem
        if hot and hot.high <= self.temperature_at(0):
            raise ValueError(f"temperature_by_problem.high ({hot.high:g}) must be above temperature")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainConfig":
        if self.advantage.kind == "pass_at_k" and self.advantage.k >= self.group_size:
            raise ValueError(
                f"advantage.k ({self.advantage.k}) must be below group_size ({self.group_size}): of one set of "
                "completions, none is better than another"
            )
        changes = self.max_tokens if isinstance(self.max_tokens, list) else []
        shortest = min((int(change.value) for change in changes), default=self.most_tokens)
        if self.overlong.buffer > shortest:
            raise ValueError(f"overlong.buffer ({self.overlong.buffer}) must not be above max_tokens ({shortest})")
        if self.offload != "none" and self.zero_stage == 0:
            raise ValueError("offload needs ZeRO: set zero_stage: 2, or 3 for offload: all")
        if self.offload == "all" and self.zero_stage != 3:
            raise ValueError("offload: all keeps parameters in the CPU's memory, which needs zero_stage: 3")
        if self.objective != "rlvr":
            for name, given in (
                ("dynamic", self.dynamic),
                ("seeding", self.seeding),
                ("staleness", self.staleness or None),
                ("temperature_by_problem", self.temperature_by_problem),
                ("kl.coef", self.kl.coef or None),
                ("mismatch", self.mismatch if self.mismatch.correction != "none" else None),
                ("supervised.traces", self.supervised.traces if self.objective == "rft" else None),
                ("audit.action: kl", (self.audit and self.audit.action == "kl") or None),
            ):
                if given is not None:
                    raise ValueError(f"{name} is for another objective; objective: {self.objective} has no use for it")
            if self.loss.kind != "nll":
                raise ValueError(f"objective: {self.objective} has loss.kind: nll, not {self.loss.kind}")
        if self.audit and self.audit.guard is not None and self.audit.action == "kl":
            if not self.kl.needed:
                raise ValueError("audit.action: kl needs a reference policy: set kl.track: true")
            if self.kl.place == "loss" and self.kl.estimator == "k1":
                raise ValueError("audit.action: kl with kl.estimator k1 in the loss would change nothing; use k2 or k3")
        return self

    @model_validator(mode="after")
    def _seeding_fits(self) -> "TrainConfig":
        seeding = self.seeding
        if seeding is None:
            return self
        for name, given in (("dynamic", self.dynamic), ("staleness: 1", self.staleness)):
            if given:
                raise ValueError(f"seeding does not go with {name}: groups are seeded when a step's own are all there")
        n_others = seeding.per_group + seeding.hinted(self.group_size) + bool(seeding.replay)
        if n_others >= self.group_size:
            raise ValueError(
                f"seeding leaves none of a group of {self.group_size} to the policy: per_group ({seeding.per_group}), "
                f"prefix_share ({seeding.hinted(self.group_size)} completions) and a replayed one must be below "
                "group_size together"
            )
        if seeding.per_group and self.advantage.rarity:
            raise ValueError(
                "seeding.per_group does not go with advantage.rarity: how likely a trace was when it was written is "
                "not known"
            )
        if seeding.replay > self.prompts_per_step:
            raise ValueError(f"seeding.replay must be at most prompts_per_step ({self.prompts_per_step})")
        return self

    def temperature_at(self, step: int) -> float:
        """Of a 0-based step."""
        return _at(self.temperature, step)

    def max_tokens_at(self, step: int) -> int:
        """Of a 0-based step."""
        return int(_at(self.max_tokens, step))

    @property
    def most_tokens(self) -> int:
        """The longest completion of any step."""
        changes = self.max_tokens
        return int(max(change.value for change in changes)) if isinstance(changes, list) else changes

    @property
    def recipe(self) -> str:
        """What to call it, such as "GRPO with dynamic sampling"."""
        if self.objective != "rlvr":
            return self.objective.upper()
        names = {
            "grpo": "GRPO",
            "dr_grpo": "Dr.GRPO",
            "rloo": "RLOO",
            "reinforce_pp": "REINFORCE++",
            "signed": "REINFORCE",
        }
        name = names.get(self.advantage.kind) or f"pass@{self.advantage.k} training"
        more = {
            "dynamic sampling": self.dynamic,
            "reference resets": self.kl.reset_every,
            "other policies' completions": self.seeding,
            "rollouts one step ahead": self.staleness,
            "adapters": self.lora,
        }
        parts = [what for what, of in more.items() if of]
        return name + (f" with {', '.join(parts)}" if parts else "")


def _at(value: float | Schedule, step: int) -> float:
    if not isinstance(value, list):
        return value
    return next(change.value for change in reversed(value) if change.from_step <= step)
