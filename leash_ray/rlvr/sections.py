"""Sections of ``train``: advantages, loss, KL, and what else a recipe may have."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from leash_ray.section import NonNegative, Number, Positive, PositiveInt, Section, Share


class AdvantageConfig(Section):
    """From a group's rewards to each completion's advantage, and to each problem's weight."""

    kind: Literal["grpo", "dr_grpo", "rloo", "reinforce_pp", "signed", "pass_at_k"] = "grpo"
    """``signed``: rewards as ±1, without a baseline."""
    k: PositiveInt = 4
    """Of ``pass_at_k``: a reward is that of the best of k completions; of ``gate: boundary``: the k of pass@k."""
    positive: NonNegative = 1.0
    """Weight of positive advantages; 0 trains on mistakes alone (NSR)."""
    negative: NonNegative = 1.0
    """Weight of negative advantages; 0 trains on successes alone (PSR)."""
    rarity: Share = 0.0
    """How much less a correct completion is worth than the least likely correct one of its group, by rank
    (unlikeliness reward)."""
    gate: Literal["none", "unsolved", "boundary"] = "none"
    """Which problems move the policy: all; those without any success so far; or each by its estimated marginal
    contribution to the boundary."""


class LossConfig(Section):
    """The policy loss of a token, and how tokens are averaged."""

    kind: Literal["clip", "cispo", "gspo", "nll"] = "clip"
    """``clip``: PPO's; ``cispo``: the ratio is clipped and held, every token keeps its gradient; ``gspo``: one ratio a
    completion; ``nll``: no ratio, minus advantage times ln p."""
    clip_low: Positive = 0.2
    clip_high: Positive = 0.2
    """Larger than clip_low: clip-higher, so that rare tokens may grow (DAPO)."""
    dual_clip: Annotated[Number, Field(gt=1.0)] | None = None
    """Largest ratio that counts where the advantage is negative."""
    mean: Literal["token", "sequence", "fixed"] = "token"
    """``token``: over all tokens of the step; ``sequence``: over completions, of the mean over their tokens;
    ``fixed``: the sum over max_tokens (Dr.GRPO)."""
    entropy_coef: NonNegative = 0.0
    """Weight of the token entropy in the loss; with a target, where it starts."""
    entropy_target: NonNegative | None = None
    """Nats a token: below it entropy_coef grows by entropy_rate a step, above it it falls."""
    entropy_rate: Positive = 1e-3

    @model_validator(mode="after")
    def _clips(self) -> "LossConfig":
        if self.dual_clip is not None and self.kind not in ("clip", "gspo"):
            raise ValueError(f"dual_clip has no meaning for kind: {self.kind}; leave it out, or use kind: clip or gspo")
        return self


class KLConfig(Section):
    """The reference policy: what training starts from."""

    coef: NonNegative = 0.0
    """Weight of KL(policy ‖ reference)."""
    place: Literal["loss", "reward"] = "loss"
    estimator: Literal["k1", "k2", "k3"] = "k3"
    """Where none is named: k3 in the loss, as GRPO has it, and k1 in the reward, the only one that leads to the tilted
    reference there (:mod:`leash_ray.rlvr.kl`). k1 has no gradient in expectation as a term of the loss."""
    track: bool = True
    """Measure it even where coef is 0 (one more forward pass)."""
    reset_every: PositiveInt | None = None
    """Steps after which the policy becomes the reference, and the optimizer starts anew (ProRL)."""

    @model_validator(mode="before")
    @classmethod
    def _estimator_of_place(cls, raw: object) -> object:
        return {"estimator": "k1", **raw} if isinstance(raw, dict) and raw.get("place") == "reward" else raw

    @model_validator(mode="after")
    def _has_gradient(self) -> "KLConfig":
        if self.place == "loss" and self.estimator == "k1" and self.coef:
            raise ValueError(
                "estimator k1 in the loss has an expected gradient of zero; use k2 or k3, or place: reward"
            )
        return self

    @model_validator(mode="after")
    def _is_there_to_be_reset(self) -> "KLConfig":
        if self.reset_every and not self.needed:
            raise ValueError("reset_every resets the reference, and there is none; set coef, or track: true")
        return self

    @property
    def needed(self) -> bool:
        """Whether there is a reference policy at all."""
        return bool(self.coef) or self.track


class MismatchConfig(Section):
    """What to do about the difference between the sampler's log-probabilities and the trainer's own."""

    correction: Literal["none", "truncate", "mask"] = "none"
    """``none``: the ratio is taken against the sampler's. Else it is against the trainer's own at the step's start, and
    a weight trainer/sampler, cut off at ``cap`` (truncated importance sampling), or tokens beyond it left out."""
    level: Literal["token", "sequence"] = "token"
    cap: Annotated[Number, Field(ge=1.0)] = 2.0


