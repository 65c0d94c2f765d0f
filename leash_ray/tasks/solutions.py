"""A problem's own worked solution, where its source has one.

- Rows: the column ``solution``, where the task keeps it (``metadata: [solution]``).
- reasoning-gym: a short form has its own (countdown's ``expression``, without spaces); other prompts have the entry's
  answer, which is a whole solution only where the data set's answers are.
"""

from collections.abc import Sequence
from typing import Any

from leash_ray.tasks.entry import load_entry
from leash_ray.tasks.spec import ReasoningGymSpec, RowsSpec
from leash_ray.types import Problem

SOLUTION = "solution"
"""The column of rows, and the key of a problem's metadata."""


def own_solutions(spec: ReasoningGymSpec | RowsSpec, problems: Sequence[Problem]) -> dict[str, str]:
    """Problem id -> the text that solves it; problems without one are left out."""
    if isinstance(spec, ReasoningGymSpec):
        return _countdown(spec, problems) if spec.dataset == "countdown" else _answers(problems)
    texts = {p.id: p.metadata.get(SOLUTION) for p in problems}
    return {i: text for i, text in texts.items() if isinstance(text, str) and text.strip()}


def _answers(problems: Sequence[Problem]) -> dict[str, str]:
    return {p.id: str(load_entry(p.reference)["answer"]) for p in problems}


def _countdown(spec: ReasoningGymSpec, problems: Sequence[Problem]) -> dict[str, str]:
    """The expression that the generator made the problem from: its entries depend on their index alone."""
    from leash_ray.tasks.difficulty import settings_of
    from leash_ray.tasks.gym import create

    at: dict[str, Any] = {p.id: p.metadata["source_index"] for p in problems}
    if not at:
        return {}
    entries = create(spec.dataset, {**settings_of(spec), "seed": spec.seed, "size": max(at.values()) + 1})
    found = {i: str(entries[index]["metadata"]["expression"]) for i, index in at.items()}
    compact = spec.prompt == "compact"
    return {i: text.replace(" ", "") if compact else text for i, text in found.items()}
