"""The committed recipes: each is the demo's training but for what it shows, and parses without anything heavy."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leash_ray.config import TrainConfig, load_config
from leash_ray.config_file import differences
from leash_ray.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "jobs" / "configs" / "recipes").glob("*.yaml"))
DEMO = load_config(ROOT / "leash_ray" / "configs" / "demo.yaml")
CHANGES = {
    "grpo": {},
    "drgrpo": {"advantage.kind": "dr_grpo", "loss.mean": "fixed"},
    "clip-higher": {"minibatches": 4, "loss.clip_high": 0.28},
    "entropy": {"loss.entropy_target": 0.5, "loss.entropy_rate": 0.002},
    "pass-at-k": {"advantage.kind": "pass_at_k"},
    "unsolved": {"advantage.gate": "unsolved"},
    "boundary": {"advantage.gate": "boundary", "advantage.k": 16},
    "rarity": {"epochs": 2, "advantage.rarity": 0.25},
    "psr": {"advantage.kind": "signed", "advantage.negative": 0.0},
    "nsr": {"advantage.kind": "signed", "advantage.positive": 0.0},
    "sft": {"objective": "sft", "loss.kind": "nll"},
    "rft": {"objective": "rft", "loss.kind": "nll"},
    "seeding": {"seeding.per_group": 1},
    "hints": {"seeding.groups": "unsolved", "seeding.prefix_share": 0.5},
    "replay": {"seeding.replay": 8, "seeding.buffer": 600},
}
"""Of ``train``; other keys of a section that is new are its defaults."""


def test_every_recipe_parses_without_torch() -> None:
    script = """
import sys
from leash_ray.config import load_config
for path in sys.argv[1:]:
    load_config(path)
print([m for m in ("torch", "ray", "vllm", "deepspeed", "wandb", "transformers") if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, RECIPES)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


def test_every_recipe_is_known_here() -> None:
    assert {path.stem.removeprefix("countdown-") for path in RECIPES} >= set(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_a_recipe_changes_what_it_shows_and_nothing_else(name: str) -> None:
    config = load_config(ROOT / "jobs" / "configs" / "recipes" / f"countdown-{name}.yaml")
    assert config.name == f"countdown-{name}"
    assert config.train is not None and DEMO.train is not None
    plain = DEMO.model_copy(update={"name": config.name, "train": config.train})
    assert plain == config  # the same problems, policies and sampling
    changed = differences(DEMO.train.model_dump(mode="json"), config.train.model_dump(mode="json"), ())
    defaults = {f"seeding.{key}" for key in ("traces", "policy", "groups", "shaping", "prefix_most", "prefix_share")}
    defaults |= {"seeding", "seeding.buffer", "seeding.replay", "seeding.per_group"}
    got = {key: json.loads(new) for key, _, new in changed if key in CHANGES[name] or key not in defaults}
    assert got == CHANGES[name]


def train_of(**settings: Any) -> TrainConfig:
    from leash_ray.tasks import ReasoningGymSpec

    return TrainConfig(task=ReasoningGymSpec(dataset="countdown"), **settings)


def test_supervised_objectives_have_one_loss() -> None:
    assert (
        train_of(objective="sft").loss.kind == train_of(objective="rft", loss={"mean": "sequence"}).loss.kind == "nll"
    )
    assert train_of().loss.kind == "clip"
    for settings, message in (
        ({"loss": {"kind": "clip"}}, "objective: sft has loss.kind: nll, not clip"),
        ({"seeding": {}}, "seeding is for another objective"),
        ({"dynamic": {}}, "dynamic is for another objective"),
        ({"staleness": 1}, "staleness is for another objective"),
        ({"kl": {"coef": 0.1}}, "kl.coef is for another objective"),
        ({"mismatch": {"correction": "mask"}}, "mismatch is for another objective"),
        ({"audit": {"action": "kl"}}, "audit.action: kl is for another objective"),
    ):
        with pytest.raises(ValueError, match=message):
            train_of(objective="sft", **settings)
    with pytest.raises(ValueError, match=r"supervised.traces is for another objective; objective: rft"):
        train_of(objective="rft", supervised={"traces": "t.jsonl"})


def test_seeding_leaves_the_policy_some_of_each_group() -> None:
    assert train_of(group_size=8, seeding={"per_group": 2, "prefix_share": 0.5, "replay": 1}).seeding is not None
    for settings, message in (
        ({"seeding": {"per_group": 3, "prefix_share": 0.5, "replay": 1}}, "leaves none of a group of 8"),
        ({"seeding": {"per_group": 1}, "dynamic": {}}, "seeding does not go with dynamic"),
        ({"seeding": {"per_group": 1}, "staleness": 1}, "seeding does not go with staleness"),
        ({"seeding": {"per_group": 1}, "advantage": {"rarity": 0.5}}, "does not go with advantage.rarity"),
        ({"seeding": {"replay": 33}}, "at most prompts_per_step"),
    ):
        with pytest.raises(ValueError, match=message):
            train_of(group_size=8, **settings)


def test_a_mistake_in_a_recipe_names_it() -> None:
    with pytest.raises(UsageError, match=r"countdown-hints\.yaml: unknown key 'train.seeding.prefix_shar'"):
        load_config(ROOT / "jobs" / "configs" / "recipes" / "countdown-hints.yaml", {"train.seeding.prefix_shar": 0.1})
