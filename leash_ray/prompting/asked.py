"""Problems as the policies of a run were asked them, from what its ``prompts.json`` keeps.

What follows the question in a prompt, such as a chat template's opening ``<think>``, decides how a completion reads. It
is the same for all problems of a policy, so the one prompt that is kept gives the others, and neither a model nor a
file of shots is needed to verify again. Where a template has changed the question itself, only the end is right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from leash_ray.prompting.record import read_prompts
from leash_ray.types import Problem


def as_asked(run: Path, problems: Sequence[Problem]) -> dict[str, dict[str, Problem]]:
    """Policy -> problem id -> the problem as that policy was asked it; under "" as the task has it.

    Raises:
        UsageError: ``prompts.json`` is damaged.
    """
    own = {problem.id: problem for problem in problems}
    found = {"": own}
    for policy, facts in ((read_prompts(run) or {}).get("policies") or {}).items():
        found[policy] = _asked(facts.get("example"), own)
    return found


def _asked(example: Mapping[str, Any] | None, problems: dict[str, Problem]) -> dict[str, Problem]:
    shown = problems.get(example["problem_id"]) if example else None
    if example is None or shown is None or example["prompt"] == shown.prompt:
        return problems
    prompt: str = example["prompt"]
    before, question, after = prompt.rpartition(shown.prompt.strip())
    if not question:
        return {key: replace(problem, prompt=prompt) for key, problem in problems.items()}
    return {
        key: replace(problem, prompt=f"{before}{problem.prompt.strip()}{after}") for key, problem in problems.items()
    }