class DynamicConfig(Section):
    """Dynamic sampling (DAPO): groups without signal are replaced by groups of other problems."""

    max_rounds: PositiveInt = 3
    """Draws of replacements a step; what has no signal after them stays."""
    oversample: Annotated[Number, Field(ge=1.0)] = 1.0
    """Groups drawn for each that is missing: more take fewer rounds, and more tokens."""


class OverlongConfig(Section):
    """What too long a completion costs (DAPO)."""

    mask: bool = False
    """Completions cut off at max_tokens teach nothing."""
    buffer: int = Field(0, ge=0)
    """Tokens before max_tokens over which the penalty grows from 0 to ``penalty``."""
    penalty: NonNegative = 1.0


class TemperatureByProblem(Section):
    """A temperature of each problem's own: hotter where all its completions fail or all succeed."""

    high: Positive = 1.5
    rate: Positive = 0.1
    """How much hotter for each turn without signal, and less hot for each with one, down to ``temperature``."""


class LoraConfig(Section):
    """Low-rank adapters (peft) in place of full fine-tuning; samplers get the merged weights."""

    rank: PositiveInt = 16
    alpha: Positive = 32.0
    dropout: Share = 0.0
    targets: Literal["all-linear"] | list[str] = "all-linear"
    """Names of the layers that are adapted."""


class SupervisedConfig(Section):
    """Where the objectives ``sft`` and ``rft`` take their targets from."""

    traces: str | None = None
    """``sft``: Parquet or JSONL of solutions (columns text, and problem_id or prompt), or completions tables, of which
    the correct rows count; None: each problem's own solution."""
    policy: str | None = None
    """Of completions tables: only this policy's."""
    refresh_every: int = Field(0, ge=0)
    """``rft``: steps between samplings of the policy; 0: all targets are the base's own correct completions."""
    distinct: bool = True
    """``rft``: each distinct completion of a problem once."""


class SeedingConfig(Section):
    """Completions in a group that the policy did not draw from the prompt alone, now."""

    traces: str | None = None
    """As in ``supervised``; None: each problem's own solution."""
    policy: str | None = None
    """Of completions tables: only this policy's."""
    groups: Literal["all", "unsolved"] = "all"
    """Which groups get traces and hints: all, or those without any success of their own."""
    per_group: int = Field(0, ge=0)
    """Completions of a group that are replaced by traces, where there are any."""
    shaping: Positive = 0.1
    """γ of a trace's shaped ratio p/(p + γ) (LUFFY)."""
    prefix_share: Share = 0.0
    """Share of a group that is replaced by continuations of a solution's prefix (hints)."""
    prefix_most: Share = 0.8
    """The longest prefix, as a share of the solution's tokens; each group's is drawn from 1 token up to this."""
    replay: int = Field(0, ge=0)
    """Problems a step that were solved before and are reviewed, with a rare correct completion kept in the group."""
    buffer: PositiveInt = 256
    """Problems that replay keeps a completion of."""

    def hinted(self, group_size: int) -> int:
        """Completions of a group that continue a prefix."""
        return round(self.prefix_share * group_size)


class AuditConfig(Section):
    """The support audit while training: a fixed held-out set, against the base's completions."""

    every: PositiveInt = 25
    """Steps from one audit to the next; there is one after the last step, too."""
    at_start: bool = False
    """Also before the first step: the base against itself, which shows what chance alone gives."""
    problems: PositiveInt | None = None
    """How many of the measured problems; None: all."""
    n: PositiveInt = 64
    """Most completions a problem and audit; drawn in rounds until a problem is decided."""
    first: PositiveInt = 8
    """Completions of the first round."""
    guard: Annotated[Number, Field(ge=-1.0, le=1.0)] | None = None
    """Act when the lower end of NSCR's interval falls below this (leash guard)."""
    action: Literal["stop", "kl"] = "stop"
    """``kl``: multiply the KL weight by ``kl_factor`` each time, at least to ``kl_least``."""
    kl_factor: Annotated[Number, Field(gt=1.0)] = 2.0
    kl_least: Positive = 1e-3

    @model_validator(mode="after")
    def _within_n(self) -> "AuditConfig":
        if self.first > self.n:
            raise ValueError(f"first ({self.first}) is above n ({self.n}); raise n, or lower first")
        return self


class LimitsConfig(Section):
    """When training stops by itself, with a message and a dump. A loss that is no number always stops it."""

    grad_norm: Positive | None = None
    """Largest gradient norm, before clipping."""
    error_steps: PositiveInt = 3
    """Steps in a row in which the verifier fails at every completion."""
