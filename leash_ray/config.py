"""The run config: typed and frozen. An unknown key is an error that names the nearest valid key.

One YAML file describes a whole run; each command reads the sections it needs. Nothing here imports torch or Ray.
"""

import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from leash_ray.config_extends import read_extended
from leash_ray.errors import UsageError
from leash_ray.measure.settings import MeasureConfig
from leash_ray.prompting.settings import PromptingConfig
from leash_ray.rlvr.settings import TrainConfig as TrainConfig
from leash_ray.sampling.settings import BudgetConfig as BudgetConfig
from leash_ray.sampling.settings import SamplingConfig
from leash_ray.section import NAME, NonNegative, Number, Positive, PositiveInt, Section
from leash_ray.tasks.spec import TaskSpec
from leash_ray.verify.settings import VerifyConfig


class AutoscalingConfig(Section):
    """Ray Serve's request-based autoscaling of one policy."""

    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt = 2
    target_ongoing_requests: Positive = 8.0


class PolicyConfig(Section):
    """One served model."""

    model: str | None = None
    """``embedded:countdown``, a Hugging Face folder, or a hub name. None (``trained`` only): the run's last
    checkpoint."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    replicas: PositiveInt = 1
    autoscaling: AutoscalingConfig | None = None
    """In place of a fixed number of replicas."""
    tensor_parallel_size: PositiveInt = 1
    cpus: Positive = 0.5
    """Logical Ray CPUs a replica claims: a fraction on a laptop, whole ones on a cluster. Without a GPU the engine
    computes with as many threads, and with one at least."""
    gpus: Positive = 1.0
    """GPUs of each tensor-parallel worker, on GPU clusters; a fraction lets several engines share one GPU."""
    accelerator_type: str | None = None
    """Ray's name of a GPU type, such as ``A10G``; None: any."""
    max_model_len: int | None = Field(None, ge=8)
    """Context in tokens, prompt included; None: the model's own."""
    stall_s: Positive = 900.0
    """Seconds without a step after which an engine that has work is taken to hang, and is replaced."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """Further vLLM engine arguments, under vLLM's names."""
    prompting: PromptingConfig | None = None
    """How this policy alone is asked, in place of the whole of the run's ``prompting``; None: as the run says."""

    @property
    def most_replicas(self) -> int:
        """Replicas that there may be at a time."""
        return self.autoscaling.max_replicas if self.autoscaling else self.replicas


def _off(value: Any) -> Any:
    """``off`` without quotes is ``False`` to YAML."""
    return "off" if value is False else value


class MonitorConfig(Section):
    wandb: Annotated[Literal["auto", "online", "offline", "off"], BeforeValidator(_off)] = "auto"
    """auto: online where a key is set up, else offline. metrics.jsonl is always written."""
    project: str = "leash_ray"
    estimates_every_s: NonNegative = 60.0
    """While sampling or training, log the estimates so far about as often; less often where that takes more than 2%
    of the time. 0: never."""


class RayConfig(Section):
    address: str | None = None
    """None: the cluster that this process runs in, else a new local one."""
    num_cpus: PositiveInt | None = None
    """Logical CPUs of a new local Ray; None: as many as the machine has."""
    wait_for_nodes: bool = False
    """On an autoscaling cluster: ask for more than there is now, and wait until it has grown."""


