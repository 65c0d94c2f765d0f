"""The `train` section: wrong combinations are refused with what to do about it, and a config survives YAML."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from leash_ray.config import load_config
from leash_ray.rlvr.sections import KLConfig
from leash_ray.rlvr.settings import TrainConfig
from leash_ray.tasks import ReasoningGymSpec

TASK = {"kind": "reasoning_gym", "dataset": "countdown"}
_JOBS = Path(__file__).parents[1] / "jobs" / "configs"
CONFIGS = sorted([*_JOBS.glob("*.yaml"), *(_JOBS / "recipes").glob("*.yaml")])


def parsed(**settings: Any) -> TrainConfig:
    return TrainConfig.model_validate({"task": TASK, **settings})


REFUSED: list[tuple[dict[str, Any], str]] = [
    # What is wrong, and what the message says to do.
    ({"top_p": 0.95}, "train with top_p: 1"),
    ({"top_k": 20}, "train with top_k: 0"),
    ({"kl": {"coef": 0.1, "estimator": "k1"}}, "use k2 or k3, or place: reward"),
    ({"kl": {"track": False, "reset_every": 10}}, "set coef, or track: true"),
    ({"loss": {"kind": "cispo", "dual_clip": 3.0}}, "leave it out, or use kind: clip or gspo"),
    ({"loss": {"dual_clip": 1.0}}, "greater than 1"),
    ({"mismatch": {"correction": "truncate", "cap": 0.5}}, "greater than or equal to 1"),
    ({"prompts_per_step": 9, "workers": 2}, r"must be a multiple of workers \(2\)"),
    ({"prompts_per_step": 8, "workers": 2, "minibatches": 3}, r"must be a multiple of minibatches \(3\)"),
    ({"temperature": []}, "temperature must begin with from_step: 0"),
    ({"temperature": [{"from_step": 5, "value": 1.0}]}, "temperature must begin with from_step: 0"),
    (
        {"max_tokens": [{"from_step": s, "value": 16} for s in (0, 9, 5)]},
        "max_tokens must begin with from_step: 0 and go on in the order",
    ),
    ({"temperature": [{"from_step": s, "value": 1.0} for s in (0, 5, 5)]}, "in the order of its steps"),
    ({"max_tokens": [{"from_step": 0, "value": 16.5}]}, "must be whole numbers"),
    ({"offload": "optimizer"}, "set zero_stage: 2"),
    ({"offload": "all", "zero_stage": 2}, "needs zero_stage: 3"),
    ({"advantage": {"kind": "pass_at_k", "k": 8}, "group_size": 8}, r"k \(8\) must be below group_size \(8\)"),
    ({"overlong": {"buffer": 64}}, r"buffer \(64\) must not be above max_tokens \(32\)"),
    (
        {"overlong": {"buffer": 20}, "max_tokens": [{"from_step": 0, "value": 16}, {"from_step": 9, "value": 64}]},
        r"must not be above max_tokens \(16\)",
    ),
    ({"seeding": {"per_group": 8}, "group_size": 8}, "must be below group_size"),
    ({"seeding": {"per_group": 1}, "objective": "sft"}, "seeding is for"),
    ({"dynamic": {}, "objective": "rft"}, "dynamic is for"),
    ({"objective": "sft", "loss": {"kind": "clip"}}, "has loss.kind: nll"),
    ({"audit": {"guard": 0.0, "action": "kl"}, "kl": {"track": False}}, "set kl.track: true"),
    ({"audit": {"n": 4, "first": 8}}, "raise n, or lower first"),
    ({"staleness": 2}, "less than or equal to 1"),
    ({"loss": {"clip_hihg": 0.3}}, "clip_hihg"),
]


@pytest.mark.parametrize(("settings", "fix"), REFUSED, ids=lambda x: x if isinstance(x, str) else "")
def test_wrong_combinations_are_refused_with_the_fix(settings: dict[str, Any], fix: str) -> None:
    with pytest.raises(ValidationError, match=fix):
        parsed(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"top_p": 1.0, "top_k": 0},
        {"kl": {"coef": 0.1, "estimator": "k1", "place": "reward"}},
        {"kl": {"coef": 0.0, "estimator": "k1"}},  # measured, not trained on
        {"loss": {"kind": "gspo", "dual_clip": 3.0}},
        {"prompts_per_step": 8, "workers": 2, "minibatches": 2},
        {"offload": "all", "zero_stage": 3},
        {"advantage": {"kind": "pass_at_k", "k": 7}, "group_size": 8},
        {"advantage": {"gate": "boundary", "k": 256}, "group_size": 8},  # k of the gate is no group's
        {"overlong": {"buffer": 32}},
    ],
    ids=str,
)
def test_right_ones_are_not(settings: dict[str, Any]) -> None:
    parsed(**settings)


def test_kl_in_the_reward_is_k1_unless_said() -> None:
    assert KLConfig().estimator == KLConfig(coef=0.1).estimator == "k3"
    assert KLConfig(place="reward").estimator == "k1"
    assert KLConfig(place="reward", estimator="k3").estimator == "k3"


def test_schedules_by_hand() -> None:
    config = parsed(
        temperature=[{"from_step": 0, "value": 1.2}, {"from_step": 10, "value": 0.8}],
        max_tokens=[{"from_step": 0, "value": 16}, {"from_step": 5, "value": 64}, {"from_step": 20, "value": 32}],
    )
    assert [config.temperature_at(step) for step in (0, 9, 10, 99)] == [1.2, 1.2, 0.8, 0.8]
    assert [config.max_tokens_at(step) for step in (0, 4, 5, 19, 20)] == [16, 16, 64, 64, 32]
    assert config.most_tokens == 64
    assert (parsed(temperature=0.7).temperature_at(3), parsed(max_tokens=9).most_tokens) == (0.7, 9)


def through_yaml(config: TrainConfig) -> TrainConfig:
    return TrainConfig.model_validate(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json"))))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "temperature": [{"from_step": 0, "value": 1.2}, {"from_step": 10, "value": 0.8}],
            "max_tokens": [{"from_step": 0, "value": 16}, {"from_step": 5, "value": 64}],
            "lr": 1e-6,
            "loss": {"clip_high": 0.28, "dual_clip": 3.0, "entropy_target": 0.2, "entropy_rate": 1e-5},
            "kl": {"coef": 1e-3, "place": "reward", "reset_every": 50},
            "mismatch": {"correction": "mask", "level": "sequence", "cap": 5.0},
            "advantage": {"kind": "pass_at_k", "k": 4, "negative": 0.5, "gate": "boundary"},
            "dynamic": {"max_rounds": 2},
            "overlong": {"mask": True, "buffer": 4},
            "audit": {"guard": -0.1, "action": "kl"},
            "lora": {"targets": ["q_proj", "v_proj"]},
            "limits": {"grad_norm": 1e3},
        },
        {"seeding": {"per_group": 2, "prefix_share": 0.25, "replay": 1}},
        {"objective": "rft", "supervised": {"refresh_every": 5}},
    ],
    ids=["default", "full", "seeding", "rft"],
)
def test_a_config_survives_yaml(settings: dict[str, Any]) -> None:
    config = parsed(**settings)
    assert through_yaml(config) == config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_committed_ones_survive_it_too(path: Path) -> None:
    config = load_config(path).train
    assert config is None or through_yaml(config) == config


def test_a_recipe_is_named_by_what_it_is() -> None:
    def name(**settings: object) -> str:
        return TrainConfig.model_validate({"task": ReasoningGymSpec(dataset="countdown"), **settings}).recipe

    assert name() == "GRPO"
    assert name(dynamic={}, kl={"reset_every": 5}) == "GRPO with dynamic sampling, reference resets"
    assert name(advantage={"kind": "pass_at_k", "k": 3}) == "pass@3 training"
    assert name(objective="sft") == "SFT"


def test_wandb_off_needs_no_quotes() -> None:
    from leash_ray.config import MonitorConfig

    assert MonitorConfig.model_validate({"wandb": False}).wandb == "off"  # YAML's `off`
