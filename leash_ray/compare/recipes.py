"""Which runs are one recipe with other seeds, and what to call it.

By default a recipe is what the run's ``train`` section says, seeds left out, so that a changed learning rate is another
recipe whatever the runs are called. Models that were trained elsewhere say nothing of that: there the run's name
decides, less a trailing ``-seed3``, ``_s3`` or the like.
"""

import itertools
import json
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leash_ray.compare.runs import ComparedRun
from leash_ray.config_file import differences
from leash_ray.errors import UsageError

HOW = ("recipe", "name", "run")
"""What runs may be grouped by, besides a key of their configs."""

_SEED = re.compile(r"[-_.](?:seed|s)[-_.]?(\d+)$", re.IGNORECASE)
_NOT_OF_A_RECIPE = (
    *("workers", "cpus_per_worker", "gpus_per_worker", "micro_tokens", "gradient_checkpointing"),
    *("zero_stage", "offload", "checkpoint_every", "keep_checkpoints", "audit"),
)
"""Keys of ``train`` that say how and where it runs, or what is watched, and not what is learnt."""


@dataclass(frozen=True)
class Recipe:
    """Runs that differ in their seed alone."""

    name: str
    runs: tuple[ComparedRun, ...]
    seeds: tuple[str, ...]
    """What tells the runs apart: a seed, or where that does not, the run's name."""
    mixed: tuple[str, ...] = ()
    """Keys of the train section in which they differ all the same, since they were grouped by something else."""


def recipes_of(runs: Sequence[ComparedRun], by: str = "recipe") -> list[Recipe]:
    """The runs in groups, in the order in which they come.

    Args:
        by: ``recipe``, ``name``, ``run``, or a dotted key of the configs, such as ``train.loss.clip_high``.

    Raises:
        UsageError: no config has the key, there is one recipe alone, or two runs of a recipe were trained with the same
            seed.
    """
    key_of, label_of = _grouping(runs, by)
    groups: dict[Hashable, list[ComparedRun]] = {}
    for run in runs:
        groups.setdefault(key_of(run), []).append(run)
    if len(groups) < 2:
        raise UsageError(
            f"all {len(runs)} runs are one recipe with several seeds ({_names(runs)}), so there is nothing to compare "
            "it with: add runs of another recipe, or compare run by run with --group-by run"
        )
    made = list(groups.values())
    labels = _told_apart([label_of(group) for group in made], made)
    return [_recipe(label, group) for label, group in zip(labels, made, strict=True)]


def _grouping(
    runs: Sequence[ComparedRun], by: str
) -> tuple[Callable[[ComparedRun], Hashable], Callable[[list[ComparedRun]], str]]:
    if by == "run":
        return (lambda run: run.path.resolve()), (lambda group: group[0].run.name)
    if by == "name":
        return _name, (lambda group: _name(group[0]))
    if by == "recipe":
        return _recipe_key, _common_name
    values = [value_of(run.config.model_dump(mode="json"), by) for run in runs]
    if not any(found for found, _ in values):
        raise UsageError(
            f"--group-by {by}: no run's config has this key; give {', '.join(HOW)}, or a dotted key such as train.lr"
        )
    text = {id(run): json.dumps(value, sort_keys=True) for run, (_, value) in zip(runs, values, strict=True)}
    short = by.rpartition(".")[2]
    return (lambda run: text[id(run)]), (lambda group: f"{short}={text[id(group[0])].strip(chr(34))}")


def value_of(config: Mapping[str, Any], dotted: str) -> tuple[bool, Any]:
    """(whether there is such a key, its value)."""
    node: Any = config
    for key in dotted.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return False, None
        node = node[key]
    return True, node


def _recipe_key(run: ComparedRun) -> Hashable:
    section = _train(run)
    return _name(run) if section is None else json.dumps(section, sort_keys=True)


def _train(run: ComparedRun) -> dict[str, Any] | None:
    """What of the train section is learnt by; None: it was trained elsewhere."""
    if run.config.train is None:
        return None
    section = run.config.train.model_dump(mode="json")
    found: dict[str, Any] = _without_seeds({k: v for k, v in section.items() if k not in _NOT_OF_A_RECIPE})
    return found


def _seed(run: ComparedRun) -> str:
    """Of training."""
    own = run.config.train.seed if run.config.train is not None else None
    return str(run.config.seed if own is None else own)


def _without_seeds(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_seeds(v) for k, v in value.items() if k != "seed"}
    return value


def _name(run: ComparedRun) -> str:
    """The run's name without its seed."""
    return _SEED.sub("", run.run.name)


def _names(runs: Sequence[ComparedRun]) -> str:
    shown = ", ".join(run.run.name for run in runs[:3])
    return f"{shown}, ..." if len(runs) > 3 else shown


def _common_name(group: list[ComparedRun]) -> str:
    """What the directories are called alike, else the configs, else what the names begin with."""
    for names in ({_name(run) for run in group}, {_SEED.sub("", run.config.name) for run in group}):
        if len(names) == 1:
            return names.pop()
    all_names = (run.run.name for run in group)
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*all_names, strict=False))
    start = "".join(letters[0] for letters in alike).rstrip("-_.0123456789")
    return start or group[0].run.name


def _told_apart(labels: list[str], groups: list[list[ComparedRun]]) -> list[str]:
    """Labels that differ: where two are the same, with the keys of the train sections that tell them apart."""
    found = list(labels)
    for label in {x for x in labels if labels.count(x) > 1}:
        places = [i for i, x in enumerate(labels) if x == label]
        sections = [_train(groups[i][0]) or {} for i in places]
        keys = {key for other in sections[1:] for key, _, _ in differences(sections[0], other, ())}
        for i, section in zip(places, sections, strict=True):
            told = ", ".join(f"{key}={json.dumps(value_of(section, key)[1])}" for key in sorted(keys)[:3])
            found[i] = f"{label} ({told})" if told else f"{label} ({groups[i][0].run.name})"
    if len(set(found)) < len(found):
        found = [
            f"{label} ({groups[i][0].run.name})" if found.count(label) > 1 else label for i, label in enumerate(found)
        ]
    return found


def _recipe(name: str, group: list[ComparedRun]) -> Recipe:
    trained_here = all(run.config.train is not None for run in group)
    seeds = [_seed(run) for run in group]
    sections = [_train(run) or {} for run in group]
    mixed = sorted({key for other in sections[1:] for key, _, _ in differences(sections[0], other, ())})
    twice = next((s for s in seeds if seeds.count(s) > 1), None)
    if trained_here and not mixed and twice is not None:
        first, second = [run.path for run, seed in zip(group, seeds, strict=True) if seed == twice][:2]
        raise UsageError(
            f"{first} and {second} are one recipe with one seed ({twice}), so they are not two seeds of it: leave one "
            "out, or compare run by run with --group-by run"
        )
    if not trained_here:
        named = [_SEED.search(run.run.name) for run in group]
        seeds = [match[1] if match else run.run.name for match, run in zip(named, group, strict=True)]
    if len(set(seeds)) < len(seeds):
        seeds = [run.run.name for run in group]
    return Recipe(name, tuple(group), tuple(seeds), tuple(mixed))