class RunConfig(Section):
    """A whole run: train, sample both policies, verify, reduce, report."""

    name: str = Field("run", pattern=f"^{NAME.pattern}$")
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "gpu"] = "auto"
    task: TaskSpec
    """The problems to measure on."""
    base: str = "base"
    trained: str = "trained"
    policies: dict[str, PolicyConfig]
    prompting: PromptingConfig = Field(default_factory=PromptingConfig)
    """How both policies are asked; in training, the trained one."""
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    train: TrainConfig | None = None
    verify: VerifyConfig = Field(default_factory=VerifyConfig)
    measure: MeasureConfig = Field(default_factory=MeasureConfig)
    monitor: MonitorConfig = Field(default_factory=MonitorConfig)
    ray: RayConfig = Field(default_factory=RayConfig)
    zeta: Annotated[Number, Field(gt=0.0, lt=1.0)] = 0.05
    """1 − confidence of ε = −ln(ζ)/k."""

    @model_validator(mode="after")
    def _roles(self) -> "RunConfig":
        if self.base == self.trained:
            raise ValueError("base and trained must name two different policies")
        for role in (self.base, self.trained):
            if role not in self.policies:
                raise ValueError(f"policies has no entry {role!r}; it has {', '.join(sorted(self.policies)) or 'none'}")
        for name, policy in self.policies.items():
            if not NAME.fullmatch(name):
                raise ValueError(
                    f"policies has an entry {name!r}: a policy's name becomes a folder, so it is made of letters, "
                    "digits, '.', '_' and '-', and begins with a letter or a digit"
                )
            if policy.model is None and not (name == self.trained and self.train):
                raise ValueError(
                    f"policies.{name}.model is missing; only the trained policy of a run with a "
                    "train section may leave it out"
                )
        if self.train and self.policies[self.trained].model is not None:
            raise ValueError(
                f"policies.{self.trained}.model is set, so nothing would be trained into it; remove it or the train "
                "section"
            )
        return self

    @model_validator(mode="after")
    def _templates_of_policies(self) -> "RunConfig":
        own = {f"policies.{name}.prompting": policy.prompting for name, policy in self.policies.items()}
        for where, prompting in {"prompting": self.prompting, **own}.items():
            lender = prompting.chat_template_of if prompting else None
            if lender not in (None, self.base, self.trained):
                raise ValueError(
                    f"{where}.chat_template_of is {lender!r}; it names the policy whose model's template is used: "
                    f"{self.base} or {self.trained}"
                )
        return self


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a YAML config and what it ``extends``, with dotted ``overrides`` such as ``{"train.steps": 10}`` on top.

    Raises:
        UsageError: a file is missing, is no YAML mapping, or extends itself; an unknown key or a value of a wrong type.
    """
    return parse_config(read_extended(Path(path)), str(path), overrides)


def parse_config(raw: Mapping[str, Any], source: str, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Validate ``raw``; ``source`` names it in messages."""
    return validate(RunConfig, merged(raw, overrides or {}), source)


def merged(raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``raw`` with dotted ``overrides`` on top.

    Raises:
        UsageError: a key leads through something that is no section.
    """
    result: dict[str, Any] = _copy(raw)
    for dotted, value in overrides.items():
        *parents, last = dotted.split(".")
        node = result
        for key in parents:
            if node.get(key) is None:
                node[key] = {}
            node = node[key]
            if not isinstance(node, dict):
                raise UsageError(f"--set {dotted}: {key} is not a section")
        node[last] = value
    return result


M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], raw: Mapping[str, Any], source: str) -> M:
    """``model.model_validate`` whose errors are one clear line each, with the nearest valid key."""
    try:
        return model.model_validate(raw)
    except ValidationError as e:
        lines = [_explain(model, error) for error in e.errors()]
        raise UsageError(f"{source}: " + "; ".join(dict.fromkeys(lines))) from e


def _copy(value: Any) -> Any:
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _explain(model: type[BaseModel], error: Any) -> str:
    path, sections = _walk(model, error["loc"])
    where = ".".join(path)
    if error["type"] == "extra_forbidden":
        keys = sorted({name for section in sections for name in section.model_fields})
        return f"unknown key {where!r}; {_nearest(path[-1], keys, 'valid keys')}"
    if error["type"] == "missing":
        return f"missing key {where!r}"
    if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
        context = error["ctx"]
        kinds = [kind.strip(" '") for kind in context.get("expected_tags", "").split(",")]
        if error["type"] == "union_tag_invalid":
            hint = _nearest(context["tag"], kinds, "there is")
            return f"unknown {where}.{_unquoted(context['discriminator'])} {context['tag']!r}; {hint}"
        return f"missing key '{where}.{_unquoted(context['discriminator'])}', such as {where}.kind: reasoning_gym"
    message = error["msg"].removeprefix("Value error, ")
    complete = error["type"] == "value_error" or isinstance(error.get("input"), dict)  # our own say what was given
    given = "" if complete else f", not {error.get('input')!r}"
    return f"{where}: {message}{given}" if where else message


def _unquoted(text: str) -> str:
    return text.strip("'")


def _nearest(word: str, words: Sequence[str], otherwise: str) -> str:
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"{otherwise}: {', '.join(words)}"


def _walk(model: type[BaseModel], loc: Sequence[Any]) -> tuple[list[str], list[type[BaseModel]]]:
    """The keys of ``loc`` as the file has them, and the sections that may hold the last one.

    pydantic's own path has one more level where a section comes in kinds: the kind that was chosen.
    """
    path: list[str] = []
    holders: list[type[BaseModel]] = []
    inside: list[type[BaseModel]] = [model]  # the sections that the next key may belong to
    for part in map(str, loc):
        of_kind = [s for s in inside if "kind" in s.model_fields and s.model_fields["kind"].default == part]
        if len(inside) > 1 and of_kind:
            inside = of_kind
            continue
        path.append(part)
        holders = inside
        fields = [s.model_fields[part] for s in inside if part in s.model_fields]
        found = [section for field in fields for section in _models_in(field.annotation)]
        inside = found or inside  # a key of a mapping of sections: its value is one of them
    return path, holders


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for arg in typing.get_args(annotation):
        yield from _models_in(arg)
