"""What runs must have in common, so that a difference between them is one of their recipes.

Base, problems, prompts, verifiers, sampling and measuring must agree, and k: more samples find more. What differs is
refused, with what to do about it, unless it was asked for: at the smallest k, on the shared problems, or allowed by
name.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from leash_ray.compare.runs import ComparedRun
from leash_ray.errors import UsageError

_JUDGE_OF_VERDICTS = ("base_url", "model", "api", "temperature", "max_tokens", "extra")
_NOT_OF_VERDICTS = ("actors", "workers", "cpus", "judge")
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "max_tokens")
_PROBLEM_PARTS = ("prompt", "verifier", "reference")
_SHOWN = 12
"""Differences that a message lists."""

Differing = dict[str, dict[str, list[str]]]
"""What differs -> value as text -> the runs that have it."""


def settings_of(run: ComparedRun) -> dict[str, Any]:
    """What must be the same in all runs, by the name under which a difference is allowed."""
    config = run.config
    found: dict[str, Any] = {}
    for role, name in (("base", config.base), ("trained", config.trained)):
        policy = config.policies[name]
        found |= {f"{role}.dtype": policy.dtype, f"{role}.max_model_len": policy.max_model_len}
        found |= {f"{role}.engine.{key}": value for key, value in policy.engine.items()}
        asked = (policy.prompting or config.prompting).model_dump(mode="json")
        found |= {f"{role}.prompting.{key}": value for key, value in asked.items()}
        if role == "base":
            found["base.model"] = (policy.model or "").rstrip("/")
    found |= {f"sampling.{key}": getattr(config.sampling, key) for key in _SAMPLING}
    budget = config.sampling.budget
    found["sampling.budget"] = budget and budget.model_dump(mode="json", exclude={"max"})
    verify = config.verify.model_dump(mode="json")
    found |= {f"verify.{key}": value for key, value in verify.items() if key not in _NOT_OF_VERDICTS}
    if judge := verify["judge"]:
        found |= {f"verify.judge.{key}": judge[key] for key in _JUDGE_OF_VERDICTS}
    found["zeta"] = run.support["zeta"]
    found |= {f"measure.{key}": getattr(config.measure, key) for key in ("cluster_by", "guess_rate", "confidence")}
    return found


def differing(runs: Sequence[ComparedRun], of: Callable[[ComparedRun], Mapping[str, Any]]) -> Differing:
    """Of what does not have one value in all runs."""
    all_ = [of(run) for run in runs]
    found: Differing = {}
    for key in sorted({key for one in all_ for key in one}):
        values: dict[str, list[str]] = {}
        for run, one in zip(runs, all_, strict=True):
            values.setdefault(json.dumps(one.get(key), sort_keys=True, default=str), []).append(str(run.path))
        if len(values) > 1:
            found[key] = values
    return found


def _problem_texts(runs: Sequence[ComparedRun], shared: Collection[str]) -> Differing:
    """Parts of problems that differ between runs though their ids are the same: wordings, ways to verify."""
    found: Differing = {}
    first = runs[0]
    for part in _PROBLEM_PARTS:
        for other in runs[1:]:
            theirs = [i for i in shared if getattr(first.problems[i], part) != getattr(other.problems[i], part)]
            if theirs:
                of = [f"{run.path} of {theirs[0]}" for run in (first, other)]
                values = [getattr(run.problems[theirs[0]], part) for run in (first, other)]
                found[f"problems.{part}"] = {json.dumps(v): [where] for v, where in zip(values, of, strict=True)}
                break
    return found


def check(
    runs: Sequence[ComparedRun], *, k: int | None, shared_problems: bool, allowed: Collection[str]
) -> tuple[set[str] | None, Differing]:
    """Whether the runs may be compared.

    Args:
        k: at which they are to be measured, if not at their own.
        shared_problems: whether they are to be measured on the problems that all have.
        allowed: names of differences that are accepted; a name stands for all that begin with it and a dot.

    Returns:
        The problems to measure on (None: all, since all have the same), and the differences that were allowed.

    Raises:
        UsageError: something else differs. The message says what, in which runs, and what to do.
    """
    sets = [set(run.table["problem_id"]) for run in runs]
    shared = set.intersection(*sets)
    if not shared:
        raise UsageError(
            f"{runs[0].path} and the others have no problem in common, so nothing can be compared: sample the same "
            "problems, which the config's task section says"
        )
    found = differing(runs, settings_of) | _problem_texts(runs, shared)
    names = {name for name in found if any(name == a or name.startswith(a + ".") for a in allowed)}
    if unknown := [a for a in allowed if not any(n == a or n.startswith(a + ".") for n in found)]:
        raise UsageError(
            f"--allow {unknown[0]}: the runs do not differ in it, but in {', '.join(sorted(found)) or 'nothing'}"
        )
    refused = {name: values for name, values in found.items() if name not in names}
    lines = list(_said(refused))
    fixes = []
    if refused:
        fixes.append(
            "sample and measure the runs alike, leave some out, or accept a difference by its name, with "
            f"--allow {next(iter(refused))}"
        )
    same = all(one == sets[0] for one in sets)
    if not same and not shared_problems:
        sizes = ", ".join(f"{len(one)} in {run.path}" for run, one in zip(runs, sets, strict=True))
        lines.append(f"problems: {len(shared)} are in all runs, of {sizes}")
        fixes.append("--shared-problems measures all on the problems that all have")
    smallest = min(run.k for run in runs)
    if k is None and len({run.k for run in runs}) > 1:
        lines += _said({"k": _by_value(runs, lambda run: run.k)})
        fixes.append(f"--k {smallest} measures all at the first {smallest} samples of each problem")
    if k is not None and k > smallest:
        least = next(run for run in runs if run.k == smallest)
        raise UsageError(
            f"--k {k}: {least.path} has no more than {smallest} samples of some problem; give --k {smallest}"
        )
    if lines:
        raise UsageError(
            "the runs cannot be compared fairly, because they differ in\n  "
            + "\n  ".join(lines)
            + "\n"
            + "; or\n".join(fixes)
        )
    return (None if same else shared), {name: found[name] for name in sorted(names)}


def _by_value(runs: Sequence[ComparedRun], of: Callable[[ComparedRun], Any]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for run in runs:
        values.setdefault(str(of(run)), []).append(str(run.path))
    return values


def _said(differences: Differing) -> Iterator[str]:
    for name, values in list(differences.items())[:_SHOWN]:
        yield f"{name}: {said(values)}"
    if len(differences) > _SHOWN:
        yield f"and {len(differences) - _SHOWN} more"


def said(values: Mapping[str, Sequence[str]]) -> str:
    """ "1.0 in runs/a and 2 more, 0.6 in runs/b"."""
    return ", ".join(
        f"{_short(value)} in {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
        for value, paths in values.items()
    )


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
